import json

import msgspec
import pytest

from camlink.errors import ParameterError
from camlink.runtime.program.parameters import ProgramParameters, Surroundings, check_command
from camlink.testing.context import RecordingContext
from camlink.testing.toys import toy_frames, toy_scan


def test_a_command_that_is_not_there_is_said_before_the_beam():
    with pytest.raises(ParameterError, match="name the program"):
        check_command(ProgramParameters())
    with pytest.raises(ParameterError, match="no-such-solver"):
        check_command(ProgramParameters(command=("no-such-solver",)))
    check_command(ProgramParameters(command=("sh", "-c", "true")))


def test_a_program_is_told_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    given = ProgramParameters(command=("solve", "--in={in}", "{scan}", "{other}", "$HOME; rm"), environment={"A": "1"})
    around = Surroundings(given, RecordingContext(tmp_path, "solve"), tmp_path / "s")
    block = toy_frames(toy_scan(5), 0, 1)
    header = msgspec.structs.replace(block.header, source="camera", facts={"address": "udp://127.0.0.1:9"})
    around.see(type(block)(header, block.arrays))
    assert around.command() == ["solve", f"--in={tmp_path}/s/in", "toy", "{other}", "$HOME; rm"]
    variables = around.environment()
    assert variables["CAMLINK_SITE"] == "here"
    assert variables["CAMLINK_SCAN"] == "toy"
    assert variables["CAMLINK_EXPECTED"] == "5"
    assert variables["CAMLINK_SCRATCH"] == f"{tmp_path}/s"
    assert json.loads(variables["CAMLINK_ADDRESSES"]) == {"camera": "udp://127.0.0.1:9"}
    assert (variables["A"], variables["SLURM_JOB_ID"]) == ("1", "7")
    assert "SECRET_TOKEN" not in variables


def test_an_image_or_a_module_is_never_an_option():
    for asked in ({"container": "--privileged"}, {"modules": ("-x",)}, {"modules": ("",)}):
        with pytest.raises(ParameterError, match="begins with"):
            check_command(ProgramParameters(command=("true",), **asked))
    with pytest.raises(ParameterError, match="no podman"):
        check_command(ProgramParameters(command=("true",), container="x", engine="podman",
                                        environment={"PATH": "/none"}))


def test_a_container_is_ended_by_the_engine_that_its_modules_bring(tmp_path):
    given = ProgramParameters(command=("solve",), container="x", engine="podman", modules=("podman/5",))
    around = Surroundings(given, RecordingContext(tmp_path, "solve"), tmp_path / "s")
    loading = around.command()[:6]
    assert loading[:2] == ["bash", "-lc"]
    assert around.removal == [*loading, "podman", "rm", "--force", "camlink-s"]
    alone = ProgramParameters(command=("solve",), container="x", engine="apptainer", modules=("apptainer",))
    assert Surroundings(alone, RecordingContext(tmp_path, "solve"), tmp_path / "s").removal == []
