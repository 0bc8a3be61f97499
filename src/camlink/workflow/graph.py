"""Workflow: operators joined by links, and the sites that they run on; Python and YAML are two spellings of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from camlink.errors import UnknownName, WorkflowError
from camlink.workflow.elastic import Elastic
from camlink.workflow.join import Join
from camlink.workflow.operator import Operator

DEFAULT_SITE = "here"
Kind = Literal["memory", "shm", "zmq"]
"""Of a link, where it is not chosen."""
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Wire:
    """One entry of `from`: which output feeds which input (`to`; found by type when empty) under which policy.

    `feedback` declares that the wire closes a cycle on purpose; `link` is the kind of its link where it is not chosen.
    """

    of: str
    to: str = ""
    policy: str | None = None
    feedback: bool = False
    link: Kind | None = None

    @property
    def operator(self) -> str:
        """Name of the operator at the sending end."""
        return self.of.partition(".")[0]

    @property
    def port(self) -> str:
        """Name of its output port; empty for its only one."""
        return self.of.partition(".")[2]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of a workflow: what it uses, where it runs, its parameters and its incoming wires."""

    name: str
    use: str
    at: str = DEFAULT_SITE
    wires: tuple[Wire, ...] = ()
    policy: str | None = None
    replicas: int = 1
    needs: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    link: Kind | None = None
    join: Join | None = None
    patience_s: float = 0.0
    elastic: Elastic | None = None
    ordered: bool = False

    def __getitem__(self, port: str) -> Wire:
        """The output port `port`, to be wired to another operator."""
        return Wire(f"{self.name}.{port}")

    def policy_of(self, wire: Wire) -> str:
        """The policy of an incoming wire: its own, else the one of the operator, else `block`."""
        return wire.policy or self.policy or "block"


@dataclass(frozen=True, slots=True)
class Site:
    """A place with machines; `placer` is how agents get there, `options` belong to the placer.

    `dask` is how many workers for task graphs each agent runs: none, one a core (True), or so many; with a `dashboard`
    the page leads to Dask's own pages.
    """

    name: str
    placer: str = "local"
    options: Mapping[str, Any] = field(default_factory=dict)
    agents: int = 1
    dask: bool | int = False
    dashboard: bool = False

    @property
    def far(self) -> bool:
        """Whether its agents may be on another machine than the master."""
        return self.placer not in ("inline", "local")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its agents: its own for one, `cluster.1`, `cluster.2` ... for several."""
        return (self.name,) if self.agents == 1 else tuple(f"{self.name}.{n + 1}" for n in range(self.agents))


@dataclass
class Workflow:
    """A named graph of operators; `places` remembers where in its file each part was written (line, column)."""

    name: str
    nodes: dict[str, Node] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=lambda: {DEFAULT_SITE: Site(DEFAULT_SITE)})
    places: dict[tuple[str, ...], Place] = field(default_factory=dict, compare=False, repr=False)
    used: dict[str, Operator] = field(default_factory=dict, compare=False, repr=False)

    def add(self, name: str, use: str | Operator, *upstream: Node | Wire | str, at: str = DEFAULT_SITE,
            policy: str | None = None, replicas: int | Elastic = 1, needs: Mapping[str, Any] | None = None,
            link: Kind | None = None, join: Join | None = None, patience_s: float = 0.0, ordered: bool = False,
            **parameters: Any) -> Node:
        """Add an operator fed by `upstream`; raises WorkflowError when the name is taken."""
        if name in self.nodes:
            raise WorkflowError([f"there are two operators called '{name}'; choose another name for one"], self.name)
        if isinstance(use, Operator):
            self.used[use.name] = use
            use = use.name
        needs = dict(needs or {})
        at = needs.pop("at", at)
        elastic = replicas if isinstance(replicas, Elastic) else None
        count = replicas.min if isinstance(replicas, Elastic) else replicas
        node = Node(name, use, at, tuple(_wire(u) for u in upstream), policy, count, needs, parameters, link, join,
                    patience_s, elastic, ordered)
        self.nodes[name] = node
        return node

    def with_values(self, values: Mapping[str, Any]) -> Workflow:
        """A copy with parameters replaced: {"operator.parameter": value}; raises UnknownName for an operator."""
        nodes = dict(self.nodes)
        for key, value in values.items():
            name, dot, parameter = key.partition(".")
            if not dot or not parameter:
                raise WorkflowError([f"'{key}' is not operator.parameter"], self.name)
            if name not in nodes:
                raise UnknownName("operator of this workflow", name, nodes)
            nodes[name] = replace(nodes[name], parameters={**nodes[name].parameters, parameter: value})
        return replace(self, nodes=nodes)

    def with_sites(self, sites: Mapping[str, Site], at: Mapping[str, str]) -> Workflow:
        """A copy over other sites: {"operator": "site"}; raises UnknownName for an operator."""
        nodes = dict(self.nodes)
        for name, site in at.items():
            if name not in nodes:
                raise UnknownName("operator of this workflow", name, nodes)
            nodes[name] = replace(nodes[name], at=site)
        return replace(self, nodes=nodes, sites={**self.sites, **sites})

    def at_line(self, *path: str) -> str:
        """' (line L, column C)' of the deepest known part of `path`, or nothing."""
        return line_of(path, self.places)


def line_of(path: tuple[str, ...], places: Mapping[tuple[str, ...], Place]) -> str:
    """' (line L, column C)' of the deepest part of `path` whose place is known, or nothing."""
    for depth in range(len(path), 0, -1):
        if place := places.get(path[:depth]):
            return f" (line {place[0]}, column {place[1]})"
    return ""


def _wire(upstream: Node | Wire | str) -> Wire:
    if isinstance(upstream, Wire):
        return upstream
    return Wire(upstream.name if isinstance(upstream, Node) else upstream)
