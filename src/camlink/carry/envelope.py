"""Envelope: a block as message parts and back; the arrays travel as they lie in memory, nothing is copied.

Part 0 is the size of a msgpack head (u32), the head {version, type, header, layout}, and then, each on 16 bytes, the
arrays of at most 4 KiB; every larger array is a part of its own, in C order. A message of many parts is slow.
A decoder trusts nothing: types, sizes and shapes are bounded and compared before an array is made of a part. Blocks of
a stream have the same layout again and again: what was checked of a layout once is remembered by its bytes.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from camlink.block import Block, Header, Scan
from camlink.errors import CamlinkError, WireError

VERSION: Final = 2
MAX_HEAD_BYTES: Final = 1 << 20
MAX_ARRAYS: Final = 64
MAX_AXES: Final = 8
MAX_BLOCK_BYTES: Final = 4 << 30
INLINE_BYTES: Final = 4096
_ALIGN: Final = 16
_SIZE: Final = struct.Struct("<I")
_DTYPE: Final = re.compile(r"[<>|][biufc](?:[1248]|16)")
_REMEMBERED: Final = 256


class Layout(msgspec.Struct, frozen=True, array_like=True):
    """Name, dtype (NumPy string such as '<u2') and shape of one array."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Part 0 of a block on the wire; `layout` is a list of Layout, read when it was not seen before."""

    version: int
    type: str
    header: Header
    layout: msgspec.Raw


