"""YAML <-> Workflow: every fault of a text is found at its line and column; what is written reads back equal."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import yaml

from camlink.errors import FormatError, UnknownName, WorkflowError
from camlink.policy import POLICIES, is_policy
from camlink.workflow.elastic import Elastic
from camlink.workflow.graph import DEFAULT_SITE, Kind, Node, Place, Site, Wire, Workflow, line_of
from camlink.workflow.join import KEYS, Join

MAX_TEXT_BYTES: Final = 1 << 20
MOST_OPERATORS: Final = 500
LONGEST_PATIENCE_S: Final = 86_400
_TOP: Final = ("workflow", "sites", "operators")
_OVER: Final = ("sites", "at")
_RESERVED: Final = ("use", "at", "from", "policy", "replicas", "needs", "link", "join", "patience_s", "ordered")
_SITE: Final = ("placer", "agents", "dask")
_DASK: Final = ("workers", "dashboard")
_WIRE: Final = ("of", "to", "policy", "feedback", "link")
R = TypeVar("R", Join, Elastic)
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def read_workflow(path: Path) -> Workflow:
    """The workflow in a YAML file; raises FormatError or WorkflowError, with line and column."""
    return parse_workflow(read_text(path), str(path))


def parse_workflow(text: str, where: str = "workflow") -> Workflow:
    """The workflow in a YAML text; raises FormatError for broken YAML, WorkflowError with every fault found."""
    return _Reader(where).read(_tree(text, where))


def put_over_sites(workflow: Workflow, path: Path) -> Workflow:
    """The workflow over the `sites` of a YAML file, its operators where its `at` says; raises as read_workflow does."""
    sites, at = _Reader(str(path)).read_sites(_tree(read_text(path), str(path)))
    return workflow.with_sites(sites, at)


def read_text(path: Path) -> str:
    """The text of a workflow file, bounded in size; raises FormatError."""
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise FormatError(f"{path}: a workflow file has at most {MAX_TEXT_BYTES} bytes, this one has {size}")
        return path.read_text(encoding="utf8")
    except OSError as error:
        raise FormatError(f"{path}: cannot read the workflow: {error.strerror}; check the path") from None
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not a text in UTF-8 (byte {error.start})") from None


def _tree(text: str, where: str) -> yaml.Node | None:
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise FormatError(f"{where}, {_at(event.start_mark)}: aliases (*name) are not used in workflows; "
                                  "write the value out")
            if isinstance(event, yaml.ScalarEvent) and any("\ud800" <= letter <= "\udfff" for letter in event.value):
                raise FormatError(f"{where}, {_at(event.start_mark)}: half a letter (a surrogate) is no text")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise FormatError(f"{where}, {_at(mark)}: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise FormatError(f"{where}: not YAML: {error}") from None


def _at(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "at its end"


class _Reader:
    """Reads the tree of a YAML text; collects faults in place of stopping at the first."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.faults: list[str] = []
        self.places: dict[tuple[str, ...], Place] = {}

    def read(self, root: yaml.Node | None) -> Workflow:
        top = self.mapping(root, (), "the workflow") if root is not None else {}
        self.only(top, _TOP, "a workflow", ())
        name = self.value(top.get("workflow"))
        if not isinstance(name, str) or not name:
            self.faults.append("`workflow: NAME` is missing")
        sites = {DEFAULT_SITE: Site(DEFAULT_SITE)}
        for site, node in self.mapping(top.get("sites"), ("sites",), "sites").items():
            sites[site] = self.site(site, node)
        nodes = {}
        for op, node in self.mapping(top.get("operators"), ("operators",), "operators").items():
            nodes[op] = self.operator(op, node)
        if not nodes:
            self.faults.append("`operators:` is missing or empty")
        if len(nodes) > MOST_OPERATORS:
            self.faults.append(f"a workflow has at most {MOST_OPERATORS} operators, this one has {len(nodes)}")
        if self.faults:
            raise WorkflowError(self.faults, self.where)
        return Workflow(str(name), nodes, sites, self.places)

    def read_sites(self, root: yaml.Node | None) -> tuple[dict[str, Site], dict[str, str]]:
        top = self.mapping(root, (), "the sites of a workflow")
        self.only(top, _OVER, "a file of sites", ())
        sites = {site: self.site(site, node) for site, node in self.mapping(
            top.get("sites"), ("sites",), "sites").items()}
        placed = self.mapping(top.get("at"), ("at",), "at")
        at = {op: self.typed(placed, op, str, "", ("at",), say="the name of a site") for op in placed}
        if self.faults:
            raise WorkflowError(self.faults, self.where)
        return sites, at

    def fault(self, text: str, path: tuple[str, ...]) -> None:
        self.faults.append(text + line_of(path, self.places))

    def mapping(self, node: yaml.Node | None, path: tuple[str, ...], what: str) -> dict[str, yaml.Node]:
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.faults.append(f"{what} must be `name: value` lines ({_at(node.start_mark)})")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            self.places[(*path, name)] = (key.start_mark.line + 1, key.start_mark.column + 1)
            if name in found:
                self.fault(f"'{name}' stands twice in {what}", (*path, name))
            found[name] = value
        return found

    def only(self, found: Mapping[str, Any], known: tuple[str, ...], what: str, path: tuple[str, ...]) -> None:
        for name in found:
            if name not in known:
                self.fault(str(UnknownName(f"key of {what}", name, known)), (*path, name))

    def value(self, node: yaml.Node | None) -> Any:
        if node is None:
            return None
        try:
            return _construct(node)
        except _FAULTS as error:
            problem = getattr(error, "problem", None) or f"a value that cannot be read: {error}"
            self.faults.append(f"{problem} ({_at(node.start_mark)})")
            return None

    def typed(self, found: dict[str, yaml.Node], key: str, want: Any, default: Any, path: tuple[str, ...],
              good: Callable[[Any], bool] = lambda _: True, say: str = "") -> Any:
        if key not in found:
            return default
        value = self.value(found[key])
        if not isinstance(value, want) or isinstance(value, bool) is not (want is bool) or not good(value):
            self.fault(f"{'.'.join(path[1:])}.{key}: expected {say or want.__name__}, got {value!r}", (*path, key))
            return default
        return value

    def site(self, name: str, node: yaml.Node) -> Site:
        path = ("sites", name)
        found = self.mapping(node, path, f"site '{name}'")
        if not _NAME.fullmatch(name):
            self.fault(f"site name '{name[:70]}': use letters, digits, - and _, starting with a letter", path)
        placer = self.typed(found, "placer", str, "local", path)
        agents = self.typed(found, "agents", int, 1, path, lambda n: 1 <= n <= 64, "a number from 1 to 64")
        dask, dashboard = self.dask(name, found.get("dask"), path)
        return Site(name, placer, {k: self.value(v) for k, v in found.items() if k not in _SITE}, agents, dask,
                    dashboard)

    def dask(self, name: str, node: yaml.Node | None, path: tuple[str, ...]) -> tuple[bool | int, bool]:
        path, dashboard = (*path, "dask"), False
        if isinstance(node, yaml.MappingNode):
            found = self.mapping(node, path, f"{name}.dask")
            self.only(found, _DASK, f"{name}.dask", path)
            dashboard = self.typed(found, "dashboard", bool, False, path)
            dask = self.value(found["workers"]) if "workers" in found else True
        else:
            dask = self.value(node) or False
        if not isinstance(dask, int) or not 0 <= dask <= 256:
            self.fault(f"{name}.dask: expected true, a number from 1 to 256, or {{workers: 4, dashboard: true}}, got "
                       f"{dask!r}", path)
            dask = False
        return dask, dashboard

    def operator(self, name: str, node: yaml.Node) -> Node:
        path = ("operators", name)
        if not _NAME.fullmatch(name):
            self.fault(f"operator name '{name[:70]}': use letters, digits, - and _, starting with a letter", path)
        found = self.mapping(node, path, f"operator '{name}'")
        if "use" not in found:
            self.fault(f"operator '{name}' lacks `use: OPERATOR`", path)
        needs = {key: self.value(value) for key, value in self.mapping(
            found.get("needs"), (*path, "needs"), f"{name}.needs").items()}
        at = self.typed(found, "at", str, DEFAULT_SITE, path)
        if "at" in needs:
            asked = needs.pop("at")
            if not isinstance(asked, str) or ("at" in found and asked != at):
                self.fault(f"{name}.needs.at: {asked!r} is not the site of `at`; say one of them", (*path, "needs"))
            at = str(asked)
        elastic = self.elastic(found.get("replicas"), path)
        return Node(
            name=name,
            use=self.typed(found, "use", str, "", path),
            at=at,
            wires=self.wires(found.get("from"), path),
            policy=self.policy(found, path),
            replicas=elastic.min if elastic else self.typed(found, "replicas", int, 1, path, lambda n: 1 <= n <= 1024,
                                                            "a number from 1 to 1024, or {min: 1, max: 4}"),
            elastic=elastic,
            needs=needs,
            patience_s=self.typed(found, "patience_s", (int, float), 0.0, path, lambda s: 0 < s <= LONGEST_PATIENCE_S,
                                  f"seconds above 0, {LONGEST_PATIENCE_S} at most"),
            link=self.link(found, path),
            join=self.join(found.get("join"), path),
            ordered=self.typed(found, "ordered", bool, False, path, say="true or false"),
            parameters={k: self.value(v) for k, v in found.items() if k not in _RESERVED},
        )

    def policy(self, found: dict[str, yaml.Node], path: tuple[str, ...]) -> Any:
        return self.typed(found, "policy", str, None, path, is_policy, ", ".join(POLICIES[:-1]) + " or " + POLICIES[-1])

    def link(self, found: dict[str, yaml.Node], path: tuple[str, ...]) -> Any:
        return self.typed(found, "link", str, None, path, get_args(Kind).__contains__,
                          " or ".join(get_args(Kind)))

    def join(self, node: yaml.Node | None, path: tuple[str, ...]) -> Join | None:
        if node is None:
            return None
        join = self.record(node, (*path, "join"), Join(KEYS[0]))
        if (*path, "join", "by") not in self.places:
            self.fault(f"{path[1]}.join lacks `by: KEY`", (*path, "join"))
        return join

    def elastic(self, node: yaml.Node | None, path: tuple[str, ...]) -> Elastic | None:
        return self.record(node, (*path, "replicas"), Elastic()) if isinstance(node, yaml.MappingNode) else None

    def record(self, node: yaml.Node, path: tuple[str, ...], usual: R) -> R:
        """What a mapping says of a small record; what it does not say is as usual."""
        known, what = {field.name: getattr(usual, field.name) for field in fields(usual)}, ".".join(path[1:])
        found = self.mapping(node, path, what)
        self.only(found, tuple(known), what, path)
        kinds = {float: (int | float, "seconds"), int: (int, "a number"), str: (str, "a word")}
        return replace(usual, **{name: self.typed(found, name, kinds[type(value)][0], value, path,
                                                  say=kinds[type(value)][1]) for name, value in known.items()})

    def wires(self, node: yaml.Node | None, path: tuple[str, ...]) -> tuple[Wire, ...]:
        if node is None:
            return ()
        entries = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(self.wire(entry, (*path, "from")) for entry in entries)

    def wire(self, node: yaml.Node, path: tuple[str, ...]) -> Wire:
        if not isinstance(node, yaml.MappingNode):
            of = self.value(node)
            if not isinstance(of, str):
                self.fault(f"{path[1]}.from: expected the name of an operator, got {of!r}", path)
            return Wire(str(of))
        found = self.mapping(node, path, f"an entry of {path[1]}.from")
        self.only(found, _WIRE, f"an entry of {path[1]}.from", path)
        of = self.typed(found, "of", str, "", path)
        if not of:
            self.fault(f"{path[1]}.from: an entry lacks `of: OPERATOR`", path)
        return Wire(of, self.typed(found, "to", str, "", path), self.policy(found, path),
                    self.typed(found, "feedback", bool, False, path), self.link(found, path))


