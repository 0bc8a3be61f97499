"""Entries: the contestants that a list of algorithms, kernels and parameter values calls for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Final, get_args

from camlink.compute.ptychography.evaluate.contest import MOST_CONTESTANTS
from camlink.compute.ptychography.evaluate.contestant import Contestant, Own
from camlink.compute.ptychography.kernels.choice import KernelName
from camlink.compute.ptychography.parameters import Algorithm, SolveParameters
from camlink.errors import ParameterError, UnknownName
from camlink.workflow.parameter import build

ALGORITHMS: Final[tuple[str, ...]] = get_args(Algorithm)
KERNELS: Final[tuple[str, ...]] = get_args(KernelName)
EVERYONE: Final = "all"
_TAKEN: Final = {"algorithm": "--algorithms", "kernel": "--kernels", "iterations": "--iterations"}


def entries(algorithms: Sequence[str], kernels: Sequence[str], values: Mapping[str, Any]) -> list[Contestant]:
    """One contestant for every algorithm, kernel and combination of values.

    `values` are {"name.parameter": value} with an algorithm or "all" as name; a list of values makes one contestant
    for each. Raises UnknownName or ParameterError.
    """
    for what, given, known in (("algorithm", algorithms, ALGORITHMS), ("kernel", kernels, KERNELS)):
        for name in given:
            if name not in known:
                raise UnknownName(what, name, known)
    settings = _settings(algorithms, values)
    found: list[Contestant] = []
    for algorithm in dict.fromkeys(algorithms):
        choices = {**settings[EVERYONE], **settings[algorithm]}
        for kernel in dict.fromkeys(kernels):
            for combination in product(*choices.values()):
                chosen = dict(zip(choices, combination, strict=True))
                record = build(SolveParameters, {**chosen, "algorithm": algorithm, "kernel": kernel}, algorithm)
                assert isinstance(record, SolveParameters)
                found.append(Own(_label(algorithm, kernel if len(kernels) > 1 else "", choices, chosen), record))
                if len(found) > MOST_CONTESTANTS:
                    raise ParameterError(f"more than {MOST_CONTESTANTS} combinations of algorithms, kernels and "
                                         "values; compare fewer at once")
    if not found:
        raise ParameterError("no algorithm is left to compare; name one, such as raar")
    return found


def _settings(algorithms: Sequence[str], values: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """{name: {parameter: values to try}} for every algorithm and for all of them."""
    found: dict[str, dict[str, list[Any]]] = {name: {} for name in (EVERYONE, *algorithms)}
    for key, value in values.items():
        name, _, parameter = key.partition(".")
        if name not in found:
            raise UnknownName("contestant", name, found)
        if parameter in _TAKEN:
            raise ParameterError(f"{key}: choose it with {_TAKEN[parameter]}")
        tried = value if isinstance(value, list) else _several(value)
        if not tried:
            raise ParameterError(f"{key}: the list of values is empty")
        found[name][parameter] = tried
    return found


def _several(value: Any) -> list[Any]:
    """The values in a text with commas, as in 0.6,0.75,0.9; what they mean is for the parameter's type to say."""
    if isinstance(value, str) and "," in value:
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value]


def _label(algorithm: str, kernel: str, choices: Mapping[str, list[Any]], chosen: Mapping[str, Any]) -> str:
    varied = [f"{name}={chosen[name]}" for name, tried in choices.items() if len(tried) > 1]
    return " ".join([algorithm, *([kernel] if kernel else []), *varied])
