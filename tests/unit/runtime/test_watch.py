"""What replicas tell becomes what their operator tells."""

from camlink.runtime.watch import _summed


def test_counts_are_added_measures_averaged_and_warnings_kept():
    told = [{"frames": 3, "centre": 10.0, "warnings": ["a", "b"], "state": "x", "once": 5},
            {"frames": 4, "centre": 11.0, "warnings": ["b", "c"], "state": "y"}]
    assert _summed(told) == {"frames": 7, "centre": 10.5, "warnings": ["a", "b", "c"], "state": "y", "once": 5}