_FAULTS: Final = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What the constructors of PyYAML raise for a scalar that is not of the form of its tag, or a key that is a list."""
_MOST: Final = 1 << 63  # what travels to a worker
_SCIENTIFIC: Final = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")  # YAML 1.1 takes 2e6 for a word


def _construct(node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        return {_construct(key): _construct(child) for key, child in node.value}
    if isinstance(node, yaml.ScalarNode) and node.style is None and _SCIENTIFIC.fullmatch(node.value):
        value: Any = float(node.value)
    else:
        value = yaml.SafeLoader("").construct_document(node)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number has to be finite")
    if isinstance(value, int) and not -_MOST <= value < _MOST:
        raise ValueError("a whole number has 64 bits at most")
    return value


def read_value(text: str) -> Any:
    """A scalar or list as it would be read in a workflow file: 12, 2e6, true, [1, 2], word."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if node is None else _construct(node)
    except _FAULTS:
        return text


def write_workflow(workflow: Workflow) -> str:
    """The YAML text of a workflow; defaults are left out."""
    tree: dict[str, Any] = {"workflow": workflow.name}
    tree["sites"] = {
        s.name: {"placer": s.placer, **({"agents": s.agents} if s.agents != 1 else {}),
                 **({"dask": {"workers": s.dask, "dashboard": True} if s.dashboard else s.dask} if s.dask else {}),
                 **s.options}
        for s in workflow.sites.values()}
    tree["operators"] = {node.name: _node_tree(node) for node in workflow.nodes.values()}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)


