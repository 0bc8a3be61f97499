from camlink.compute.ptychography.bench import CASES
from camlink.display.terminal.bench import BENCHES, START


def test_every_case_of_ptychography_can_be_asked_for():
    assert set(BENCHES["ptychography"]) == {*CASES, START}
