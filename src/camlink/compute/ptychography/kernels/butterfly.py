"""Butterfly: passes of the odd radices, written as vector instructions over the lanes of a panel.

A vectorizer gives up on 26 streams that may overlap, so here the instructions are laid down one by one: every leg is
loaded before the first one is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from camlink.compute.ptychography.kernels.fourier import rows
from camlink.compute.ptychography.kernels.plan import LANES

Complex = tuple[Any, Any]
FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
BYTES = 4


class _Writer:
    """Puts down vector arithmetic on pairs (real, imaginary) of LANES floats."""

    def __init__(self, builder: Any, panel: Any, table: Any) -> None:
        self._builder = builder
        self._panel = panel
        self._table = table

    def constant(self, value: float) -> Any:
        """The same number in every lane."""
        return ir.Constant(VECTOR, [float(np.float32(value))] * LANES)

    def plus(self, a: Any, b: Any) -> Any:
        """Sum of two vectors."""
        return self._builder.fadd(a, b, flags=("fast",))

    def minus(self, a: Any, b: Any) -> Any:
        """Difference of two vectors."""
        return self._builder.fsub(a, b, flags=("fast",))

    def times(self, a: Any, b: Any) -> Any:
        """Product of two vectors."""
        return self._builder.fmul(a, b, flags=("fast",))

    def dot(self, start: Any, factors: list[float], vectors: list[Any]) -> Any:
        """Sum of factor times vector, added to `start` when there is one."""
        for factor, vector in zip(factors, vectors, strict=True):
            product = self.times(self.constant(factor), vector)
            start = product if start is None else self.plus(start, product)
        return start

    def place(self, index: Any) -> Any:
        """Where the LANES floats from `index` of the panel are."""
        return self._builder.bitcast(self._builder.gep(self._panel, [index]), VECTOR.as_pointer())

    def load(self, index: Any, plane: Any) -> Complex:
        """The row at `index` of both planes."""
        other = self._builder.add(index, plane)
        return (self._builder.load(self.place(index), align=BYTES), self._builder.load(self.place(other), align=BYTES))

    def store(self, value: Complex, index: Any, plane: Any) -> None:
        """Put the row at `index` of both planes."""
        other = self._builder.add(index, plane)
        self._builder.store(value[0], self.place(index), align=BYTES)
        self._builder.store(value[1], self.place(other), align=BYTES)

    def everywhere(self, index: Any) -> Any:
        """The number of the table at `index`, in every lane."""
        number = self._builder.load(self._builder.gep(self._table, [index]), align=BYTES)
        none = ir.Constant(VECTOR, ir.Undefined)
        zero = ir.Constant(ir.IntType(32), 0)
        first = self._builder.insert_element(none, number, zero)
        return self._builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))

    def turned(self, value: Complex, index: Any, size: Any, *, back: bool) -> Complex:
        """`value` times the twiddle at `index`, or times its conjugate."""
        c, s = self.everywhere(index), self.everywhere(self._builder.add(index, size))
        (r, i), plus, minus = value, self.plus, self.minus
        rs, js = self.times(r, s), self.times(i, s)
        if back:
            return plus(self.times(r, c), js), minus(self.times(i, c), rs)
        return minus(self.times(r, c), js), plus(self.times(i, c), rs)


def transformed(writer: _Writer, legs: list[Complex], *, back: bool) -> list[Complex]:
    """The discrete Fourier transform of an odd number of legs, by sums and differences of mirrored legs."""
    radix = len(legs)
    half = range(1, radix // 2 + 1)
    sums = [[writer.plus(legs[k][part], legs[radix - k][part]) for k in half] for part in range(2)]
    gaps = [[writer.minus(legs[k][part], legs[radix - k][part]) for k in half] for part in range(2)]
    found = list(legs)
    found[0] = (writer.dot(legs[0][0], [1.0] * len(half), sums[0]), writer.dot(legs[0][1], [1.0] * len(half), sums[1]))
    for q in half:
        angles = [2 * np.pi * (q * k % radix) / radix for k in half]
        cosines, sines = [float(np.cos(a)) for a in angles], [float(np.sin(a)) for a in angles]
        even = [writer.dot(legs[0][part], cosines, sums[part]) for part in range(2)]
        odd = [writer.dot(None, sines, gaps[part]) for part in range(2)]
        clockwise = (writer.plus(even[0], odd[1]), writer.minus(even[1], odd[0]))
        counter = (writer.minus(even[0], odd[1]), writer.plus(even[1], odd[0]))
        found[q], found[radix - q] = (counter, clockwise) if back else (clockwise, counter)
    return found


def butterfly(radix: int, *, back: bool) -> Any:
    """The butterfly of an odd radix as an intrinsic (w, turn, first, leg, plane, twist, size).

    Takes the rows at first + k leg of both planes; forward it turns row k by the twiddle at k twist afterwards, back
    it turns it the other way before.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def legs_of(typing: Any, w: Any, turn: Any, first: Any, leg: Any, plane: Any, twist: Any, size: Any) -> Any:
        def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            panel, table = (context.make_array(kind)(context, builder, value).data
                            for kind, value in zip(signature.args[:2], args[:2], strict=True))
            start, step, other, turns, length = args[2:]
            writer = _Writer(builder, panel, table)
            number = [ir.Constant(start.type, k) for k in range(radix)]
            index = [builder.add(start, builder.mul(step, k)) for k in number]
            legs = [writer.load(i, other) for i in index]
            twists = [builder.mul(turns, k) for k in number]
            if back:
                legs[1:] = [writer.turned(x, t, length, back=True) for x, t in zip(legs[1:], twists[1:], strict=True)]
            legs = transformed(writer, legs, back=back)
            if not back:
                legs[1:] = [writer.turned(x, t, length, back=False) for x, t in zip(legs[1:], twists[1:], strict=True)]
            for value, i in zip(legs, index, strict=True):
                writer.store(value, i, other)
            return context.get_dummy_value()

        return types.void(w, turn, *[types.intp] * 5), write

    return legs_of


@lru_cache(maxsize=16)
def odd_pass(radix: int, *, back: bool) -> Callable[..., None]:
    """One pass of an odd radix (w, base, size, span, turn) over the panel that begins at `base`.

    Forward by decimation in frequency, back by decimation in time; together they multiply by the radix.
    """
    legs = butterfly(radix, back=back)

    @njit(fastmath=True, nogil=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
    def one_pass(w: Any, base: Any, size: Any, span: Any, turn: Any) -> None:
        stride = size // (radix * span)
        for n in range(turn.shape[1] // radix):
            j = n % span
            row = n // span * radix * span + j
            legs(w, turn, base + row * LANES, span * LANES, rows(size) * LANES, j * stride, size)

    return one_pass  # type: ignore[no-any-return]
