"""check(): everything that can be known to be wrong before the beam is on, in one report."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from camlink.block import Frames
from camlink.errors import InputError, UnknownName, WorkflowError
from camlink.policy import read_policy
from camlink.registry import Registry
from camlink.workflow.assignment import Unmet, Want, assign
from camlink.workflow.beside import import_operator
from camlink.workflow.graph import Kind, Node, Wire, Workflow
from camlink.workflow.needs import ANY, Needs, Offer, read_needs
from camlink.workflow.operator import Kind as OperatorKind
from camlink.workflow.operator import Operator
from camlink.workflow.order import asks_for_order, before, shares
from camlink.workflow.parameter import Parameters, build
from camlink.workflow.port import Port

PLACERS: Final = ("facility", "inline", "join", "local", "lsf", "pbs", "pbs_classic", "slurm", "ssh")
MASTER: Final = "master"
"""The agent in the process of the master: it hosts views, and what is placed `inline`."""


@dataclass(frozen=True, slots=True)
class Link:
    """A resolved wire: output port to input port under a policy."""

    source: str
    output: Port
    target: str
    input: Port
    policy: str
    feedback: bool = False
    several: bool = False
    kind: Kind | None = None

    @property
    def name(self) -> str:
        """Its name in reports: `camera->reduce`, with the port where the sender has several."""
        port = f".{self.output.name}" if self.several else ""
        return f"{self.source}{port}->{self.target}"


@dataclass(frozen=True, slots=True)
class Checked:
    """A workflow with its operators, parameter records and links found, and every problem."""

    workflow: Workflow
    operators: dict[str, Operator]
    parameters: dict[str, Parameters]
    links: tuple[Link, ...]
    problems: tuple[str, ...]
    needs: Mapping[str, Needs] = field(default_factory=dict)

    def hosts(self, name: str) -> tuple[str, ...]:
        """The agents that may host the workers of an operator."""
        return _hosts(self.workflow, self.workflow.nodes[name], self.operators[name])

    def ordered(self, name: str) -> bool:
        """Whether an operator takes frames in order."""
        return asks_for_order(self.workflow.nodes[name], self.operators[name])

    def before(self, name: str) -> tuple[str, ...]:
        """The operators before `name` whose replicas may change the order of what comes to it."""
        return before(name, _ways(self.links), {node.name: shares(node, self.operators[node.name])
                                                for node in self.workflow.nodes.values()})

    @property
    def turns(self) -> frozenset[str]:
        """The links by which the turns of frames travel to those who take them in order."""
        asking = {name: self.before(name) for name in self.operators if self.ordered(name)}
        return frozenset(link.name for link in self.links for name, replicas in asking.items()
                         if link.source in replicas and link.target in (name, *replicas))

    def must_run(self) -> Checked:
        """Itself; raises WorkflowError with every problem when there is one."""
        if self.problems:
            raise WorkflowError(self.problems, f"workflow '{self.workflow.name}'")
        return self


def check(workflow: Workflow, find: Callable[[str], Operator] | None = None,
          offers: Mapping[str, Offer] | None = None) -> Checked:
    """Resolve and check a workflow; `find` gives an operator by name (default: installed ones and module:name).

    `offers` tells what each agent is going to have, as far as it is known; needs are held against them.
    """
    return _Check(workflow, find or _finder(workflow), offers).run()


def _hosts(workflow: Workflow, node: Node, op: Operator) -> tuple[str, ...]:
    if op.kind is OperatorKind.VIEW:
        return (MASTER,)
    sites = workflow.sites.values() if node.at == ANY else [workflow.sites[node.at]]
    return tuple(dict.fromkeys(name for site in sites for name in (
        (MASTER,) if site.placer == "inline" else site.names)))


def _finder(workflow: Workflow) -> Callable[[str], Operator]:
    registry: Registry[Operator] = Registry("camlink.operators", "operator")
    for name, op in workflow.used.items():
        registry.add(name, op)

    def find(name: str) -> Operator:
        if ":" in name and name not in workflow.used:
            return import_operator(name)
        return registry.get(name)

    return find


class _Check:
    def __init__(self, workflow: Workflow, find: Callable[[str], Operator],
                 offers: Mapping[str, Offer] | None) -> None:
        self.flow, self.find, self.offers = workflow, find, offers
        self.problems: list[str] = []
        self.operators: dict[str, Operator] = {}
        self.parameters: dict[str, Parameters] = {}
        self.links: list[Link] = []
        self.needs: dict[str, Needs] = {}
        self.broken: set[str] = set()

    def run(self) -> Checked:
        if not re.fullmatch(r"[\w .-]{1,100}", self.flow.name):  # its folder is called so
            self.problems.append(f"workflow: {self.flow.name[:110]!r}: use up to 100 letters, digits, spaces, dots, - "
                                 "and _" + self.flow.at_line("workflow"))
        if not self.flow.nodes:
            self.problems.append("there are no operators")
        for node in self.flow.nodes.values():
            self.node(node)
        for node in self.flow.nodes.values():
            for wire in node.wires:
                self.wire(node, wire)
        self.missing()
        self.cycles()
        self.placing()
        self.matching()
        for node in self.flow.nodes.values():
            self.joining(node)
            self.ordering(node)
        return Checked(self.flow, self.operators, self.parameters, tuple(self.links), tuple(self.problems), self.needs)

    def fault(self, text: str, *path: str) -> None:
        self.problems.append(text + self.flow.at_line("operators", *path))

    def node(self, node: Node) -> None:
        try:
            op = self.operators[node.name] = self.find(node.use)
        except InputError as error:
            self.fault(f"{node.name}: {error}", node.name, "use")
            return
        good = {}
        for name, value in node.parameters.items():
            try:
                build(op.parameters, {name: value}, node.name)
                good[name] = value
            except InputError as error:
                self.fault(str(error), node.name, name)
        try:
            self.parameters[node.name] = build(op.parameters, good, node.name)
        except InputError as error:
            self.fault(str(error), node.name)

    def wire(self, node: Node, wire: Wire) -> None:
        self.broken.add(node.name)
        if wire.operator not in self.flow.nodes:
            error = UnknownName("operator", wire.operator, self.flow.nodes)
            return self.fault(f"{node.name}.from: {error}", node.name, "from")
        source, target = self.operators.get(wire.operator), self.operators.get(node.name)
        if source is None or target is None:
            return None
        output = self.output(node, wire, source)
        if output is None:
            return None
        accepting = [p for p in target.inputs if p.accepts(output) and (not wire.to or p.name == wire.to)]
        if not accepting:
            return self.mismatch(node, wire, output, target)
        taken = {link.input.name for link in self.links if link.target == node.name}
        chosen = next((p for p in accepting if p.name not in taken), accepting[0])
        self.broken.discard(node.name)
        self.links.append(Link(wire.operator, output, node.name, chosen, node.policy_of(wire), wire.feedback,
                               len(source.outputs) > 1, wire.link or node.link))
        return None

    def output(self, node: Node, wire: Wire, source: Operator) -> Port | None:
        if not source.outputs:
            self.fault(f"{node.name}.from: {wire.operator} ({source.kind}) gives nothing out", node.name, "from")
        elif not wire.port and len(source.outputs) == 1:
            return source.outputs[0]
        elif not wire.port:
            names = ", ".join(f"{wire.operator}.{p.name}" for p in source.outputs)
            self.fault(f"{node.name}.from: say which output of {wire.operator}: {names}", node.name, "from")
        else:
            for port in source.outputs:
                if port.name == wire.port:
                    return port
            error = UnknownName(f"output of {wire.operator}", wire.port, [p.name for p in source.outputs])
            self.fault(f"{node.name}.from: {error}", node.name, "from")
        return None

    def mismatch(self, node: Node, wire: Wire, output: Port, target: Operator) -> None:
        if wire.to and wire.to not in {p.name for p in target.inputs}:
            error = UnknownName(f"input of {node.name}", wire.to, [p.name for p in target.inputs])
            return self.fault(f"{node.name}.from: {error}", node.name, "from")
        takes = " or ".join(f"{p.name}: {_type(p)}" for p in target.inputs) or "nothing"
        between = self.between(output, target)
        hint = f"; put {between} between them" if between else ""
        return self.fault(f"{wire.of} gives {_type(output)}, {node.name} takes {takes}{hint}", node.name, "from")

    def between(self, output: Port, target: Operator) -> str:
        """An operator of this workflow that would turn one type into the other."""
        for name, op in self.operators.items():
            if any(p.accepts(output) for p in op.inputs) and any(
                    i.accepts(o) for o in op.outputs for i in target.inputs):
                return name
        return ""

    def missing(self) -> None:
        fed = {(link.target, link.input.name) for link in self.links}
        for name, op in self.operators.items():
            for port in op.inputs:
                if (name, port.name) not in fed and name not in self.broken:
                    path = " <- ".join(self.wanted(name))
                    self.fault(f"nothing feeds {name}.{port.name} ({_type(port)}); wanted for {path}; "
                               f"add `from: OPERATOR` to {name}", name)

    def wanted(self, name: str, *below: str) -> list[str]:
        """The way from a final output down to `name`, none of those below it twice."""
        for link in self.links:
            if link.source == name and link.target not in (name, *below) and not link.feedback:
                return [*self.wanted(link.target, name, *below), name]
        return [name]

    def cycles(self) -> None:
        edges: dict[str, list[str]] = {}
        for link in self.links:
            if not link.feedback:
                edges.setdefault(link.source, []).append(link.target)
        for cycle in _cycles(edges):
            self.fault(f"cycle {' -> '.join([*cycle, cycle[0]])}; declare the wire that closes it: `feedback: true`",
                       cycle[0], "from")

    def placing(self) -> None:
        for node in self.flow.nodes.values():
            if node.at not in self.flow.sites and node.at != ANY:
                error = UnknownName("site", node.at, self.flow.sites)
                self.fault(f"{node.name}.at: {error}", node.name, "at")
            op = self.operators.get(node.name)
            if op is not None and (node.replicas > 1 or node.elastic) and (op.streams or op.joins):
                which = "joins" if op.joins else "lives as long as the scan"
                self.fault(f"{node.name}.replicas: a {op.kind} that {which} runs once, "
                           f"not {node.elastic.max if node.elastic else node.replicas} times", node.name, "replicas")
            if op is not None and node.elastic and not op.scalable:
                self.fault(f"{node.name}.replicas: replicas join and leave only of a transform that is a function or "
                           "an `independent` class; give a number", node.name, "replicas")
            for key, fault in (node.elastic.faults() if node.elastic else {}).items():
                self.fault(f"{node.name}.replicas.{key}: {fault}", node.name, "replicas", key)
        for site in self.flow.sites.values():
            if site.placer not in PLACERS:
                error = UnknownName("placer", site.placer, PLACERS)
                self.problems.append(f"site {site.name}: {error}" + self.flow.at_line("sites", site.name, "placer"))
            if site.dask and site.agents > 1 and site.placer != "local" and not site.options.get("listen"):
                self.problems.append(f"site {site.name}: its agents share a cluster; say `listen:` with an address of "
                                     "theirs (any for all)" + self.flow.at_line("sites", site.name, "dask"))
            if site.dashboard and site.placer == "local" and importlib.util.find_spec("bokeh") is None:
                self.problems.append(f"site {site.name}: a dashboard needs Bokeh: pip install 'camlink[dashboard]', or "
                                     "leave it out" + self.flow.at_line("sites", site.name, "dask"))
            if site.name in (MASTER, ANY):
                self.problems.append(f"site {site.name}: the name is taken; choose another"
                                     + self.flow.at_line("sites", site.name))

    def matching(self) -> None:
        """Read what operators need, and hold it against what is known of the machines: every need that is not met."""
        wants: dict[str, Want] = {}
        for node in self.flow.nodes.values():
            try:
                needs = self.needs[node.name] = read_needs(node.needs, node.name)
            except InputError as error:
                self.fault(str(error), node.name, "needs", str(error).partition(" = ")[0].rpartition(".")[2])
                continue
            op = self.operators.get(node.name)
            if self.offers is not None and op is not None and (node.at in self.flow.sites or node.at == ANY):
                want = Want(node.name, needs, _hosts(self.flow, node, op))
                wants |= {f"{node.name}/{replica}": want for replica in range(node.replicas)}
        while isinstance(unmet := assign(wants, self.offers or {}), Unmet):
            self.fault(unmet.text, unmet.operator, "needs")
            wants = {name: want for name, want in wants.items() if want.operator != unmet.operator}

    def joining(self, node: Node) -> None:
        op, join = self.operators.get(node.name), node.join
        if op is None:
            return
        if join is None:
            if op.joins:
                self.fault(f"{node.name} takes {' and '.join(port.name for port in op.inputs)} together; say which "
                           "belong to each other: `join: {by: frame}`", node.name)
            return
        if not op.joins:
            what = "reads each input by itself" if len(op.inputs) > 1 else f"has {len(op.inputs)} input"
            self.fault(f"{node.name}.join: {node.use} {what}, there is nothing to join; leave `join:` out",
                       node.name, "join")
        for key, fault in join.faults().items():
            self.fault(f"{node.name}.join.{key}: {fault}", node.name, "join", key)
        for port in op.inputs if op.joins else ():
            if not issubclass(port.block, Frames):
                self.fault(f"{node.name}.join: {port.name} is a {_type(port)}, which has no {join.by}; "
                           "only frames are joined", node.name, "join")
        for link in () if join.faults() or not op.joins else self.links:
            if link.target == node.name and (apart := self.thinned(link, {})) > join.skew:
                self.fault(f"{node.name}.join.skew: {link.source} comes to it with one of {apart} frames, so that the "
                           f"others would wait for more than {join.skew} keys; set skew to {apart} or more",
                           node.name, "join", "skew")

    def ordering(self, node: Node) -> None:
        op = self.operators.get(node.name)
        if op is None or not asks_for_order(node, op):
            return
        if not op.inputs or op.joins or node.replicas > 1 or node.elastic:
            what = ("a source has no input" if not op.inputs else "a join takes frames as they meet" if op.joins
                    else "replicas share their frames")
            self.fault(f"{node.name}.ordered: {what}; leave `ordered` out", node.name, "ordered")
            return
        for port in op.inputs:
            if not issubclass(port.block, Frames):
                self.fault(f"{node.name}.ordered: {port.name} is a {_type(port)}; only frames have an order",
                           node.name, "ordered")
        replicas = before(node.name, _ways(self.links), {name: shares(self.flow.nodes[name], one)
                                                         for name, one in self.operators.items()})
        for link in self.links:
            inside = link.source in replicas and link.target in (node.name, *replicas)
            if (inside or link.target in replicas) and not (
                    read_policy(link.policy).lossless or (link.policy.startswith("sample(") and not inside)):
                self.fault(f"{node.name}.ordered: nobody can tell a frame that `{link.policy}` drops on the way to "
                           f"{link.target} from one that is late; use sample(N) before {replicas[-1]}, block or spill",
                           link.target, "policy")

    def thinned(self, link: Link, known: dict[str, int]) -> int:
        """Of how many frames one comes through a link, by the `sample(N)` on its way; `known`: out of operators."""
        if link.source not in known:
            known[link.source] = 1  # for a way that leads back to it
            known[link.source] = max((self.thinned(k, known) for k in self.links if k.target == link.source), default=1)
        return known[link.source] * read_policy(link.policy).step


def _ways(links: Iterable[Link]) -> list[tuple[str, str]]:
    return [(link.source, link.target) for link in links]


def _type(port: Port) -> str:
    return port.block.__name__ + (f" [{port.block.unit}]" if port.block.unit else "")


def _cycles(edges: dict[str, list[str]]) -> Iterable[list[str]]:
    """One cycle for each way back that a depth-first walk finds."""
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> Iterable[list[str]]:
        if name in trail:
            yield trail[trail.index(name):]
            return
        if name in done:
            return
        for after in edges.get(name, []):
            yield from walk(after, [*trail, name])
        done.add(name)

    for start in list(edges):
        yield from walk(start, [])


def table(checked: Checked) -> list[dict[str, Any]]:
    """One row an operator for people: name, use, kind, site, inputs and outputs."""
    rows = []
    for node in checked.workflow.nodes.values():
        op = checked.operators.get(node.name)
        rows.append({
            "name": node.name, "use": node.use, "kind": str(op.kind) if op else "unknown", "at": node.at,
            "inputs": ", ".join(w.of for w in node.wires), "outputs": ", ".join(map(_type, op.outputs)) if op else "",
        })
    return rows
