"""Envelope: a block as message parts and back; the arrays travel as they lie in memory, nothing is copied.

Part 0 is a msgpack head {version, type, header, layout}; one part follows for each array of the layout, C order.
A decoder trusts nothing: types, sizes and shapes are bounded and compared before an array is made of a part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from camlink.block import Block, Header
from camlink.errors import CamlinkError, WireError

VERSION: Final = 1
MAX_HEAD_BYTES: Final = 1 << 20
MAX_ARRAYS: Final = 64
MAX_AXES: Final = 8
MAX_BLOCK_BYTES: Final = 4 << 30
_KINDS: Final = frozenset("biufc")


class Layout(msgspec.Struct, frozen=True, array_like=True):
    """Name, dtype (NumPy string such as '<u2') and shape of one array."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Part 0 of a block on the wire."""

    version: int
    type: str
    header: Header
    layout: tuple[Layout, ...]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Head)


def encode(block: Block) -> list[Any]:
    """Message parts of a block: the head as bytes, then each array (contiguous) as a buffer."""
    arrays = [np.ascontiguousarray(a) for a in block.arrays.values()]
    layout = tuple(Layout(n, a.dtype.str, a.shape) for n, a in zip(block.arrays, arrays, strict=True))
    head = _ENCODER.encode(Head(VERSION, type(block).__name__, block.header, layout))
    return [head, *arrays]


def decode(parts: Sequence[Any]) -> Block:
    """The block in `parts` (buffers); its arrays are read-only views of them.

    Raises WireError on anything that is not a block of this version.
    """
    if not parts or len(parts) > MAX_ARRAYS + 1:
        raise WireError(f"a block has 1 to {MAX_ARRAYS} arrays, got a message of {len(parts)} parts")
    head = _head(parts[0])
    if len(head.layout) != len(parts) - 1:
        raise WireError(f"the head announces {len(head.layout)} arrays, the message carries {len(parts) - 1}")
    kind = Block.names.get(head.type)
    if kind is None:
        raise WireError(f"unknown block type '{head.type[:40]}' (known: {', '.join(sorted(Block.names))})")
    arrays = {lay.name: _array(lay, part) for lay, part in zip(head.layout, parts[1:], strict=True)}
    try:
        return kind.checked(head.header, arrays)
    except CamlinkError as error:
        raise WireError(str(error)) from None


def _head(part: Any) -> Head:
    size = memoryview(part).nbytes
    if size > MAX_HEAD_BYTES:
        raise WireError(f"the head of a block is at most {MAX_HEAD_BYTES} bytes, got {size}")
    try:
        head = _DECODER.decode(part)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"the head of a block does not parse: {error}") from None
    if head.version != VERSION:
        raise WireError(f"block version {head.version} is not {VERSION}; use the same camlink at both ends")
    return head


def _array(lay: Layout, part: Any) -> np.ndarray[Any, Any]:
    try:
        dtype = np.dtype(lay.dtype)
    except (TypeError, ValueError):
        raise WireError(f"array '{lay.name[:40]}' has the unknown dtype '{lay.dtype[:40]}'") from None
    if dtype.kind not in _KINDS or dtype.itemsize > 16:
        raise WireError(f"array '{lay.name[:40]}': dtype '{lay.dtype[:40]}' does not travel")
    if len(lay.shape) > MAX_AXES or any(n < 0 for n in lay.shape):
        raise WireError(f"array '{lay.name[:40]}' has the impossible shape {lay.shape[:MAX_AXES]}")
    announced = math.prod(lay.shape) * dtype.itemsize
    view = memoryview(part)
    if announced != view.nbytes or announced > MAX_BLOCK_BYTES:
        raise WireError(f"array '{lay.name[:40]}' announces {announced} bytes and carries {view.nbytes}")
    array = np.frombuffer(view, dtype).reshape(lay.shape) if announced else np.empty(lay.shape, dtype)
    array.flags.writeable = False
    return array
