from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from camlink.block import Result
from camlink.errors import WorkflowError
from camlink.workflow.check import check
from camlink.workflow.elastic import Elastic
from camlink.workflow.graph import Site, Wire, Workflow
from camlink.workflow.join import Join
from camlink.workflow.needs import Needs, Offer
from camlink.workflow.operator import Operator, operator
from camlink.workflow.text import parse_workflow, write_workflow

Find = Callable[[str], Operator]


def good() -> Workflow:
    flow = Workflow("good")
    frames = flow.add("camera", "toy.camera", rate_hz=10)
    counts = flow.add("reduce", "toy.reduce", frames, replicas=2)
    image = flow.add("solve", "toy.solve", counts, beta=0.9)
    flow.add("record", "toy.record", counts, image)
    flow.add("look", "toy.view", frames, image, policy="latest")
    return flow


def problems(text: str, find: Find) -> list[str]:
    return list(check(parse_workflow(text), find).problems)


def test_a_dashboard_wants_bokeh_where_its_cluster_is(monkeypatch: pytest.MonkeyPatch, find: Find) -> None:
    def problems_of(placer: str) -> str:
        site = f"{{placer: {placer}, dask: {{workers: 2, dashboard: true}}}}"
        flow = parse_workflow(f"workflow: w\nsites: {{here: {site}}}\noperators: {{camera: {{use: toy.camera}}}}")
        assert (flow.sites["here"].dask, flow.sites["here"].dashboard) == (2, True)
        assert parse_workflow(write_workflow(flow)).sites == flow.sites
        return " ".join(check(flow, find).problems)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'camlink[dashboard]'" in problems_of("local")
    assert problems_of("slurm") == ""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert problems_of("local") == problems_of("ssh") == problems_of("slurm") == problems_of("join") == ""
    with pytest.raises(WorkflowError, match=r"did you mean 'dashboard'.*\(line 2, column 23\)"):
        parse_workflow("workflow: w\nsites: {here: {dask: {dashbord: true}}}\noperators: {camera: {use: twin}}")


def test_a_placer_that_is_not_known_is_said_with_its_line(find: Find) -> None:
    (fault,) = problems("workflow: w\nsites: {far: {placer: slrum}}\noperators: {camera: {use: toy.camera}}", find)
    assert "site far: " in fault
    assert "'slrum'; did you mean 'slurm'?" in fault
    assert fault.endswith("(line 2, column 15)")


def test_a_good_graph_resolves_every_link_by_type(find: Find) -> None:
    checked = check(good(), find).must_run()
    assert {(k.name, k.input.name, k.policy) for k in checked.links} == {
        ("camera->reduce", "frames", "block"), ("reduce->solve", "frames", "block"),
        ("reduce->record", "frames", "block"), ("solve->record", "results", "block"),
        ("camera->look", "blocks", "latest"), ("solve->look", "blocks", "latest")}


def test_every_problem_is_in_one_report_with_its_line(find: Find) -> None:
    found = problems("""workflow: bad
operators:
  camera: {use: toy.camera, rat_hz: 3}
  solve: {use: toy.solve, from: camera}
  reduce: {use: toy.reduce}
  other: {use: toy.nothing, at: moon}
  look: {use: toy.view, from: [nobody, solve.picture]}
""", find)
    text = "\n".join(found)
    assert "unknown parameter of camera 'rat_hz'; did you mean 'rate_hz'? (known: rate_hz) (line 3, column 29)" in text
    assert "camera gives RawFrames [ADU], solve takes frames: CountFrames [photon]; put reduce between them" in text
    assert "nothing feeds reduce.frames" in text
    assert "unknown operator 'toy.nothing'" in text
    assert "unknown site 'moon'" in text
    assert "unknown operator 'nobody'" in text
    assert "unknown output of solve 'picture'" in text
    assert len(found) == 7


def test_a_missing_input_shows_the_path_to_the_wanted_output(find: Find) -> None:
    found = problems("""workflow: bad
operators:
  reduce: {use: toy.reduce}
  solve: {use: toy.solve, from: reduce}
  look: {use: toy.view, from: solve}
""", find)
    assert found == ["nothing feeds reduce.frames (RawFrames [ADU]); wanted for look <- solve <- reduce; "
                     "add `from: OPERATOR` to reduce (line 3, column 3)"]


