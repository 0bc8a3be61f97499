"""Forecast: sampling, dose, memory, data rate and times of a scan, from its parameters and the machine's figures."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import msgspec
import psutil

from camlink.beamline.forecast import sampling
from camlink.beamline.forecast.pace import measure_step_s
from camlink.beamline.forecast.schedule import (
    Afterwards,
    Streaming,
    Timing,
    Visit,
    afterwards,
    streaming,
    visit,
)
from camlink.beamline.twin.optics import FarField, optics_of, probe, rms_diameter
from camlink.beamline.twin.parameters import TwinParameters
from camlink.beamline.twin.scan import corners, positions
from camlink.block import Scan
from camlink.capture.fastccd.geometry import PRESETS
from camlink.carry.formats.recorded import span_m
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.reconstruction import Reconstruction
from camlink.compute.ptychography.room import AMPLITUDE_BYTES, WAVE_BYTES
from camlink.errors import ParameterError
from camlink.workflow.parameter import Parameters, about

RAW_BYTES = 2
COUNT_BYTES = 4


class Circumstances(Parameters, frozen=True, kw_only=True):
    """What a forecast has to know beside the scan: the machine, the sample and the visit."""

    beam_m: Annotated[float, about("diameter of the beam on the sample; 0 works it out from the zone plate", unit="m",
                                   ge=0, le=1e-2)] = 0.0
    contrast_rad: Annotated[float, about("phase of the smallest detail to be seen", unit="rad", gt=0, le=3.2)] = 0.1
    scan_s: Annotated[float, about("the whole scan; 0: frames / rate", unit="s", ge=0, le=1e6)] = 0.0
    ms_per_iteration: Annotated[float, about("time of an iteration of all frames; 0 measures it here", unit="ms",
                                             ge=0, le=1e7)] = 0.0
    memory_bytes: Annotated[int, about("memory that the solver may use; 0 for that of this machine", unit="B",
                                       ge=0)] = 0
    transfer_B_s: Annotated[float, about("copying raw frames to where they are reconstructed after the scan",
                                         unit="B/s", gt=0)] = 100e6
    queue_s: Annotated[float, about("waiting for a machine after the scan", unit="s", ge=0, le=1e6)] = 0.0
    change_s: Annotated[float, about("changing the sample", unit="s", ge=0, le=1e6)] = 60.0
    visit_s: Annotated[float, about("beam time of one user", unit="s", gt=0, le=1e7)] = 4.5 * 3600


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Overlap, dose and resolution; `half_period_m` is the coarser of what geometry and dose allow."""

    object_pixel_m: float
    field_m: tuple[float, float]
    beam_m: float
    overlap_linear: float
    overlap_area: float
    photons_per_object_pixel: float
    half_period_geometry_m: float
    half_period_dose_m: float
    half_period_m: float


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes: of a raw frame, of the whole scan raw and reduced, a second, and in the solver."""

    raw_frame_bytes: int
    raw_bytes: int
    raw_B_s: float
    reduced_bytes: int
    frame_state_bytes: int
    solver_bytes: int
    memory_bytes: int
    fits: bool


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was predicted; `measured` says whether the time of an iteration was measured on this machine."""

    frames: int
    points: int
    frame: tuple[int, int]
    object_shape: tuple[int, int]
    scan_s: float
    iterations: int
    ms_per_iteration: float
    measured: bool
    sampling: Sampling
    load: Load
    streaming: Streaming
    afterwards: Afterwards
    visit: Visit
    warnings: tuple[str, ...] = ()


def forecast(scan: TwinParameters, around: Circumstances, solve: SolveParameters) -> Forecast:
    """Predict a scan; raises ParameterError when its parameters do not fit together, FormatError for a huge object."""
    far = far_field_of(scan)
    planned = planned_scan(scan, far)
    with closing(Reconstruction(planned, msgspec.structs.replace(solve, workers=1))) as work:
        load = _load(scan, around, far, solve.modes, work.memory_bytes)
    sampled = _sampling(scan, around, far, planned)
    step_s = 1e-3 * around.ms_per_iteration
    if not step_s:
        if not load.fits:
            raise ParameterError(f"the solver needs {load.solver_bytes} bytes, this machine has {load.memory_bytes}; "
                                 "give ms_per_iteration and memory_bytes of the machine that is to reconstruct")
        step_s = measure_step_s(planned, solve)
    scan_s = around.scan_s or scan.frame_count / scan.rate_hz
    timing = Timing(scan.points, scan_s, step_s, solve, dark_s=scan_s * scan.dark_count / scan.frame_count)
    live = streaming(timing)
    after = afterwards(timing, load.raw_bytes, around.transfer_B_s, around.queue_s)
    return Forecast(
        frames=scan.frame_count, points=scan.points, frame=planned.shape, object_shape=work.geometry.shape,
        scan_s=timing.scan_s, iterations=solve.iterations, ms_per_iteration=1e3 * step_s,
        measured=not around.ms_per_iteration, sampling=sampled, load=load, streaming=live, afterwards=after,
        visit=visit(timing, live, after, around.visit_s, around.change_s), warnings=_warnings(sampled, load, far))


