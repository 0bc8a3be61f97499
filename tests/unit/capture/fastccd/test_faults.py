from __future__ import annotations

import numpy as np
import pytest

from camlink.capture.fastccd.faults import Faults, malformed_datagram, script
from camlink.capture.fastccd.geometry import PRESETS, Geometry
from camlink.capture.fastccd.wire import Encoder, Layout
from camlink.errors import ParameterError, UnknownName

LAYOUT = Layout(PRESETS["window"], 4096)


def scripts(faults, seed=1, frames=200, layout=LAYOUT):
    lengths = Encoder(layout).lengths
    random = np.random.default_rng(seed)
    return [script(layout, lengths, faults, random, position) for position in range(frames)]


def test_parse():
    faults = Faults.parse(" drop-packets=0.01, burst=4,stop_after=3 ")
    assert (faults.drop_packets, faults.burst, faults.stop_after) == (0.01, 4, 3)
    assert Faults.parse("") == Faults()


def test_parse_names_what_is_wrong():
    with pytest.raises(UnknownName, match="did you mean 'drop-packets'"):
        Faults.parse("drop-packet=0.1")
    for text in ("drop-packets", "drop-packets=2", "burst=0", "burst=x"):
        with pytest.raises(ParameterError):
            Faults.parse(text)


def test_no_faults_send_everything_in_order():
    for one in scripts(Faults(), frames=3):
        np.testing.assert_array_equal(one.rows, np.arange(61))
        assert (one.counts.packets, one.counts.frames_damaged, one.counts.frames_lost) == (60, 0, 0)


def test_choices_are_fixed_by_the_seed():
    faults = Faults(drop_packets=0.05, reorder=0.1, duplicate=0.1, truncate=0.05, garbage=0.1)
    first, again, other = scripts(faults), scripts(faults), scripts(faults, seed=2)
    assert all(a.rows.tobytes() == b.rows.tobytes() and a.garbage == b.garbage
               for a, b in zip(first, again, strict=True))
    assert any(a.rows.tobytes() != b.rows.tobytes() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("layout", [LAYOUT, Layout(PRESETS["window"], 8184), Layout(Geometry(1, 1), 4096)])
def test_counts_say_what_is_in_the_script(layout):
    faults = Faults(drop_packets=0.05, burst=2, drop_frames=0.1, duplicate=0.1, truncate=0.1, missing_tail=0.3)
    full = Encoder(layout).lengths
    for one in scripts(faults, layout=layout):
        c = one.counts
        assert c.packets + c.packets_dropped + c.truncated == layout.packets
        data = one.rows < layout.packets
        short = one.lengths < full[one.rows] - 8
        assert np.count_nonzero(data & short) == c.truncated
        assert np.count_nonzero(data & ~short) == c.packets + c.duplicated
        assert c.frames_damaged + c.frames_lost == (c.packets < layout.packets)


def test_a_burst_takes_its_neighbours():
    for one in scripts(Faults(drop_packets=0.002, burst=10)):
        gaps = np.flatnonzero(~np.isin(np.arange(60), one.rows))
        if len(gaps) and gaps[0] <= 50:
            assert len(gaps) >= 10


def test_rates_are_those_asked_for():
    done = scripts(Faults(drop_packets=0.1, duplicate=0.2, drop_frames=0.25), frames=1000)
    lost = sum(one.counts.frames_lost for one in done)
    assert 200 < lost < 300
    dropped = sum(one.counts.packets_dropped for one in done if not one.counts.frames_lost)
    assert 0.09 < dropped / (60 * (1000 - lost)) < 0.11


def test_stop_after_sends_nothing_more():
    done = scripts(Faults(stop_after=4), frames=6)
    assert [len(one.rows) for one in done] == [61] * 4 + [0] * 2


def test_malformed_datagrams_have_no_known_header():
    assert malformed_datagram(np.random.default_rng(0), 50)[1] not in (0, 0xF0)
