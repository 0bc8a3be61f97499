from __future__ import annotations

import sys

import msgspec
import numpy as np
import pytest

from camlink.beamline.forecast.forecast import Circumstances, far_field_of, forecast, planned_scan
from camlink.beamline.forecast.pace import measure_step_s
from camlink.beamline.twin.dataset import simulated_dataset, small_parameters
from camlink.beamline.twin.experiment import Experiment
from camlink.beamline.twin.parameters import TwinParameters, talk_parameters
from camlink.compute.ptychography.algorithm import raar
from camlink.compute.ptychography.evaluate.budget import Budget, Stopwatch
from camlink.compute.ptychography.evaluate.contestant import begun
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.slots import Slots
from camlink.errors import ParameterError

GIVEN = Circumstances(ms_per_iteration=40.0, memory_bytes=2**34)


def test_geometry_is_that_of_the_twin():
    scan = TwinParameters(points_y=5, points_x=6)
    found, made = forecast(scan, GIVEN, SolveParameters()), Experiment(scan)
    assert found.sampling.object_pixel_m == made.far.object_pixel_m
    assert found.frame == made.probe.shape
    assert found.frames == scan.frame_count
    planned = planned_scan(scan, far_field_of(scan))
    assert planned.object_pixel_m == pytest.approx((made.far.object_pixel_m,) * 2)
    assert planned.span_m == made.plan("").scan.span_m
    assert found.load.raw_frame_bytes == made.frame(0).nbytes


def test_dose_is_that_of_the_twin():
    scan = TwinParameters(points_y=12, points_x=12, jitter=0.0)
    made = Experiment(scan)
    total = np.zeros(made.object.shape)
    for y, x in made.corners.corner_px.astype(int):
        total[y:y + 128, x:x + 128] += np.abs(made.probe) ** 2
    middle = total[total.shape[0] // 2 - 20:, total.shape[1] // 2 - 20:][:40, :40]
    found = forecast(scan, GIVEN, SolveParameters())
    assert found.sampling.photons_per_object_pixel == pytest.approx(middle.mean(), rel=0.05)


@pytest.mark.parametrize("modes", [1, 3])
def test_memory_is_exactly_what_a_run_takes(modes):
    scan = small_parameters(points=7, frame=64, photons=1e5, seed=0)
    solve = SolveParameters(kernel="reference", modes=modes)
    found = forecast(scan, GIVEN, solve)
    work = begun(simulated_dataset(scan), solve)
    slots = Slots(scan.points, modes, found.frame, np.dtype(np.float32))
    active = work.engine._slots.active
    assert found.load.frame_state_bytes == slots.nbytes == active.amplitude.nbytes + active.waves.nbytes
    assert found.load.solver_bytes == work.memory_bytes
    assert found.object_shape == work.engine.image.shape
    assert found.load.reduced_bytes == simulated_dataset(scan).counts.nbytes


def test_predicted_and_measured_times_are_told(capsys):
    scan = small_parameters(points=12, frame=64, photons=1e5, seed=0)
    solve = SolveParameters(kernel="reference")
    predicted_s = measure_step_s(planned_scan(scan, far_field_of(scan)), solve)
    work, watch = begun(simulated_dataset(scan), solve), Stopwatch(Budget(5))
    while not watch.spent:
        with watch.iterating():
            work.engine.iterate(raar(0.9), refine_probe=True)
    sys.stdout.write(f"an iteration of {scan.points} frames: predicted {1e3 * predicted_s:.1f} ms, "
          f"measured {1e3 * watch.step_s:.1f} ms\n")
    assert predicted_s > 0
    assert watch.step_s > 0
    assert "predicted" in capsys.readouterr().out


def test_the_talk():
    circumstances = msgspec.structs.replace(GIVEN, scan_s=300.0, ms_per_iteration=900.0, queue_s=120.0)
    found = forecast(talk_parameters(), circumstances, SolveParameters())
    assert found.points == 1600
    assert found.frame == (260, 260)
    assert found.load.frame_state_bytes == 1600 * 260 * 260 * 12
    assert found.streaming.first_picture_s < 20 < 300 < found.streaming.final_picture_s < 310
    assert found.visit.streaming > found.visit.afterwards
    assert found.warnings == ()
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_a_poor_scan_is_warned_about():
    sparse = forecast(TwinParameters(step_m=900e-9, photons=1e3), GIVEN, SolveParameters())
    assert any("area" in text for text in sparse.warnings)
    assert any("dose" in text for text in sparse.warnings)
    assert sparse.sampling.half_period_m == sparse.sampling.half_period_dose_m
    wide = forecast(TwinParameters(), msgspec.structs.replace(GIVEN, beam_m=1.9e-6), SolveParameters())
    assert any("window" in text for text in wide.warnings)
    full = forecast(TwinParameters(), msgspec.structs.replace(GIVEN, memory_bytes=1000), SolveParameters())
    assert not full.load.fits
    assert any("memory" in text for text in full.warnings)


def test_what_cannot_be_measured_or_built_is_refused():
    with pytest.raises(ParameterError, match="ms_per_iteration"):
        forecast(TwinParameters(), Circumstances(memory_bytes=1000), SolveParameters())
    with pytest.raises(ParameterError, match="larger detector"):
        forecast(TwinParameters(reduced_shape=1024), GIVEN, SolveParameters())
