"""Transform: the passes of one size in a row, chosen while the caller is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import overload

from camlink.compute.ptychography.kernels.butterfly import odd_pass
from camlink.compute.ptychography.kernels.fourier import forward2, forward4, inverse2, inverse4
from camlink.compute.ptychography.kernels.plan import passes

MOST_PASSES = 7
INLINED = {"fastmath": True, "nogil": True, "error_model": "numpy", "forceinline": True}


def forward(w: Any, base: Any, size: Any, turn: Any) -> None:
    """The transform of the panel of `w` that begins at `base`; for compiled callers, to whom `size` is a constant."""
    for radix, span in passes(size):
        pass_of(radix, back=False)(w, base, size, span, turn)


def inverse(w: Any, base: Any, size: Any, turn: Any) -> None:
    """The mirror of `forward`; together they multiply by `size`."""
    for radix, span in reversed(passes(size)):
        pass_of(radix, back=True)(w, base, size, span, turn)


def pass_of(radix: int, *, back: bool) -> Callable[..., None]:
    """The pass (w, base, size, span, turn) of this radix."""
    even: dict[int, Callable[..., None]] = {2: inverse2, 4: inverse4} if back else {2: forward2, 4: forward4}
    return even[radix] if radix in even else odd_pass(radix, back=back)


@njit(**INLINED)  # type: ignore[untyped-decorator]
def _nothing(w: Any, base: Any, size: Any, span: Any, turn: Any) -> None:
    """The pass that is not there."""


def _row(size: int, *, back: bool) -> Callable[..., None]:
    """All passes of `size` as one function (w, base, size, turn); spans are constants in it."""
    found = [(pass_of(radix, back=back), span) for radix, span in passes(size)]
    found = found[::-1] if back else found
    (p0, s0), (p1, s1), (p2, s2), (p3, s3), (p4, s4), (p5, s5), (p6, s6) = (
        found + [(_nothing, 0)] * (MOST_PASSES - len(found)))

    def row(w: Any, base: Any, size: Any, turn: Any) -> None:
        p0(w, base, size, s0, turn)
        p1(w, base, size, s1, turn)
        p2(w, base, size, s2, turn)
        p3(w, base, size, s3, turn)
        p4(w, base, size, s4, turn)
        p5(w, base, size, s5, turn)
        p6(w, base, size, s6, turn)

    return row


@overload(forward, prefer_literal=True, jit_options=INLINED)  # type: ignore[untyped-decorator]
def _forward(w: Any, base: Any, size: Any, turn: Any) -> Callable[..., None]:
    return _row(size.literal_value, back=False)


@overload(inverse, prefer_literal=True, jit_options=INLINED)  # type: ignore[untyped-decorator]
def _inverse(w: Any, base: Any, size: Any, turn: Any) -> Callable[..., None]:
    return _row(size.literal_value, back=True)
