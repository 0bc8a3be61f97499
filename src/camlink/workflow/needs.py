"""Needs and offers: what an operator asks of the machine where it works, and what an agent's machine has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from camlink.errors import ParameterError, UnknownName

ANY: Final = "any"
"""What `at` says when an operator may work at every site that meets its needs."""
MOST: Final = 1 << 50
_BYTES: Final = {"": 1, "B": 1} | {f"{letter}{binary}B": base ** (power + 1) for power, letter in enumerate("kMGT")
                                  for binary, base in (("", 1000), ("i", 1024))} | {"KiB": 1024}
_SECONDS: Final = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86_400}
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
KNOWN: Final = ("cores", "disk", "gpu", "memory", "time")


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker of an operator needs; a GPU that it only prefers is given when one is left over."""

    cores: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    time_s: float = 0.0
    gpus: int = 0
    prefers_gpu: bool = False

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return self != Needs()


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent may use; None where nobody can know yet. Agents of one `pool` share what they offer."""

    cores: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    gpus: int | None = None
    time_s: float | None = None
    pool: str = ""


def read_needs(said: Mapping[str, Any], where: str) -> Needs:
    """The needs in the words of a workflow: `{gpu: 1, memory: 8 GiB, cores: 2, disk: 1 TB, time: 2 h}`.

    Raises UnknownName or ParameterError. (`at` among them is the place of the operator, and read with it.)
    """
    for name in said:
        if name not in KNOWN:
            raise UnknownName(f"need of {where}", str(name), KNOWN)
    gpu = said.get("gpu", 0)
    return Needs(cores=_count(said.get("cores", 0), f"{where}.needs.cores"),
                 memory_bytes=round(_amount(said.get("memory", 0), _BYTES, f"{where}.needs.memory", "8 GiB")),
                 disk_bytes=round(_amount(said.get("disk", 0), _BYTES, f"{where}.needs.disk", "200 GB")),
                 time_s=_amount(said.get("time", 0), _SECONDS, f"{where}.needs.time", "2 h"),
                 gpus=0 if gpu == "prefer" else _count(gpu, f"{where}.needs.gpu", " or prefer"),
                 prefers_gpu=gpu == "prefer")


def lacks(needs: Needs, offer: Offer) -> str:
    """What an offer lacks of the needs, in words; nothing when it meets them, or may."""
    return ", ".join(f"{what} ({say(wanted)} asked, {say(there)} there)"
                     for what, wanted, there, say in _compared(needs, offer) if there is not None and wanted > there)


def _compared(needs: Needs, offer: Offer) -> Iterator[tuple[str, float, float | None, Callable[[float], str]]]:
    yield "cores", needs.cores, offer.cores, str
    yield "GPUs", needs.gpus, offer.gpus, str
    yield "memory", needs.memory_bytes, offer.memory_bytes, say_bytes
    yield "free disk", needs.disk_bytes, offer.disk_bytes, say_bytes
    yield "time before its job ends", needs.time_s, offer.time_s, _say_time


def say_bytes(count: float) -> str:
    """So many bytes for people: 8 GiB, 512 MiB."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024 ** power:
            return f"{count / 1024 ** power:.3g} {unit}"
    return f"{count:g} B"


def _say_time(time_s: float) -> str:
    return f"{time_s / 3600:.3g} h" if time_s >= 3600 else f"{time_s:.0f} s"


def _count(value: Any, where: str, more: str = "") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 4096:
        raise ParameterError(f"{where} = {value!r}: expected a number from 0 to 4096{more}")
    return value


def _amount(value: Any, units: Mapping[str, int], where: str, example: str) -> float:
    found = None if isinstance(value, bool) else _QUANTITY.fullmatch(str(value).strip())
    amount = float(found[1]) * units[found[2]] if found and found[2] in units else -1.0
    if not 0 <= amount <= MOST:
        raise ParameterError(f"{where} = {value!r}: expected an amount such as {example} "
                             f"(units: {', '.join(filter(None, units))})")
    return amount