def far_field_of(scan: TwinParameters) -> FarField:
    """The geometry of a scan; raises ParameterError when its frames are larger than its detector."""
    far = FarField.of(scan)
    held = PRESETS[scan.detector].data_shape
    if far.crop > min(held):
        raise ParameterError(f"plan: frames of {scan.reduced_shape} pixels with binning {scan.binning} need "
                             f"{far.crop} pixels, but detector '{scan.detector}' has {held[0]} x {held[1]}; take a "
                             "larger detector or a smaller frame")
    return far


def planned_scan(scan: TwinParameters, far: FarField) -> Scan:
    """The scan as the solver is going to get it: one reduced frame a point."""
    placed = corners(positions(scan), far.object_pixel_m, far.window, subpixel=scan.subpixel)
    pixel_m = scan.detector_pixel_m * scan.binning
    # a reduced frame is as wide as the window; the object pixel follows from the area used
    return Scan(id="plan", expected=scan.points, shape=(far.window, far.window), pixel_m=(pixel_m, pixel_m),
                distance_m=scan.distance_m, energy_eV=scan.energy_eV, span_m=span_m(placed.position_m),
                points=scan.points)


def _sampling(scan: TwinParameters, around: Circumstances, far: FarField, planned: Scan) -> Sampling:
    beam_m = around.beam_m
    if not beam_m:
        beam_m = rms_diameter(probe(far, optics_of(scan), scan.photons)) * far.object_pixel_m
    fluence = sampling.fluence_per_m2(scan.photons, scan.step_m)
    by_dose = sampling.dose_half_period_m(fluence, around.contrast_rad)
    y0, x0, y1, x1 = planned.span_m
    return Sampling(
        object_pixel_m=far.object_pixel_m, field_m=(y1 - y0, x1 - x0), beam_m=beam_m,
        overlap_linear=sampling.linear_overlap(scan.step_m, beam_m),
        overlap_area=sampling.area_overlap(scan.step_m, beam_m),
        photons_per_object_pixel=fluence * far.object_pixel_m**2, half_period_geometry_m=far.object_pixel_m,
        half_period_dose_m=by_dose, half_period_m=max(far.object_pixel_m, by_dose))


def _load(scan: TwinParameters, around: Circumstances, far: FarField, modes: int, solver_bytes: int) -> Load:
    rows, columns = PRESETS[scan.detector].shape
    frame = RAW_BYTES * rows * columns
    held = around.memory_bytes or psutil.virtual_memory().total
    duration_s = around.scan_s or scan.frame_count / scan.rate_hz
    pixels = far.window**2 * scan.points
    return Load(raw_frame_bytes=frame, raw_bytes=frame * scan.frame_count,
                raw_B_s=frame * scan.frame_count / duration_s, reduced_bytes=COUNT_BYTES * pixels,
                frame_state_bytes=(AMPLITUDE_BYTES + WAVE_BYTES * modes) * pixels, solver_bytes=solver_bytes,
                memory_bytes=held, fits=solver_bytes <= held)


def _warnings(sampled: Sampling, load: Load, far: FarField) -> tuple[str, ...]:
    found = []
    if sampled.overlap_area < 0.5:
        found.append(f"neighbouring beams share {sampled.overlap_area:.0%} of their area; ptychography wants 60 % or "
                     "more: take smaller steps or a wider beam")
    if sampled.beam_m > 0.5 * far.window * far.object_pixel_m:
        found.append("the beam is wider than half its window, so its far field is sampled too coarsely: take a larger "
                     "frame or a smaller beam")
    if sampled.half_period_dose_m > sampled.half_period_geometry_m:
        found.append("the dose, not the geometry, limits the resolution: take more photons or smaller steps")
    if not load.fits:
        found.append("the solver needs more memory than there is: take fewer points or smaller frames")
    return tuple(found)

