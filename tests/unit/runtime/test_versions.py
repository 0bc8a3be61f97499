from __future__ import annotations

from camlink.runtime.versions import differences, needed, versions


def test_what_is_needed_is_known_with_its_versions() -> None:
    assert needed()[0] == "camlink"
    assert {"numpy", "pyzmq", "pyyaml"} <= {name.lower() for name in needed()}
    assert "asyncssh" not in needed()
    assert set(versions()) == {"python", *needed()}


def test_what_differs_is_said_and_patches_of_python_are_not() -> None:
    here = {"python": "3.11.7", "numpy": "2.1.0", "camlink": "1.0"}
    assert differences({**here, "python": "3.11.2"}, here) == []
    assert differences({"python": "3.12.1", "numpy": "1.26.0", "zarr": "3"}, here) == [
        "camlink is missing there and 1.0 here", "numpy is 1.26.0 there and 2.1.0 here",
        "python is 3.12.1 there and 3.11.7 here", "zarr is 3 there and missing here"]