def _node_tree(node: Node) -> dict[str, Any]:
    tree: dict[str, Any] = {"use": node.use}
    if node.at != DEFAULT_SITE:
        tree["at"] = node.at
    if node.wires:
        entries = [_wire_tree(w) for w in node.wires]
        tree["from"] = entries[0] if len(entries) == 1 else entries
    if node.policy:
        tree["policy"] = node.policy
    if node.link:
        tree["link"] = node.link
    if node.join:
        tree["join"] = {field.name: value for field in fields(Join)
                        if (value := getattr(node.join, field.name)) != field.default}
    if node.elastic:
        tree["replicas"] = {field.name: value for field in fields(Elastic)
                            if (value := getattr(node.elastic, field.name)) != field.default or field.name == "max"}
    elif node.replicas != 1:
        tree["replicas"] = node.replicas
    if node.patience_s:
        tree["patience_s"] = node.patience_s
    if node.ordered:
        tree["ordered"] = True
    if node.needs:
        tree["needs"] = dict(node.needs)
    return {**tree, **node.parameters}


def _wire_tree(wire: Wire) -> Any:
    extra = {"to": wire.to, "policy": wire.policy, "feedback": wire.feedback, "link": wire.link}
    extra = {key: value for key, value in extra.items() if value}
    return {"of": wire.of, **extra} if extra else wire.of