def test_a_cycle_needs_to_be_declared(find: Find) -> None:
    flow = Workflow("loop")
    flow.add("a", "toy.view", "b")
    assert any("gives nothing out" in p or "unknown operator" in p for p in check(flow, find).problems)
    loop = Workflow("loop")
    loop.add("solve", "toy.reduce2", Wire("solve"))
    assert check(loop, _with_loop(find)).problems == (
        "cycle solve -> solve; declare the wire that closes it: `feedback: true`",)
    loop = Workflow("loop")
    loop.add("solve", "toy.reduce2", Wire("solve", feedback=True))
    assert check(loop, _with_loop(find)).problems == ()


def _with_loop(find: Find) -> Find:
    @operator("toy.reduce2")
    def again(result: Result) -> Result:
        return result

    return lambda name: again if name == "toy.reduce2" else find(name)


def test_must_run_raises_with_all_problems(find: Find) -> None:
    flow = Workflow("empty")
    with pytest.raises(WorkflowError, match="there are no operators"):
        check(flow, find).must_run()


def test_a_stream_operator_has_no_replicas(find: Find) -> None:
    flow = Workflow("w")
    flow.add("camera", "toy.camera", replicas=3)
    assert "runs once, not 3 times" in check(flow, find).problems[0]


def test_needs_are_held_against_what_is_known_and_say_their_line(find: Find) -> None:
    text = """workflow: needy
sites:
  cluster: {placer: slurm, agents: 2}
  lab: {placer: ssh}
operators:
  camera: {use: toy.camera, needs: {at: lab, gpu: 4}}
  reduce: {use: toy.reduce, from: camera, at: cluster, replicas: 3, needs: {cores: 2}}
  solve: {use: toy.solve, from: reduce,
          needs: {gpu: 1, memory: 8 GiB}}
  look: {use: toy.view, from: solve, needs: {memmory: 1}}
"""
    poor = Offer(cores=2, memory_bytes=1 << 30, gpus=0)
    offers = {"here": poor, "master": poor, "cluster.1": Offer(cores=2), "cluster.2": Offer(cores=2), "lab": Offer()}
    checked = check(parse_workflow(text), find, offers)
    assert checked.workflow.nodes["camera"].at == "lab"
    assert set(checked.problems) == {
        "unknown need of look 'memmory'; did you mean 'memory'? (known: cores, disk, gpu, memory, time) "
        "(line 10, column 38)",
        "solve needs what no agent has: here lacks GPUs (1 asked, 0 there), memory (8 GiB asked, 1 GiB there) "
        "(line 9, column 11)",
        "reduce need together 6 cores, and cluster.1, cluster.2 cannot host them all; ask for less, or for more agents "
        "(line 7, column 69)"}


def test_an_operator_may_work_at_any_site(find: Find) -> None:
    flow = Workflow("w", sites={"here": Site("here"), "cluster": Site("cluster", "slurm", agents=2)})
    flow.add("camera", "toy.camera", at="any", needs={"gpu": 1})
    checked = check(flow, find, {"here": Offer(gpus=0), "cluster.1": Offer(gpus=0), "cluster.2": Offer(gpus=1)})
    assert checked.must_run().hosts("camera") == ("here", "cluster.1", "cluster.2")
    assert checked.needs == {"camera": Needs(gpus=1)}


JOINED = """workflow: joined
operators:
  camera: {use: toy.camera}
  left: {use: toy.reduce, from: camera}
  right: {use: toy.reduce, from: {of: camera, policy: sample(10)}}
  pair: {use: toy.pair, from: [left, right], join: {by: frame, skew: 16}}
"""


def test_a_join_is_declared_and_each_branch_has_its_port(find: Find) -> None:
    checked = check(parse_workflow(JOINED), find).must_run()
    assert [(k.name, k.input.name) for k in checked.links][-2:] == [("left->pair", "left"), ("right->pair", "right")]


@pytest.mark.parametrize(("was", "becomes", "told"), [
    (", join: {by: frame, skew: 16}", "",
     "pair takes left and right together; say which belong to each other: `join: {by: frame}` (line 6, column 3)"),
    ("by: frame", "by: colour", "pair.join.by: unknown key 'colour' (known: frame, point) (line 6, column 53)"),
    ("skew: 16", "skew: 0", "pair.join.skew: 0 is out of 1 to 65536 (line 6, column 64)"),
    ("skew: 16", "skew: 4", "pair.join.skew: right comes to it with one of 10 frames, so that the others would wait "
                            "for more than 4 keys; set skew to 10 or more (line 6, column 64)"),
    ("skew: 16", "wait_s: 0", "pair.join.wait_s: 0 s is out of 0 to 3600 (line 6, column 64)"),
    ("skew: 16}", "skew: 16}, replicas: 2",
     "pair.replicas: a transform that joins runs once, not 2 times (line 6, column 75)"),
    ("left: {use: toy.reduce, from: camera}", "left: {use: toy.reduce, from: camera, join: {by: frame}}",
     "left.join: toy.reduce has 1 input, there is nothing to join; leave `join:` out (line 4, column 41)"),
])
def test_a_join_that_cannot_be_is_refused_with_its_place(find: Find, was: str, becomes: str, told: str) -> None:
    assert was in JOINED
    assert problems(JOINED.replace(was, becomes), find) == [told]


