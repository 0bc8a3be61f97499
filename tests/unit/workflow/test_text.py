from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.errors import FormatError, InputError, UnknownName, WorkflowError
from camlink.workflow.elastic import Elastic
from camlink.workflow.graph import Site, Wire, Workflow
from camlink.workflow.join import Join
from camlink.workflow.text import parse_workflow, put_over_sites, read_value, read_workflow, write_workflow

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.one_of(st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False),
                   st.text(st.characters(codec="utf8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12),
                   st.lists(st.integers(-5, 5), max_size=3))
RESERVED = {"use", "at", "from", "policy", "replicas", "needs", "link", "join", "ordered", "name", "upstream", "self"}


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    flow = Workflow(draw(NAMES))
    flow.sites["far"] = Site("far", draw(st.sampled_from(["local", "ssh"])), {"host": draw(NAMES)})
    for number in range(draw(st.integers(1, 5))):
        name = f"op{number}"
        wires = [Wire(f"op{draw(st.integers(0, 4))}", draw(st.sampled_from(["", "frames"])),
                      draw(st.sampled_from([None, "latest"])), draw(st.booleans()))
                 for _ in range(draw(st.integers(0, 3)))]
        parameters = draw(st.dictionaries(NAMES.filter(lambda n: n not in RESERVED), VALUES, max_size=3))
        flow.add(name, draw(NAMES), *wires, at=draw(st.sampled_from(["here", "far"])),
                 replicas=draw(st.integers(1, 4)), policy=draw(st.sampled_from([None, "block", "sample(3)"])),
                 link=draw(st.sampled_from([None, "zmq", "shm"])), ordered=draw(st.booleans()),
                 join=draw(st.none() | st.builds(Join, st.sampled_from(["frame", "point"]), st.integers(1, 99),
                                                 st.sampled_from([2, 0.5, 30.0]))), **parameters)
    return flow


@given(workflows())
def test_what_is_written_reads_back_equal(flow: Workflow) -> None:
    assert parse_workflow(write_workflow(flow)) == flow


@pytest.mark.parametrize(("text", "says"), [
    ("a: [", "line 1, column 5"),
    ("workflow: x\noperators:\n\t- a", "line 3, column 1"),
    ("&a [*a]", "aliases"),
    ("", "`workflow: NAME` is missing"),
    ("- 1", "must be `name: value` lines"),
    ("workflow: x\nworkflow: y\noperators: {a: {use: b}}", "'workflow' stands twice in the workflow (line 2"),
    ("workflow: x\noperator: {}", "unknown key of a workflow 'operator'; did you mean 'operators'?"),
    ("workflow: x\noperators: {a: {}}", "operator 'a' lacks `use: OPERATOR` (line 2"),
    ("workflow: x\noperators: {a: {use: b, patience_s: long}}",
     "a.patience_s: expected seconds above 0, 86400 at most, got 'long'"),
    ("workflow: x\noperators: {a: {use: b, patience_s: 1e6}}", "a.patience_s: expected seconds above 0, 86400 at most"),
    ("workflow: x\noperators: {a: {use: b, c: 1e400}}", "a number has to be finite (line 2, column 28)"),
    ("workflow: x\noperators: {a: {use: b, c: .nan}}", "a number has to be finite (line 2, column 28)"),
    ("workflow: x\noperators: {a: {use: b, c: -9223372036854775809}}", "64 bits at most (line 2, column 28)"),
    (f"workflow: x\noperators: {{a: {{use: b, patience_s: 0x{'f' * 5000}}}}}", "64 bits at most (line 2, column 37)"),
    ('workflow: x\noperators: {a: {use: "\\ud800"}}', "line 2, column 22: half a letter"),
    (f"workflow: x\noperators: {{{', '.join(f'o{n}: {{use: b}}' for n in range(501))}}}", "this one has 501"),
    ("workflow: x\noperators: {a: {use: b, replicas: many}}", "a.replicas: expected a number from 1 to 1024"),
    ("workflow: x\noperators: {a: {use: b, policy: fast}}", "drop_oldest, sample(N) or spill, got 'fast'"),
    ("workflow: x\noperators: {a: {use: b, from: [{off: c}]}}", "did you mean 'of'?"),
    ("workflow: x\noperators: {a: {use: b, join: frame}}", "a.join must be `name: value` lines"),
    ("workflow: x\noperators: {a: {use: b, join: {skew: 3}}}", "a.join lacks `by: KEY` (line 2, column 25)"),
    ("workflow: x\noperators: {a: {use: b, join: {by: frame, skew: far}}}", "a.join.skew: expected a number"),
    ("workflow: x\noperators: {a: {use: b, join: {by: frame, slack: 3}}}", "unknown key of a.join 'slack'"),
    ("workflow: x\noperators: {a/b: {use: b}}", "operator name 'a/b'"),
    ("workflow: !!python/object:os.system x\noperators: {a: {use: b}}", "could not determine a constructor"),
    ("workflow: x\noperators: {a: {use: b, d: 2020-99-99}}", "month must be in 1..12"),
])
def test_every_fault_of_a_text_is_found_where_it_is(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_workflow(text)
    assert says in str(caught.value)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with suppress(FormatError, WorkflowError):
        parse_workflow(text)


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file"):
        read_workflow(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="UTF-8"):
        read_workflow(tmp_path / "bytes.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * (1 << 20) + b"##")
    with pytest.raises(FormatError, match="at most"):
        read_workflow(tmp_path / "big.yaml")


def test_values_are_read_as_a_scientist_means_them() -> None:
    assert [read_value(t) for t in ("2e6", "12", "true", "word", "[1, 2e3]", "drop-packets=0.01")] == [
        2e6, 12, True, "word", [1, 2000.0], "drop-packets=0.01"]


@pytest.mark.parametrize("text", ["2024-13-45", "{? [1, 2] : 3}", "!!timestamp soon", "!!bool perhaps", "!!int x"])
def test_a_value_that_yaml_cannot_build_is_a_fault_of_its_line_and_elsewhere_a_word(text: str) -> None:
    with pytest.raises(WorkflowError, match=r"\(line 4, column 8\)"):
        parse_workflow(f"workflow: x\noperators:\n  a:\n    p: {text}\n    use: twin\n")
    assert read_value(text) == text


def test_a_value_that_is_too_deep_is_a_word() -> None:
    assert read_value("[" * 2000) == "[" * 2000


def test_set_replaces_parameters_and_names_the_nearest_operator() -> None:
    flow = parse_workflow("workflow: x\noperators: {solve: {use: s, beta: 1}}")
    assert flow.with_values({"solve.beta": 0.5}).nodes["solve"].parameters == {"beta": 0.5}
    assert flow.nodes["solve"].parameters == {"beta": 1}
    with pytest.raises(UnknownName, match="did you mean 'solve'"):
        flow.with_values({"slove.beta": 1})


def test_a_file_of_sites_moves_a_workflow_and_changes_nothing_else(tmp_path: Path) -> None:
    flow = parse_workflow("workflow: x\noperators: {camera: {use: c}, solve: {use: s, from: camera, beta: 1}}")
    (tmp_path / "sites.yaml").write_text("sites: {cluster: {placer: slurm, cpus: 2}}\nat: {solve: cluster}\n")
    moved = put_over_sites(flow, tmp_path / "sites.yaml")
    assert moved.nodes["solve"] == replace(flow.nodes["solve"], at="cluster")
    assert moved.nodes["camera"] == flow.nodes["camera"]
    assert moved.sites == {**flow.sites, "cluster": Site("cluster", "slurm", {"cpus": 2})}
    (tmp_path / "sites.yaml").write_text("at: {slove: cluster}\n")
    with pytest.raises(UnknownName, match="did you mean 'solve'"):
        put_over_sites(flow, tmp_path / "sites.yaml")
    (tmp_path / "sites.yaml").write_text("operators: {}\nat: {solve: 3}\n")
    with pytest.raises(WorkflowError, match=r"operators(.|\n)*solve: expected the name of a site, got 3.*line 2"):
        put_over_sites(flow, tmp_path / "sites.yaml")


def test_replicas_may_be_a_range():
    text = "workflow: w\noperators:\n  a: {use: toys.count, replicas: {min: 2, max: 5, idle_s: 30}}\n"
    flow = parse_workflow(text)
    assert (flow.nodes["a"].replicas, flow.nodes["a"].elastic) == (2, Elastic(2, 5, idle_s=30))
    assert parse_workflow(write_workflow(flow)) == flow
    with pytest.raises(WorkflowError, match=r"(?s)replicas 'most'.*a number, got 'two'"):
        parse_workflow(text.replace("min: 2", "min: two").replace("max", "most"))
