"""Operator: what takes blocks in and gives blocks out; its ports and parameters are read from its type hints."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_origin

import msgspec
from numpy.typing import DTypeLike

from camlink.block import Array, Block, Result
from camlink.errors import InputError, UnknownName
from camlink.workflow.executor import Executor
from camlink.workflow.parameter import Parameters
from camlink.workflow.port import Inflow, Port
from camlink.workflow.siblings import Siblings

DEFAULT_OUTPUT = "out"
P = TypeVar("P", bound=Parameters)


class Kind(StrEnum):
    """What an operator is for; the runtime treats a view differently, the rest is for people."""

    SOURCE = "source"
    TRANSFORM = "transform"
    SOLVER = "solver"
    DECISION = "decision"
    SINK = "sink"
    VIEW = "view"


FactValue = float | int | str | bool | dict[str, int] | list[str]


class Screen(Protocol):
    """Where a view shows its blocks: the live store of the page or the terminal, or nothing at all."""

    def show(self, block: Block) -> None:
        """Take the newest block of its source; returns at once, drawing happens on the reader's clock."""
        ...


class Context(Protocol):
    """What the runtime lets an operator know and say; an operator asks for it by a parameter named `context`."""

    @property
    def name(self) -> str:
        """Name of the operator in its workflow."""
        ...

    @property
    def site(self) -> str:
        """Name of the site where the operator runs."""
        ...

    @property
    def folder(self) -> Path:
        """Folder of this run, for files that are to be kept."""
        ...

    @property
    def replica(self) -> int:
        """Number of this replica of the operator; 0 where there is only one."""
        ...

    @property
    def attempt(self) -> int:
        """How often this worker was replaced; what earlier attempts took comes again, before anything new."""
        ...

    @property
    def given(self) -> frozenset[int]:
        """Indices of the frames that earlier attempts of this source gave, and that need not come again."""
        ...

    @property
    def provenance(self) -> Mapping[str, str]:
        """Versions, workflow text and its hash, for the record."""
        ...

    @property
    def screen(self) -> Screen:
        """Where a view shows its blocks."""
        ...

    @property
    def siblings(self) -> Siblings:
        """What the other replicas say, and what all of them agree on."""
        ...

    @property
    def executor(self) -> Executor:
        """Takes pieces of work of 100 ms and more: threads of this process, or the cluster of the site (`dask`)."""
        ...

    def room(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A writable array for the next block of the first output: written here, it is copied by no link of this host.

        It is not written to any more once its block was given; take a new one for the next.
        """
        ...

    @property
    def kept(self) -> Result | None:
        """What earlier attempts of this worker kept; None when nothing, or nothing that can be read."""
        ...

    def keep(self, make: Callable[[], Result | None]) -> None:
        """Let the next attempt find what `make` gives, in place of what was kept before.

        It is called, and what it gives is written before this returns, now and then: for 2 % of the time at most.
        """
        ...

    def stopping(self) -> bool:
        """True when the operator is asked to come to its end soon."""
        ...

    def held(self) -> bool:
        """True while the run is paused; for sources whose frames do not come from what they yield."""
        ...

    def held_s(self) -> float:
        """For how long the run has been paused in all [s]; for a source with a pace that time does not count."""
        ...

    def changed(self, parameters: P) -> P:
        """The parameters that somebody has set since this was asked last, or those given; for long-lived operators."""
        ...

    def tell(self, **facts: FactValue) -> None:
        """Facts for the page and the report; a later value replaces an earlier one."""
        ...


Body = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Operator:
    """A description of an operator: cheap to make and to check; `make` builds the part that works."""

    name: str
    kind: Kind
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    parameters: type[Parameters]
    make: Callable[[Parameters, Context], Body]
    help: str
    where: str
    prepare: Callable[[Any], None] | None = None
    stateful: bool = False
    resumes: bool = False
    pauses: bool = False
    changes: bool = False
    independent: bool = False
    ordered: bool = False
    stays: Callable[[Any], Mapping[str, str]] | None = None
    ahead: tuple[str, ...] = ()

    def staying(self, parameters: Parameters) -> Mapping[str, str]:
        """The parameters that stay as they are while it runs, and why."""
        return self.stays(parameters) if self.stays is not None else {}

    @property
    def scalable(self) -> bool:
        """Whether replicas may join and leave while frames flow: what one of them has seen the others need not know."""
        return self.kind is Kind.TRANSFORM and not self.streams and not self.joins and self.independent

    @property
    def streams(self) -> bool:
        """Whether the body is called once with Inflows; else it is called once a block."""
        return not self.inputs or any(port.streams for port in self.inputs)

    @property
    def passes_on(self) -> bool:
        """Whether what it gives is made of one block each, so that replicas of it may share a stream."""
        return bool(self.inputs) and not self.streams and not self.joins and not self.ordered

    @property
    def joins(self) -> bool:
        """Whether the body is called once a meeting, with a block of each input."""
        return len(self.inputs) > 1 and not self.streams


def operator(name: str | None = None, *, kind: Kind | str | None = None, out: str = DEFAULT_OUTPUT,
             prepare: Callable[[Any], None] | None = None, resumes: bool = False,
             pauses: bool = False, independent: bool = False, ordered: bool = False,
             stays: Callable[[Any], Mapping[str, str]] | None = None,
             ahead: tuple[str, ...] = ()) -> Callable[[Any], Operator]:
    """Make a function or a small class an operator.

    Block-typed arguments are its inputs (`Inflow[Frames]` for one that lives as long as the scan), the return
    hint its output: a Block or an iterator of blocks (the port is called `out`, or as you say), or a NamedTuple of
    blocks for several ports. Several block-typed arguments take what their links have under the same key, as the
    `join` of the workflow says; one that is typed `Frames | None` may be missing.

    An argument `parameters` takes the parameter record and `context` the Context;
    keyword-only arguments of plain type become the record by themselves. Of a class, `__init__` takes parameters and
    context, `__call__` blocks, and `finish()` may give last blocks; `needs_again(block)` tells after a block whether a
    replacement would need it (without it: every one). `prepare(parameters)` is called while services
    are launched: compile and load there what the first frame must not wait for. A source that `resumes` can be started
    again after it was killed: it goes on without the frames at `context.given`. One that `pauses` loses nothing when
    nobody asks it for its next block for a while. A function takes other parameters between two blocks while it runs;
    a class does when it has a method `change(parameters)`; one that lives as long as the scan asks
    `context.changed(parameters)`, and says so by `stays`. That tells by `stays(parameters)` which of them stay as they
    are, {name: why}. A class is `independent` when no block changes what becomes of the next: then replicas may join
    in the middle of a scan, as those of a function always may. An operator that is `ordered` takes frames in the order
    of their index, also behind replicas; a workflow may ask for it as well. Modules that its body imports when it
    begins are named in `ahead`: they are there before the worker is, so that it, and whoever takes its place, begins
    at once; no thread may begin and no file stay open when they are imported.

    Raises InputError when the hints do not say what the ports are.
    """

    def wrap(body: Any) -> Operator:
        if not callable(body):
            raise InputError(f"operator '{name or body!r}': a {type(body).__name__} is neither a function nor a class")
        made = _describe(body, name or f"{body.__module__}:{body.__qualname__}", kind, out, prepare)
        if (resumes or pauses) and made.kind is not Kind.SOURCE:
            raise InputError(f"operator '{made.name}': only a source resumes or pauses; others are fed again by "
                             "themselves")
        return replace(made, resumes=resumes, pauses=pauses, independent=independent or not made.stateful, stays=stays,
                       ordered=ordered, changes=made.changes or (stays is not None and not made.stateful), ahead=ahead)

    return wrap


def _describe(body: Any, name: str, kind: Kind | str | None, out: str,
              prepare: Callable[[Any], None] | None) -> Operator:
    is_class = inspect.isclass(body)
    call = body.__call__ if is_class else body
    hints = _hints(call, name)
    inputs = tuple(port for arg, hint in hints.items() if arg != "return" and (port := _input(arg, hint)))
    _check_arguments(call, {port.name for port in inputs}, name, is_class=is_class)
    outputs = _outputs(hints.get("return", type(None)), name)
    if len(outputs) == 1:
        outputs = (Port(out, outputs[0].block),)
    record, make = _maker(body, name)
    if not inputs and not outputs:
        raise InputError(f"operator '{name}': takes nothing and gives nothing; type its arguments and what it returns")
    if inputs and len({port.streams for port in inputs}) == 2:
        raise InputError(f"operator '{name}': either every input is an Inflow or none is")
    if inputs and all(port.optional for port in inputs):
        raise InputError(f"operator '{name}': at least one input has to be there; take `| None` from its hint")
    return Operator(
        name=name,
        kind=_kind(kind, name) if kind else _guess(inputs, outputs),
        inputs=inputs,
        outputs=outputs,
        parameters=record,
        make=make,
        help=(inspect.getdoc(body) or "").partition("\n")[0],
        where=f"{body.__module__}:{body.__qualname__}",
        prepare=prepare,
        stateful=is_class,
        changes=callable(getattr(body, "change", None)) if is_class else bool(inputs) and not inputs[0].streams,
    )


def _check_arguments(call: Any, ports: set[str], name: str, *, is_class: bool) -> None:
    """Raise InputError for an argument that nobody would give."""
    for arg in [*inspect.signature(call).parameters.values()][is_class:]:
        given = arg.name in ports or (not is_class and (arg.kind is inspect.Parameter.KEYWORD_ONLY
                                                        or arg.name in ("parameters", "context")))
        if not given or arg.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise InputError(f"operator '{name}': the argument '{arg.name}' is typed as no Block and no Inflow of one, "
                             "so nobody gives it; " + ("it belongs to __init__" if is_class else
                                                       "parameters stand behind a `*`"))


def _kind(said: Kind | str, name: str) -> Kind:
    try:
        return Kind(said)
    except ValueError:
        raise InputError(f"operator '{name}': {UnknownName('kind', str(said), Kind)}") from None


def _guess(inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> Kind:
    if not inputs:
        return Kind.SOURCE
    if not outputs:
        return Kind.SINK
    return Kind.SOLVER if inputs[0].streams else Kind.TRANSFORM


def _hints(call: Any, name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(call, include_extras=True)
    except NameError as error:
        raise InputError(f"operator '{name}': the type hint '{error.name}' is not known in its module; import it "
                         "outside of TYPE_CHECKING") from None
    except (SyntaxError, TypeError, AttributeError) as error:
        raise InputError(f"operator '{name}': its type hints cannot be read: {error}") from None


def _input(arg: str, hint: Any) -> Port | None:
    if inspect.isclass(hint) and issubclass(hint, Block):
        return Port(arg, hint)
    if get_origin(hint) is Inflow:
        (block,) = get_args(hint)
        return Port(arg, block, streams=True) if inspect.isclass(block) and issubclass(block, Block) else None
    if get_origin(hint) in (typing.Union, types.UnionType):
        block, *others = (sub for sub in get_args(hint) if sub is not type(None))
        if not others and inspect.isclass(block) and issubclass(block, Block):
            return Port(arg, block, optional=True)
    return None


_ITERATES = (Iterator, Iterable, list, tuple, typing.Iterator, typing.Iterable)


def _outputs(hint: Any, name: str) -> tuple[Port, ...]:
    if hint in (None, type(None)):
        return ()
    if inspect.isclass(hint) and issubclass(hint, Block):
        return (Port(DEFAULT_OUTPUT, hint),)
    if inspect.isclass(hint) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        found = [(field, _outputs(sub, name)) for field, sub in typing.get_type_hints(hint).items()]
        return tuple(Port(field, ports[0].block) for field, ports in found if ports)
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType, typing.Generator, *_ITERATES) or (
            inspect.isclass(origin) and issubclass(origin, Iterator)):
        for sub in get_args(hint):
            if ports := _outputs(sub, name):
                return ports
        return ()
    raise InputError(f"operator '{name}': the return hint {hint!r} names no Block; "
                     "use a Block type, Iterator[Block], a NamedTuple of Blocks or None")


def _maker(body: Any, name: str) -> tuple[type[Parameters], Callable[[Parameters, Context], Body]]:
    """The parameter record of a function or class, made of its keywords if it takes none; and what makes the body."""
    is_class = inspect.isclass(body)
    call = body.__init__ if is_class else body
    hints, loose = _hints(call, name), []
    for arg in [*inspect.signature(call).parameters.values()][is_class:]:
        if arg.name in ("parameters", "context"):
            continue
        if is_class and arg.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            raise InputError(f"operator '{name}': the argument '{arg.name}' of __init__ has to stand behind a `*`")
        if arg.kind is inspect.Parameter.KEYWORD_ONLY:
            if arg.default is inspect.Parameter.empty or arg.name not in hints:
                raise InputError(f"operator '{name}': the parameter '{arg.name}' needs a type and a default")
            loose.append((arg.name, hints[arg.name], arg.default))
    record = hints.get("parameters") or _record(loose, name)
    if not (inspect.isclass(record) and issubclass(record, Parameters)):
        raise InputError(f"operator '{name}': `parameters` is typed as {record!r}, which is no subclass of Parameters")

    def make(parameters: Parameters, context: Context) -> Body:
        given = msgspec.structs.asdict(parameters) if loose else {}
        given |= {"parameters": parameters} if "parameters" in hints else {}
        given |= {"context": context} if "context" in hints else {}
        return typing.cast("Body", body(**given) if is_class else partial(body, **given))

    return record, make


def _record(loose: list[tuple[str, Any, Any]], name: str) -> type[Parameters]:
    """A record of keywords (name, type, default)."""
    try:
        made = msgspec.defstruct("Parameters", loose, bases=(Parameters,), frozen=True, kw_only=True,
                                 forbid_unknown_fields=True)
        msgspec.json.schema(made)
    except TypeError:
        raise InputError(f"operator '{name}': its parameters are no plain values (an array, or a list as default); use "
                         "numbers, texts, tuples of them or choices") from None
    return typing.cast("type[Parameters]", made)
