"""The operator `twin`: announces its plan, waits for a receiver and sends every frame when it is due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from camlink.beamline.twin.parameters import TwinParameters
from camlink.block import Plan
from camlink.capture.moment import wait_until
from camlink.clock import now_s
from camlink.errors import PeerLost, SourceSilent
from camlink.workflow.operator import Context, operator

if TYPE_CHECKING:
    from camlink.beamline.twin.experiment import Experiment
    from camlink.capture.fastccd.sim import Simulator

TRUTH: Final = "truth.h5"
WAIT_STEP_S: Final = 0.2
HELD_STEP_S: Final = 0.05
TELL_S: Final = 0.5


def describe(parameters: TwinParameters) -> str:
    """One paragraph for people: points, frames, seconds, rates and pixels of the scan."""
    from camlink.beamline.twin.optics import FarField
    from camlink.capture.fastccd.geometry import PRESETS

    p = parameters
    rows, columns = PRESETS[p.detector].shape
    megabytes = rows * columns * 2e-6
    far = FarField.of(p)
    way = f"{p.points_y} x {p.points_x} points" if p.pattern == "raster" else f"a spiral of {p.points} points"
    exposures = "a long and a short exposure each" if p.double_exposure else "one exposure each"
    return (
        f"Twin of a soft X-ray ptychography beamline at {p.energy_eV:g} eV: {way}, {p.step_m * 1e9:.0f} nm apart, "
        f"{exposures}, after {p.dark_count} frames without beam; {p.frame_count} frames of {rows} x {columns} pixels "
        f"({megabytes:.2f} MB) at {p.rate_hz:g} a second: {p.frame_count / p.rate_hz:.1f} s, "
        f"{megabytes * p.rate_hz:.1f} MB/s. {p.photons:.1e} photons a frame; object pixel "
        f"{far.object_pixel_m * 1e9:.1f} nm in a window of {far.window} pixels; sample '{p.phantom}'"
        + (f"; faults: {p.faults}." if p.faults else "."))


@operator("twin", kind="source", pauses=True, ahead=("camlink.beamline.twin.experiment",))
def twin(*, parameters: TwinParameters, context: Context) -> Iterator[Plan]:
    """Simulate a ptychography beamline: plan, detector packets in real time, and the truth beside the data.

    Yields one Plan, whose `address` is the detector's, then waits at most `receiver_wait_s` for a receiver (raises
    SourceSilent) and sends frame k with number k, `rate_hz` a second. While the run is paused it holds the scan between
    two points. truth.h5 in the folder of the run holds the sample, the beam and the places, and at the end the sender's
    counts. Told: plan, frames_planned, frames_sent,
    lag_ms (how late the latest frame was), sent.
    """
    from camlink.beamline.twin.experiment import Experiment
    from camlink.beamline.twin.truth import add_sent, write_truth
    from camlink.capture.fastccd.geometry import PRESETS
    from camlink.capture.fastccd.sim import Faults, Simulator

    faults = Faults.parse(parameters.faults)
    experiment = Experiment(parameters, started_s=now_s())
    path = context.folder / TRUTH
    write_truth(path, experiment.truth())
    context.tell(plan=describe(parameters), frames_planned=parameters.frame_count, truth=str(path))
    simulator = Simulator(PRESETS[parameters.detector], port=parameters.port, payload_bytes=parameters.payload_bytes,
                          style=parameters.style, faults=faults, seed=parameters.seed)
    context.tell(address=simulator.address)
    try:
        yield experiment.plan(simulator.address, first_number=simulator.first_number)
        try:
            if _wait_for_receiver(simulator, parameters.receiver_wait_s, context):
                _send_all(experiment, simulator, context)
        finally:
            sent: dict[str, int] = msgspec.to_builtins(simulator.counts)
            context.tell(sent=sent)
            add_sent(path, sent)
    finally:
        simulator.close()


def _wait_for_receiver(simulator: Simulator, limit_s: float, context: Context) -> bool:
    """True when a receiver has registered, False when asked to stop; raises SourceSilent after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not context.stopping():
        try:
            simulator.wait_for_receiver(WAIT_STEP_S)
        except PeerLost as error:
            if time.monotonic() > deadline:
                raise SourceSilent(f"twin at {simulator.address}: no receiver registered in {limit_s:g} s; link "
                                   "the plan to a 'fastccd' operator, or raise receiver_wait_s") from error
        else:
            return True
    return False


def _send_all(experiment: Experiment, simulator: Simulator, context: Context) -> None:
    """Send every frame when it is due; a frame that is late goes at once and the next ones keep their times.

    While the run is paused the beamline waits before the next point, and everything after it comes later.
    """
    rate_hz, frames = experiment.parameters.rate_hz, experiment.parameters.frame_count
    image = experiment.frame(0)
    start = told = time.monotonic() + 1 / rate_hz
    point = experiment.columns["point"]
    for k in range(frames):
        if not k or point[k] != point[k - 1]:
            start += _held_s(context)
        due = start + k / rate_hz
        if not wait_until(due, context):
            return
        lag_ms = 1e3 * (time.monotonic() - due)
        simulator.send(k, image)
        if k + 1 < frames:
            image = experiment.frame(k + 1)  # made ahead, so that it is there when it is due
        if time.monotonic() - told > TELL_S or k + 1 == frames:
            told = time.monotonic()
            context.tell(frames_sent=k + 1, lag_ms=round(lag_ms, 1))


def _held_s(context: Context) -> float:
    """Wait while the run is paused; for how long it was [s]."""
    since_s = time.monotonic()
    while context.held() and not context.stopping():
        time.sleep(HELD_STEP_S)
    return time.monotonic() - since_s