def test_many_branches_that_part_and_meet_again_are_looked_through_once(find: Find) -> None:
    flow = Workflow("ladder")
    before = flow.add("reduce", "toy.reduce", flow.add("camera", "toy.camera"))
    for step in range(40):
        before = flow.add(f"pair{step}", "toy.pair", before, before, join=Join("frame", skew=4))
    assert check(flow, find).problems == ()


def test_only_frames_are_joined_and_inflows_are_not(find: Find) -> None:
    flow = good()
    flow.add("label", "toy.label", "reduce", "solve", join=Join("frame"))
    flow.add("keep", "toy.record", "reduce", "solve", join=Join("frame"))
    assert check(flow, find).problems == (
        "label.join: image is a Result, which has no frame; only frames are joined",
        "keep.join: toy.record reads each input by itself, there is nothing to join; leave `join:` out")


ORDERED = """workflow: ordered
operators:
  camera: {use: toy.camera}
  reduce: {use: toy.reduce, from: camera, replicas: 2}
  solve: {use: toy.solve, from: reduce, ordered: true}
"""


def test_turns_travel_from_the_replicas_to_those_who_take_frames_in_order(find: Find) -> None:
    checked = check(parse_workflow(ORDERED), find).must_run()
    assert (checked.ordered("solve"), checked.before("solve"), checked.turns) == (True, ("reduce",), {"reduce->solve"})
    assert not check(good(), find).turns
    with_sample = ORDERED.replace("from: camera,", "from: {of: camera, policy: sample(3)},")
    assert not problems(with_sample, find)


@pytest.mark.parametrize(("was", "becomes", "told"), [
    ("ordered: true", "ordered: true, policy: latest",
     "solve.ordered: nobody can tell a frame that `latest` drops on the way to solve from one that is late; use "
     "sample(N) before reduce, block or spill (line 5, column 56)"),
    ("from: camera,", "from: camera, policy: drop_oldest,",
     "solve.ordered: nobody can tell a frame that `drop_oldest` drops on the way to reduce from one that is late; use "
     "sample(N) before reduce, block or spill (line 4, column 43)"),
    ("replicas: 2", "replicas: 2, ordered: true",
     "reduce.ordered: replicas share their frames; leave `ordered` out (line 4, column 56)"),
    ("use: toy.camera", "use: toy.camera, ordered: true",
     "camera.ordered: a source has no input; leave `ordered` out (line 3, column 29)"),
])
def test_an_order_that_cannot_be_is_refused_with_its_place(find: Find, was: str, becomes: str, told: str) -> None:
    assert problems(ORDERED.replace(was, becomes), find) == [told]


@pytest.mark.parametrize(("text", "why"), [
    ("raise OSError('no light')", "OSError: no light"), ("def x(:", "SyntaxError"), ("", "'camera'"),
    ("import nowhere_at_all", "No module named 'nowhere_at_all'"), ("raise SystemExit(3)", "SystemExit: 3")])
def test_a_module_that_cannot_be_imported_is_a_problem_of_its_operator(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"ours_{len(text)}"
    (tmp_path / f"{name}.py").write_text(text)
    (problem,) = check(parse_workflow(f'workflow: t\noperators: {{c: {{use: "{name}:camera"}}}}')).problems
    assert why in problem
    assert f"python -c 'import {name}'" in problem or not text
    assert "line 2" in problem


@pytest.mark.parametrize("declared", [Join("frame", wait_s=10**400), Elastic(age_s=10**400)])
def test_seconds_that_no_float_holds_are_out_of_bounds(declared: Join | Elastic) -> None:
    assert "s is out of 0 to 3600" in " ".join(declared.faults().values())


@pytest.mark.parametrize("name", ["../other", "a/b", "a\0b", "x" * 101, "two\nlines", ""])
def test_a_workflow_is_called_as_a_folder_may_be(find: Find, name: str) -> None:
    flow = Workflow(name)
    flow.add("camera", "camera")
    assert any("use up to 100 letters" in problem for problem in check(flow, find).problems)
