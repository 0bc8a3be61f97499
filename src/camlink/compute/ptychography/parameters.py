"""SolveParameters: what a person may choose about a reconstruction."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from camlink.compute.ptychography.kernels.choice import KernelName
from camlink.compute.ptychography.refine.limits import ObjectKind
from camlink.workflow.parameter import Parameters, about

Algorithm = Literal["auto", "raar", "dm", "ap", "admm", "epie", "rpie", "lsqml"]


class SolveParameters(Parameters, frozen=True):
    """Parameters of `ptychography.solve`."""

    algorithm: Annotated[Algorithm, about(
        "auto (sweeps in mini-batches, small ones first, then projections); raar, dm (difference map), ap (alternating "
        "projections), admm; or sweeps of one kind: epie, rpie, lsqml (steps as long as least squares say)")] = "auto"
    beta: Annotated[float, about("relaxation of RAAR while frames arrive", gt=0.5, le=1.0)] = 0.9
    beta_end: Annotated[float, about("relaxation of RAAR once the last frame is there", gt=0.5, le=1.0)] = 0.75
    batch_frames: Annotated[int, about("frames in a mini-batch of epie, rpie and lsqml; 0 for 20", ge=0)] = 0
    seed: Annotated[int, about("draws the mini-batches; the same seed draws the same ones", ge=0)] = 0
    likeness: Annotated[Literal["gaussian", "poisson"], about("how counts scatter, for admm")] = "poisson"
    stiffness: Annotated[float, about("how little the counts move a wave, for admm", gt=0, le=1e3)] = 8.0
    total_variation: Annotated[float, about("weight of the object's total variation against the likelihood of the "
                                            "counts, for admm; 0 for none", ge=0, le=1e6)] = 0.0
    iterations: Annotated[int, about("iterations of the run; more are done while frames arrive",
                                     ge=1, le=100_000)] = 40
    polish_iterations: Annotated[int, about("last iterations by alternating projections", ge=0, le=10_000)] = 5
    polish_s: Annotated[float, about("time after the last frame for more iterations, the projections and the last "
                                     "version of a scan whose iterations are done", unit="s", ge=0, le=3600)] = 0.6
    patience_s: Annotated[float, about("time after the last frame for the iterations that the scan still lacks",
                                       unit="s", ge=0, le=86_400)] = 10.0
    probe_start: Annotated[int, about("iteration of the first probe update by projections; sweeps begin at once",
                                      ge=0)] = 5
    probe_every: Annotated[int, about("iterations between probe updates; 0 keeps the probe", ge=0)] = 1
    probe_guess: Annotated[Literal["auto", "data", "optics"], about(
        "start probe: from the mean pattern with the defocus found by trial (data) or told by the zone plate (optics); "
        "a probe that comes with the frames is taken as it is")] = "auto"
    probe_support: Annotated[float, about("pupil support: below this part of the mean pattern's maximum "
                                          "the far field of the probe is dark; 0 for none", ge=0, lt=1)] = 0.0
    probe_window: Annotated[float, about("the probe stays within a disc of this part of the window's side; 0 for none",
                                         ge=0, le=2)] = 0.0
    regime: Annotated[Literal["far", "near"], about("whether the detector is in the far field or in the near (Fresnel)")
                      ] = "far"
    focus_m: Annotated[float, about("from the focus to the sample, for the near field; 0 for a parallel beam", unit="m",
                                    ge=0)] = 0.0
    saturated_photon: Annotated[float, about("counts from which a pixel has no value; 0 for none", unit="photon",
                                             ge=0)] = 0.0
    modes: Annotated[int, about("incoherent modes of the probe", ge=1, le=16)] = 1
    background_every: Annotated[int, about("iterations between fits of a background that all frames share; 0 for none",
                                           ge=0)] = 0
    gains_every: Annotated[int, about("iterations between fits of the beam's intensity at every frame; 0 for a steady "
                                      "beam", ge=0)] = 0
    positions_every: Annotated[int, about("iterations between corrections of the positions; 0 takes them as they are",
                                          ge=0)] = 0
    object_kind: Annotated[ObjectKind, about("complex, phase (|O| is 1) or real")] = "complex"
    object_least: Annotated[float, about("least transmission |O| of the object", ge=0, le=1e6)] = 0.0
    object_most: Annotated[float, about("highest transmission |O| of the object; 0 for any", ge=0, le=1e6)] = 0.0
    edges: Annotated[float, about("pull of dim pixels to the mean transmission, as part of the highest illumination; 0 "
                                  "for none, 1e-4 keeps noisy rims calm", ge=0, le=1)] = 0.0
    flatten: Annotated[bool, about("whether the picture is shown without its mean ramp of phase")] = True
    fractions: Annotated[Literal[1, 2, 4, 8], about("parts of a pixel that positions are rounded to")] = 4
    first_frames: Annotated[int, about("frames before the first picture; 0 for 5 % of the scan, at least 20", ge=0)] = 0
    publish_s: Annotated[float, about("time between two versions", unit="s", gt=0, le=3600)] = 0.5
    margin: Annotated[int, about("rim of the object around the scan", unit="pixel", ge=0, le=4096)] = 8
    warm_size: Annotated[int, about("frame side for which the kernel is made ready before the first frame; 0 for none",
                                    unit="pixel", ge=0, le=2048)] = 128
    ordered: Annotated[bool, about("add up on a GPU in an order that is the same in every run; slower")] = False
    kernel: Annotated[KernelName, about("auto takes the fastest that suits")] = "auto"
    workers: Annotated[int, about("processes that share the scan, each on a GPU of its own where the kernel runs on "
                                  "one; 0 for one on every GPU", ge=0, le=64)] = 1


MADE_WITH: Final = ("seed", "probe_guess", "probe_support", "probe_window", "regime", "focus_m", "saturated_photon",
                    "modes", "fractions", "first_frames", "margin", "warm_size", "ordered", "kernel", "workers")
"""What cannot be set once there are frames."""
