"""TwinParameters, everything that a person may choose of the simulated experiment; lengths in metres."""

from __future__ import annotations

from typing import Annotated, Literal

from camlink.workflow.parameter import Parameters, about

Preset = Literal["window", "cosmic", "full"]
Pattern = Literal["raster", "spiral"]
Phantom = Literal["mixed", "star", "gold", "bars", "grain", "empty"]
Style = Literal["camera", "simulator"]


class TwinParameters(Parameters, frozen=True, kw_only=True):
    """A ptychography scan: its points, beam, zone plate, sample, detector and the faults of its wire."""

    pattern: Annotated[Pattern, about("order of the points: rows, or a Fermat spiral of equal density")] = "raster"
    points_y: Annotated[int, about("points along y; a spiral has points_y x points_x in all", ge=1, le=2000)] = 20
    points_x: Annotated[int, about("points along x", ge=1, le=2000)] = 20
    step_m: Annotated[float, about("mean distance of neighbouring points", unit="m", gt=0, le=1e-3)] = 150e-9
    jitter: Annotated[float, about("largest random offset of a point, in steps", ge=0, le=1)] = 0.25
    subpixel: Annotated[bool, about("keep positions between object pixels instead of rounding them")] = False
    rate_hz: Annotated[float, about("frames sent a second", unit="Hz", gt=0, le=2000)] = 25.0
    dwell_s: Annotated[float, about("exposure time of a frame (the long one)", unit="s", gt=0, le=3600)] = 0.02
    double_exposure: Annotated[bool, about("take a long and a short exposure at every point")] = False
    short_fraction: Annotated[float, about("short exposure as a fraction of the long one", gt=0, lt=1)] = 0.1
    dark_frames: Annotated[int, about("frames without beam before the scan, for each exposure time",
                                      ge=0, le=10000)] = 12
    photons: Annotated[float, about("photons that reach the sample in dwell_s", unit="photon", gt=0, le=1e12)] = 1e6
    background_photons: Annotated[float, about("stray light on every lit pixel in dwell_s", unit="photon",
                                               ge=0, le=1e6)] = 0.0
    flicker: Annotated[float, about("relative rms change of the beam from frame to frame", ge=0, le=0.5)] = 0.0
    energy_eV: Annotated[float, about("photon energy", unit="eV", ge=50, le=20000)] = 800.0
    distance_m: Annotated[float, about("sample to detector", unit="m", gt=0, le=10)] = 0.08
    zone_plate_m: Annotated[float, about("diameter of the zone plate", unit="m", gt=0, le=0.01)] = 240e-6
    outer_zone_m: Annotated[float, about("outer zone width", unit="m", ge=5e-9, le=1e-6)] = 45e-9
    stop_m: Annotated[float, about("diameter of the central stop", unit="m", ge=0, le=0.01)] = 95e-6
    defocus_m: Annotated[float, about("focus to sample, positive downstream", unit="m", ge=-1e-3, le=1e-3)] = 25e-6
    phantom: Annotated[Phantom, about("what the sample looks like")] = "mixed"
    detector: Annotated[Preset, about("size of the detector")] = "window"
    detector_pixel_m: Annotated[float, about("pixel of the detector", unit="m", gt=0, le=1e-3)] = 30e-6
    reduced_shape: Annotated[int, about("frame size that the reduction gives", unit="pixel",
                                       ge=16, le=1024)] = 128
    binning: Annotated[int, about("detector pixels to one reduced pixel", ge=1, le=8)] = 2
    centre_offset_y: Annotated[int, about("beam centre from the middle of the sensor, rows", unit="pixel",
                                          ge=-200, le=200)] = 3
    centre_offset_x: Annotated[int, about("beam centre from the middle of the sensor, columns", unit="pixel",
                                          ge=-200, le=200)] = -2
    adu_per_photon: Annotated[float, about("signal of one photon at the highest gain", unit="ADU", gt=0, le=1e4)] = 15.0
    read_noise_adu: Annotated[float, about("rms read noise", unit="ADU", ge=0, le=1000)] = 4.0
    middle_gain_code: Annotated[Literal[0x4000, 0x8000], about("bits of the middle gain (multiply by 4)")] = 0x4000
    bad_pixels: Annotated[int, about("dead pixels, and as many hot ones", ge=0, le=10000)] = 6
    payload_bytes: Annotated[int, about("payload of a packet", unit="B", ge=512, le=8960)] = 4096
    style: Annotated[Style, about("header style of the packets")] = "camera"
    faults: Annotated[str, about("faults of the wire, as in 'drop-packets=0.01'")] = ""
    port: Annotated[int, about("UDP port of the camera; 0 takes a free one", ge=0, le=65535)] = 0
    receiver_wait_s: Annotated[float, about("how long to wait for a receiver", unit="s", gt=0, le=3600)] = 60.0
    seed: Annotated[int, about("every random choice follows from it", ge=0, le=2**63 - 1)] = 0

    @property
    def points(self) -> int:
        """Places of the scan."""
        return self.points_y * self.points_x

    @property
    def dwells_s(self) -> tuple[float, ...]:
        """Exposure times at every point, the longest first [s]."""
        return (self.dwell_s, self.dwell_s * self.short_fraction) if self.double_exposure else (self.dwell_s,)

    @property
    def dark_count(self) -> int:
        """Frames without beam."""
        return self.dark_frames * len(self.dwells_s)

    @property
    def frame_count(self) -> int:
        """Frames of the scan, those without beam included."""
        return self.dark_count + self.points * len(self.dwells_s)


def talk_parameters(seed: int = 0) -> TwinParameters:
    """The scan of the talk: 40 x 40 points, reduced frames of 260 x 260 detector pixels without down-sampling.

    The window of the object is twice as wide as in the default scan, and so are the beam and the step.
    """
    return TwinParameters(points_y=40, points_x=40, step_m=300e-9, reduced_shape=260, binning=1, defocus_m=55e-6,
                          photons=2e6, seed=seed)