class _Shape(NamedTuple):
    """One array as it has to be made: of part 0 from `offset` on, or of a part of its own (-1)."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    nbytes: int
    offset: int


class _Written(NamedTuple):
    """A layout that was encoded: its bytes, and for each array the gap that follows it in part 0 (None: not there)."""

    raw: msgspec.Raw
    gaps: tuple[bytes | None, ...]


class _Checked(NamedTuple):
    """A layout that was checked: its arrays, the bytes that they take in part 0, and the number of parts."""

    shapes: tuple[_Shape, ...]
    inline_bytes: int
    parts: int


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Head)
_LAYOUTS: Final = msgspec.msgpack.Decoder(tuple[Layout, ...])
_NO_SCAN: Final = Header(made_s=0.0, scan=Scan(id="", expected=0, shape=(0, 0), pixel_m=(0, 0), distance_m=0.0,
                                              energy_eV=0.0, span_m=(0, 0, 0, 0)))


def encode(block: Block) -> list[Any]:
    """Message parts of a block: the head with the small arrays as bytes, then each larger array (contiguous)."""
    arrays = [np.ascontiguousarray(a) for a in block.arrays.values()]
    raw, gaps = _written(tuple(block.arrays), tuple([a.dtype for a in arrays]), tuple([a.shape for a in arrays]))
    head = _ENCODER.encode(Head(VERSION, type(block).__name__, block.header, raw))
    first, parts = [_SIZE.pack(len(head)), head, bytes(-(_SIZE.size + len(head)) % _ALIGN)], list[Any]()
    for array, gap in zip(arrays, gaps, strict=True):
        if gap is None:
            parts.append(array)
        else:
            first += (array.tobytes(), gap)
    return [b"".join(first), *parts]


def decode(parts: Sequence[Any]) -> Block:
    """The block in `parts` (buffers); its arrays are read-only views of them, the small ones of a copy of part 0.

    Raises WireError on anything that is not a block of this version.
    """
    if not parts or len(parts) > MAX_ARRAYS + 1:
        raise WireError(f"a block has 1 to {MAX_ARRAYS} arrays, got a message of {len(parts)} parts")
    first, start, head = _head(parts[0])
    kind = Block.names.get(head.type)
    if kind is None:
        raise WireError(f"unknown block type '{head.type[:40]}' (known: {', '.join(sorted(Block.names))})")
    shapes, inline_bytes, count = _checked(head.type, bytes(head.layout))
    if count != len(parts) or start + inline_bytes != len(first):
        raise WireError(f"the head announces {count} parts and {inline_bytes} bytes of small arrays, the message has "
                        f"{len(parts)} and {len(first) - start}")
    arrays, at = {}, 0
    for name, dtype, shape, nbytes, offset in shapes:
        if offset >= 0:
            arrays[name] = np.ndarray(shape, dtype, first, start + offset)
        else:
            at += 1
            view = memoryview(parts[at])
            if view.nbytes != nbytes:
                raise WireError(f"array '{name[:40]}' announces {nbytes} bytes and carries {view.nbytes}")
            arrays[name] = np.ndarray(shape, dtype, view if view.readonly else view.toreadonly())
    return kind(head.header, arrays)


def _head(part: Any) -> tuple[bytes, int, Head]:
    """Part 0 (a copy: what is checked is what is used, and it is aligned), where its arrays begin, and the head."""
    size = memoryview(part).nbytes
    if size > MAX_HEAD_BYTES:
        raise WireError(f"the head of a block is at most {MAX_HEAD_BYTES} bytes, got {size}")
    first = part if type(part) is bytes else bytes(part)
    end = _SIZE.size + (_SIZE.unpack_from(first)[0] if size >= _SIZE.size else size)
    try:
        if end > size:
            raise WireError(f"the head of a block does not parse: it ends at byte {end} of {size}")
        head = _DECODER.decode(memoryview(first)[_SIZE.size:end])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"the head of a block does not parse: {error}") from None
    if head.version != VERSION:
        raise WireError(f"block version {head.version} is not {VERSION}; use the same camlink at both ends")
    return first, end + -end % _ALIGN, head


@lru_cache(_REMEMBERED)
def _written(names: tuple[str, ...], dtypes: tuple[np.dtype[Any], ...],
             shapes: tuple[tuple[int, ...], ...]) -> _Written:
    """The layout of arrays as it is written."""
    layout = [Layout(n, d.str, s) for n, d, s in zip(names, dtypes, shapes, strict=True)]
    sizes = [d.itemsize * math.prod(s) for d, s in zip(dtypes, shapes, strict=True)]
    return _Written(msgspec.Raw(_ENCODER.encode(layout)),
                    tuple(bytes(-size % _ALIGN) if size <= INLINE_BYTES else None for size in sizes))


@lru_cache(_REMEMBERED)
def _checked(kind: str, raw: bytes) -> _Checked:
    """The layout in `raw`; raises WireError when it is impossible, or does not make a block of that type."""
    try:
        layout = _LAYOUTS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"the layout of a block does not parse: {error}") from None
    if len(layout) > MAX_ARRAYS:
        raise WireError(f"a block has at most {MAX_ARRAYS} arrays, this one announces {len(layout)}")
    shapes, at = [], 0
    for lay in layout:
        shape = _shape(lay, at)
        shapes.append(shape)
        at += shape.nbytes + -shape.nbytes % _ALIGN if shape.offset >= 0 else 0
    arrays = {s.name: np.broadcast_to(np.zeros((), s.dtype), s.shape) for s in shapes}  # shapes without memory
    if len(arrays) != len(shapes):
        raise WireError("two arrays of a block have the same name")
    try:
        Block.names[kind].checked(_NO_SCAN, arrays)
    except CamlinkError as error:
        raise WireError(str(error)) from None
    return _Checked(tuple(shapes), at, 1 + sum(s.offset < 0 for s in shapes))


def _shape(lay: Layout, at: int) -> _Shape:
    """One array of a layout, at byte `at` of the small ones if it is small."""
    if not _DTYPE.fullmatch(lay.dtype):  # NumPy reads whole records and Python literals out of longer ones
        raise WireError(f"array '{lay.name[:40]}': dtype '{lay.dtype[:40]}' does not travel")
    try:
        dtype = np.dtype(lay.dtype)
    except TypeError:
        raise WireError(f"array '{lay.name[:40]}' has the unknown dtype '{lay.dtype[:40]}'") from None
    if len(lay.shape) > MAX_AXES or any(n < 0 for n in lay.shape):
        raise WireError(f"array '{lay.name[:40]}' has the impossible shape {lay.shape[:MAX_AXES]}")
    if math.prod(max(n, 1) for n in lay.shape) * dtype.itemsize > MAX_BLOCK_BYTES:  # of no bytes too: NumPy minds
        raise WireError(f"array '{lay.name[:40]}' announces the shape {lay.shape} of {dtype.str}, a block has at most "
                        f"{MAX_BLOCK_BYTES} bytes")
    nbytes = math.prod(lay.shape) * dtype.itemsize
    return _Shape(lay.name, dtype, lay.shape, nbytes, at if nbytes <= INLINE_BYTES else -1)
