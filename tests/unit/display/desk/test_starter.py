"""What comes over the wire to a desk: whatever it is, it becomes the value that was meant, or no run at all."""

import subprocess
import sys
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.display.desk.menu import Menu
from camlink.display.desk.records import AUDIT, REPORT
from camlink.display.desk.runs import Runs
from camlink.display.desk.starter import Starter, sets
from camlink.display.terminal.options import read_sets
from camlink.errors import InputError

INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)  # a workflow takes no others
VALUES = st.recursive(st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False)
                      | st.text(st.characters(exclude_categories=["Cs"])),
                      lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc: -#", max_size=5), inner,
                                                                                  max_size=4), max_leaves=8)


@given(value=VALUES)
def test_a_value_is_read_by_the_command_line_as_it_was_meant(value):
    set_, text = sets({"solve.beta": value})
    assert set_ == "--set"
    assert text.isprintable()
    assert read_sets([text]) == {"solve.beta": value}


@given(key=st.text(max_size=30))
def test_a_name_of_a_parameter_is_one_or_refused(key):
    try:
        words = sets({key: 1})
    except InputError:
        return
    assert words == ["--set", f"{key}=1"]
    assert read_sets([words[1]]) == {key: 1}


@pytest.mark.parametrize("key", ["--report.x", "a.b=c", "a b.c", "a.b\n", "solve", ""])
def test_words_of_a_command_line_are_no_parameters(key):
    with pytest.raises(InputError, match=r"operator\.parameter"):
        sets({key: 1})


OTHERS = ("..", "within-a-program", "a/../..", "log", "a\0", "one/", ".hidden")


@given(name=st.text(max_size=20) | st.sampled_from(OTHERS))
def test_only_a_run_in_the_folder_is_found(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp() / "runs"
    for each in ("one", ".hidden"):
        (folder / each / "log").mkdir(parents=True, exist_ok=True)
        (folder / each / "log/page.jsonl").touch()
    (folder / "within-a-program").mkdir(exist_ok=True)
    (folder / "within-a-program/events.jsonl").touch()  # it has no page, and will have no report
    runs = Runs(folder)
    assert runs.find("one") == folder / "one"
    assert (runs.find(name) is None) == (name != "one")
    runs.close()



@pytest.mark.parametrize("left", ["", f"log/{AUDIT}", REPORT])
def test_a_folder_goes_only_when_its_run_cannot_have_begun(tmp_path, left):
    folder = tmp_path / "one"
    (folder / "log").mkdir(parents=True)
    (folder / "log/errors.log").touch()
    if left:
        (folder / left).touch()
    with subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(2)"]) as child:
        child.wait()
        starter = Starter(Menu([], {}), tmp_path, 1, lambda: 0)
        with nullcontext() if left == REPORT else pytest.raises(InputError, match="ended with 2"):
            starter._await_page(folder, child)
    assert folder.exists() == bool(left)
