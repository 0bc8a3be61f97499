"""Reduce: raw detector frames become photon counts, one frame a scan point, that a solver can take as they are."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from camlink.block import CountFrames, Fact, FrameKind, Header, RawFrames, Scan
from camlink.compute.correct import crop
from camlink.compute.correct.correction import Correction, warm
from camlink.compute.correct.gain import BIAS, Gain
from camlink.compute.correct.layout import LARGEST, SAMPLES, Layout
from camlink.compute.correct.merge import Exposure, Merge
from camlink.compute.correct.sensor import CHUNK, Rows, Sensor
from camlink.errors import FormatError, ParameterError
from camlink.workflow.operator import Context, operator
from camlink.workflow.parameter import Parameters, about

SIBLINGS_S = 2.0
"""How long dark frames that other replicas were given are waited for."""
PATIENCE = 4
"""Damaged frames do not show the centre; after this many times `centre_frames` it is taken from what there is."""


class ReduceParameters(Parameters, frozen=True):
    """How raw frames become photon counts."""

    crop: Annotated[int, about(
        "square of the sensor about the centre that is kept", unit="pixel", ge=8, le=LARGEST)] = 256
    shape: Annotated[int, about(
        "pixels of an output frame on a side; crop is a multiple", unit="pixel", ge=8, le=LARGEST)] = 128
    method: Annotated[Literal["fourier", "bin"], about(
        "band-limited down-sampling, for a beam narrower than half of the field, or sums of pixels")] = "fourier"
    adu_per_photon: Annotated[float, about(
        "signal of one photon at the most sensitive gain", unit="ADU", gt=0)] = 15.0
    threshold_photons: Annotated[float, about(
        "signal below which a sensor pixel saw no photon", unit="photon", ge=0)] = 0.5
    middle_gain_code: Annotated[Literal[0x4000, 0x8000], about(
        "bits 15-14 of the gain that is multiplied by 4")] = 0x4000
    bias_adu: Annotated[int, about(
        "ADC level of no light, before dark and overscan", unit="ADU", ge=0, le=0x1FFF)] = BIAS
    overscan: Annotated[tuple[int, ...], about("overscan positions in each 12 samples; [] = none")] = (0, 11)
    overscan_rows: Annotated[int, about(
        "rows on each side that smooth the overscan", unit="pixel", ge=0, le=LARGEST)] = 20
    saturation_adu: Annotated[float, about(
        "signal above which a pixel is saturated; 0 = only at the rail of the ADC", unit="ADU", ge=0)] = 0.0
    centre: Annotated[Literal["auto"] | tuple[float, float], about(
        "zero frequency (y, x) on the sensor without overscan, or auto", unit="pixel")] = "auto"
    centre_frames: Annotated[int, about(
        "exposures that find the centre; they are held back until then", ge=1, le=64)] = 4
    exposures: Annotated[int, about(
        "exposures of a point that are merged; 0 = as many as the scan tells, 1 = no merging", ge=0, le=16)] = 0
    merge_window: Annotated[int, about(
        "later points after which a point no longer waits for a lost exposure", ge=1, le=1024)] = 32
    dark: Annotated[Literal["required", "optional"], about(
        "whether it is a warning when no dark frames came")] = "required"
    bad_sigma: Annotated[float, about("robust deviations beyond which a dark pixel is bad", gt=0)] = 8.0


def stays(_: ReduceParameters) -> dict[str, str]:
    """All but how long a point waits for its exposures, and whether dark frames have to be there."""
    why = "frames that were reduced with it would not fit those that follow"
    return dict.fromkeys(set(ReduceParameters.__struct_fields__) - {"merge_window", "dark"}, why)


@operator("ptychography.reduce", kind="transform", independent=True, stays=stays,
          ahead=("camlink.compute.compiler", "camlink.compute.correct.kernels"))
class Reduce:
    """Dark, gain, overscan, bad pixels, merging, centring, crop, down-sampling and photon counts of raw frames.

    Dark frames are taken in until the first exposure comes, and not given on. Exposures wait until the centre is
    known. Damaged frames are given on with NaN where they have no value: the solver decides what they are worth.
    Replicas, also those that join later, use the dark frames of all and one centre, which the first of them finds;
    exposures of a point are merged only when one replica has them all.
    """

    def __init__(self, parameters: ReduceParameters, context: Context) -> None:
        if parameters.crop % parameters.shape:
            raise ParameterError(f"{context.name}: crop {parameters.crop} is no multiple of shape {parameters.shape}; "
                                 f"take a crop of {-(-parameters.crop // parameters.shape) * parameters.shape}")
        self._parameters = parameters
        self._context = context
        self._gain = Gain(parameters.middle_gain_code, parameters.bias_adu)
        self._sensor: Sensor | None = None
        self._merge: Merge | None = None
        self._scan: Scan | None = None
        self._facts: dict[str, Fact] = {}
        self._held: list[tuple[RawFrames, Rows]] = []
        self._given = 0
        self._learnt = True
        self._photons = 0.0
        warm(Layout(2, SAMPLES, parameters.overscan), self._gain)
        crop.reduce(np.full((1, 4, 4), np.nan, dtype=np.float32), 2, parameters.method)

    def __call__(self, frames: RawFrames) -> Iterator[CountFrames]:
        """Take raw frames (n, 2 rows, 96 chips) uint16; gives one block of the points that are finished with them.

        Raises FormatError when the frames are not of one shape or no 16-bit samples.
        """
        sensor = self._sensor_of(frames)
        self._facts = frames.header.facts
        is_dark = frames.kind == FrameKind.DARK
        self._learnt = sensor.centre is None or bool(is_dark.any())
        if is_dark.any():
            self._take_darks(sensor, frames, np.flatnonzero(is_dark))
        rows = np.flatnonzero(~is_dark)
        if rows.size:
            merge = self._merge_of(frames.scan, sensor)
            self._find_centre(sensor, frames, rows)
            self._held.append((frames, rows))
            if sensor.centre is not None or self._waited():
                yield from self._block(self._release(sensor, merge))
        self._tell(sensor)

    def change(self, parameters: ReduceParameters) -> None:
        """Go on with another `merge_window` or `dark`."""
        self._parameters = parameters
        if self._merge is not None:
            self._merge.window = parameters.merge_window

    def needs_again(self, _: RawFrames) -> bool:
        """Whether a replacement would need the last block: for the dark, for the centre, or for a point in parts."""
        return self._learnt or (self._merge is not None and self._merge.exposures > 1)

    def finish(self) -> Iterator[CountFrames]:
        """The frames that still waited for the centre, and the points that still waited for an exposure."""
        if self._sensor is None or self._merge is None:
            return
        last = [*self._release(self._sensor, self._merge), *self._shrink(self._merge.finish())]
        yield from self._block(last)
        self._tell(self._sensor)

    def _sensor_of(self, frames: RawFrames) -> Sensor:
        _, rows, width = frames.frames.shape
        if frames.frames.dtype != np.uint16:
            raise FormatError(f"{self._context.name}: raw frames are {frames.frames.dtype}, expected uint16 samples; "
                              "counts need no reduction, link their source to the solver")
        if self._sensor is None:
            self._sensor = self._start(Layout(rows, width, self._parameters.overscan))
        known = self._sensor.correction.layout
        if (rows, width) != (known.rows, known.width):
            raise FormatError(f"{self._context.name}: a frame of {rows} x {width} samples came after frames of "
                              f"{known.rows} x {known.width}; one scan has one geometry")
        return self._sensor

    def _start(self, layout: Layout) -> Sensor:
        p = self._parameters
        centre = None if p.centre == "auto" else p.centre
        if centre and not all(0 <= c < n for c, n in zip(centre, layout.shape, strict=True)):
            raise ParameterError(f"{self._context.name}.centre: {centre} is not on the sensor of {layout.shape} pixels "
                                 "(y, x)")
        correction = Correction(
            layout, self._gain, half_rows=p.overscan_rows, saturation_adu=p.saturation_adu or np.inf,
            adu_per_photon=p.adu_per_photon, threshold_photons=p.threshold_photons)
        sensor = Sensor(correction, p.bad_sigma, p.centre_frames, centre)
        if self._context.attempt and (said := self._context.siblings.said("dark")) is not None:
            sensor.darks.gather([said])
        return sensor

    def _take_darks(self, sensor: Sensor, frames: RawFrames, rows: Rows) -> None:
        """Take dark frames in, each once, whichever replica had it before, and say so before they are done with.

        Who was killed after that has said it: its next attempt begins with it, and the others leave those frames out.
        """
        known = set[int]().union(sensor.darks.index, *(
            arrays["index"].tolist() for arrays in self._context.siblings.heard("dark", "index").values()))
        sensor.take_darks(frames, rows[[int(index) not in known for index in frames.index[rows]]])
        if not sensor.darks.frozen:
            self._context.siblings.say("dark", sensor.darks.sums)

    def _find_centre(self, sensor: Sensor, frames: RawFrames, rows: Rows) -> None:
        """Take the centre of all replicas, or look for one in these exposures and let it hold for all."""
        if sensor.centre is None and (known := self._context.siblings.settled("centre")):
            y, x = known["centre"].tolist()
            sensor.centre = y, x
        if sensor.centre is None:
            sensor.look(frames, rows)
            self._agree(sensor)

    def _agree(self, sensor: Sensor) -> None:
        """The centre that was found first holds for all; one that nobody could see is no finding."""
        if sensor.centre is not None and not sensor.blind:
            y, x = self._context.siblings.settle("centre", {"centre": np.array(sensor.centre)})["centre"].tolist()
            sensor.centre = y, x

    def _gather_darks(self, scan: Scan, sensor: Sensor) -> None:
        """Use the dark frames of all replicas; those that another has not taken in yet are waited for, for a while."""
        announced = scan.expected % scan.points if scan.points else 0
        every, until_s = self._context.siblings.heard("dark"), time.monotonic() + SIBLINGS_S
        while (sensor.darks.frames + sum(int(sums["frames"].sum()) for sums in every.values()) < announced
               and time.monotonic() < until_s):
            time.sleep(SIBLINGS_S / 100)
            every = self._context.siblings.heard("dark")
        if every:
            every[self._context.replica] = sensor.darks.sums
            sensor.darks.gather(sums for _, sums in sorted(every.items()))

    def _merge_of(self, scan: Scan, sensor: Sensor) -> Merge:
        """On an exposure: close the dark, and learn once how many exposures make a point."""
        if self._merge is None:
            self._gather_darks(scan, sensor)
        sensor.darks.freeze()
        if self._merge is None:
            p = self._parameters
            exposures = max(scan.expected - sensor.darks.frames, 1)
            each = max(exposures // scan.points, 1) if scan.points else 1
            merged = p.exposures or each
            self._merge = Merge(merged, p.merge_window)
            self._scan = msgspec.structs.replace(
                scan, shape=(p.shape, p.shape), pixel_m=tuple(size * p.crop / p.shape for size in scan.pixel_m),
                expected=-(-(scan.points * each or exposures) // merged))
        return self._merge

    def _waited(self) -> bool:
        held = sum(len(rows) for _, rows in self._held)
        return held >= PATIENCE * self._parameters.centre_frames

    def _release(self, sensor: Sensor, merge: Merge) -> Iterator[Exposure]:
        """Reduced frames of all points that the held frames finish."""
        held, self._held = self._held, []
        if not held:
            return
        p = self._parameters
        if sensor.centre is None:
            sensor.settle()
            self._agree(sensor)
        first = crop.corner(sensor.settle(), p.crop, p.shape, p.method)
        for frames, rows in held:
            corrected = (_exposure(frames, row, sensor.photons(frames, row, first, p.crop)) for row in rows.tolist())
            yield from self._shrink(done for one in corrected for done in merge.add(one))

    def _shrink(self, merged: Iterable[Exposure]) -> Iterator[Exposure]:
        """Down-sampled to the shape of the output, some at a time; what ringing made negative is zero."""
        source = iter(merged)
        while some := list(itertools.islice(source, CHUNK)):
            images = crop.reduce(np.stack([one.image for one in some]), self._parameters.shape, self._parameters.method)
            np.maximum(images, 0, out=images)
            for one, image in zip(some, images, strict=True):
                yield replace(one, image=image)

    def _block(self, points: Iterable[Exposure]) -> Iterator[CountFrames]:
        done = list(points)
        if not done or self._scan is None:
            return
        self._given += len(done)
        self._photons += sum(float(np.nansum(one.image, dtype=np.float64)) for one in done)
        header = Header(scan=self._scan, made_s=min(one.made_s for one in done), facts=self._facts)
        yield CountFrames(header, _columns(done))

    def _tell(self, sensor: Sensor) -> None:
        self._context.tell(warnings=self._warnings(sensor))
        if self._given:  # of a replica that had no exposure there is no mean
            self._context.tell(photons=self._photons / self._given)
        if self._merge is None:
            return
        # the same for all replicas that had an exposure: told as measures (float), of which the mean is shown
        self._context.tell(dark_frames=float(sensor.darks.frames), bad_pixels=float(sensor.darks.bad))
        if sensor.centre is not None:
            self._context.tell(centre_y_px=float(sensor.centre[0]), centre_x_px=float(sensor.centre[1]))
        self._context.tell(merged=self._merge.merged, unpaired=self._merge.unpaired)

    def _warnings(self, sensor: Sensor) -> list[str]:
        p = self._parameters
        late = self._merge.late if self._merge else 0
        bare = sensor.bare if p.dark == "required" else 0
        unknown = sensor.correction.unknown
        shared = self._merge.unpaired if self._merge and self._context.replica else 0  # all may go to one
        every = (
            (bare, f"no dark frames came before {bare} exposures: only the overscan was subtracted, and bad pixels are "
                   "not known; take dark frames first, or set dark: optional"),
            (sensor.late_darks, f"{sensor.late_darks} dark frames came after the first exposure and were not used"),
            (unknown, f"{unknown} samples have a gain code that is none of 0, {p.middle_gain_code:#x} and 0xc000 and "
                      "were masked; check middle_gain_code"),
            (sensor.blind, "no light to find the centre by, the middle of the sensor was taken; set centre"),
            (shared, f"{shared} points were merged without exposures that were lost or went to another replica; "
                     "leave out replicas"),
            (self._context.siblings.trouble, self._context.siblings.trouble),
            (late, f"{late} exposures came after their point was given out and were not merged; raise merge_window"),
        )
        return [text for count, text in every if count]


def _exposure(frames: RawFrames, row: int, image: NDArray[np.float32]) -> Exposure:
    y_m, x_m = frames.position_m[row]
    return Exposure(
        image=image, index=int(frames.index[row]), point=int(frames.point[row]), dwell_s=float(frames.dwell_s[row]),
        position_m=(float(y_m), float(x_m)), time_s=float(frames.time_s[row]), made_s=frames.header.made_s)


def _columns(points: Sequence[Exposure]) -> dict[str, NDArray[np.generic]]:
    """The arrays of a CountFrames block, one row a point."""
    return {
        "frames": np.stack([one.image for one in points]),
        "index": np.array([one.index for one in points], dtype=np.int64),
        "point": np.array([one.point for one in points], dtype=np.int64),
        "kind": np.full(len(points), FrameKind.EXPOSURE, dtype=np.uint8),
        "dwell_s": np.array([one.dwell_s for one in points], dtype=np.float64),
        "position_m": np.array([one.position_m for one in points], dtype=np.float64).reshape(-1, 2),
        "time_s": np.array([one.time_s for one in points], dtype=np.float64),
    }
