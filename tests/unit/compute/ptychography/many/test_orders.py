"""Orders: what is written is read again; other bytes are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camlink.compute.ptychography.algorithm import Rule, raar
from camlink.compute.ptychography.geometry import Geometry
from camlink.compute.ptychography.many.orders import Begin, Iterate, Letter, Put, read_letter, read_reply, write_letter
from camlink.compute.ptychography.many.tiles import Tiles
from camlink.compute.ptychography.parameters import SolveParameters
from camlink.compute.ptychography.prox import DataTerm
from camlink.errors import WireError

TILES = Tiles.even(5, (300, 200), (16, 16), 4)
BEGIN = Begin(TILES, Geometry((16, 16), (300, 200), (1e-9, 2e-9), (0.0, 1.0), 8), "compiled", "float32", 1e5, 30, 2, 1,
              SolveParameters(modes=2), b"key")


@pytest.mark.parametrize("order", [BEGIN, Put(), Iterate(Rule(raar(0.9), DataTerm("poisson", 2.0)), True)])
def test_letters_come_back(order):
    arrays = [np.zeros((3, 4), np.complex64), np.zeros(0, bool), np.zeros((2, 1), np.int64)]
    letter = read_letter(write_letter(Letter.of(order, arrays)))
    assert letter.order == order
    assert [(kind.like.dtype, kind.like.shape, kind.like.nbytes) for kind in letter.kinds] == [
        (array.dtype, array.shape, array.nbytes) for array in arrays]


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data):
    for read in (read_letter, read_reply):
        with pytest.raises(WireError, match="same installation"):
            read(b"\xc1" + data)
        try:
            read(data)
        except WireError:
            continue
