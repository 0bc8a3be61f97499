"""Exchange: blocks as plain files and as a plain stream, for programs in any language.

Files: a folder a block with one NAME.npy an array and block.json {"type", "header"}. A result is NAME.npy files and,
where there are scalars, facts.json. Stream: a line of JSON {"type", "header", "arrays": [[name, dtype, shape], ...]},
then the bytes of each array in C order. Programs are not trusted: sizes and names are bounded, nothing is unpickled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np

from camlink.block import Array, Block, CountFrames, Fact, Header, Result, Scan
from camlink.clock import now_s
from camlink.errors import FormatError

MOST_ARRAYS: Final = 64
LARGEST_BLOCK_BYTES: Final = 4 << 30
LARGEST_HEAD_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
_KINDS: Final = frozenset("biufc")


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The line before the arrays of a block in a stream; a program may leave out the header or give facts alone."""

    arrays: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    type: str = "Result"
    header: Header | None = None
    facts: dict[str, Fact] = {}


def write_files(block: Block, folder: Path) -> None:
    """One .npy file an array and block.json, in a new `folder`; raises OSError."""
    folder.mkdir(parents=True)
    for name, array in block.arrays.items():
        np.save(folder / f"{_checked_name(name, 'a block')}.npy", array, allow_pickle=False)
    head = {"type": type(block).__name__, "header": block.header}
    (folder / "block.json").write_bytes(msgspec.json.encode(head))


def read_files(folder: Path) -> tuple[dict[str, Array], dict[str, Fact]]:
    """The arrays and facts that a program left in `folder`; raises FormatError for what is neither."""
    paths = sorted(folder.glob("*.npy"))
    if len(paths) > MOST_ARRAYS:
        raise FormatError(f"{folder}: {len(paths)} arrays; at most {MOST_ARRAYS} are taken")
    arrays = {_checked_name(path.stem, str(folder)): _read_array(path) for path in paths}
    return arrays, _read_facts(folder / "facts.json")


def encode(block: Block) -> list[Any]:
    """The parts of a block in a stream: a line, then the bytes of each array."""
    arrays = [np.asarray(array, order="C") for array in block.arrays.values()]
    layout = tuple((_checked_name(name, "a block"), array.dtype.str, array.shape)
                   for name, array in zip(block.arrays, arrays, strict=True))
    line = msgspec.json.encode(Head(layout, type(block).__name__, block.header)) + b"\n"
    return [line, *(array.reshape(-1).view(np.uint8) for array in arrays if array.nbytes)]


def decode_stream(file: BinaryIO) -> Iterator[tuple[Head, dict[str, Array]]]:
    """The heads and arrays in a stream until its end.

    Raises FormatError for anything else, and when the stream ends in the middle.
    """
    while line := file.readline(LARGEST_HEAD_BYTES):
        try:
            head = msgspec.json.decode(line, type=Head)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(f"the program wrote what is no head of a block: {line[:80]!r}: {error}") from None
        if len(head.arrays) > MOST_ARRAYS:
            raise FormatError(f"the program announces {len(head.arrays)} arrays; at most {MOST_ARRAYS} are taken")
        room = LARGEST_BLOCK_BYTES
        arrays = {}
        for name, dtype, shape in head.arrays:
            array = arrays[_checked_name(name, "the stream")] = _receive(file, name, dtype, shape, room)
            room -= array.nbytes
        yield head, arrays


def as_result(arrays: Mapping[str, Array], facts: Mapping[str, Fact], scan: Scan) -> Result:
    """A result of the scan, made now."""
    return Result(Header(scan=scan, made_s=now_s(), facts=dict(facts)), arrays)


def as_frames(arrays: Mapping[str, Array], facts: Mapping[str, Fact], like: Block) -> CountFrames:
    """Frames of a program: its arrays in place of those of the block that it was given.

    Raises FormatError when they do not belong together.
    """
    merged = {**like.arrays, **arrays}
    if "frames" in merged and not np.issubdtype(merged["frames"].dtype, np.complexfloating):
        merged["frames"] = merged["frames"].astype(np.float32, copy=False)
    shape = merged["frames"].shape[1:] if "frames" in merged and merged["frames"].ndim == 3 else like.scan.shape
    scan = msgspec.structs.replace(like.scan, shape=(int(shape[0]), int(shape[1])))
    header = msgspec.structs.replace(like.header, scan=scan, facts={**like.header.facts, **facts})
    return CountFrames.checked(header, merged)


def _receive(file: BinaryIO, name: str, dtype: str, shape: tuple[int, ...], room: int) -> Array:
    kind = _checked_dtype(dtype, name)
    if len(shape) > 8 or any(n < 0 for n in shape) or math.prod(shape) * kind.itemsize > room:
        raise FormatError(f"array '{name[:40]}' of the program has the impossible shape {shape[:8]}")
    array = np.empty(shape, kind)
    view: memoryview[int] = array.reshape(-1).data.cast("B") if array.nbytes else memoryview(b"")
    filled = 0
    while filled < len(view):
        got = file.readinto(view[filled:])  # type: ignore[attr-defined]
        if not got:
            raise FormatError(f"the program ended after {filled} of {len(view)} bytes of the array '{name[:40]}'")
        filled += got
    return array


def _read_array(path: Path) -> Array:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_BLOCK_BYTES:
            raise FormatError(f"{path}: no file of at most {LARGEST_BLOCK_BYTES} bytes")
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, RecursionError) as error:
        raise FormatError(f"{path}: not an array that NumPy reads: {error}") from None
    _checked_dtype(array.dtype.str, path.stem)
    return array


def _read_facts(path: Path) -> dict[str, Fact]:
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(LARGEST_HEAD_BYTES), type=dict[str, Fact])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise FormatError(f"{path}: not an object of scalars: {error}") from None


def _checked_name(name: str, where: str) -> str:
    if not _NAME.fullmatch(name):
        raise FormatError(f"{where}: '{name[:40]}' is no name of an array; use letters, digits, '_', '-' and '.'")
    return name


def _checked_dtype(text: str, name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError, SyntaxError):
        raise FormatError(f"array '{name[:40]}' has the unknown dtype '{text[:40]}'") from None
    if dtype.kind not in _KINDS or dtype.itemsize > 16:
        raise FormatError(f"array '{name[:40]}': dtype '{text[:40]}' does not travel")
    return dtype
