from __future__ import annotations

import json
import subprocess
import sys

import camlink

HEAVY = ("numpy", "zmq", "dask", "cupy", "numba", "scipy", "h5py", "starlette", "msgspec")


def test_importing_camlink_loads_nothing_heavy() -> None:
    code = f"import camlink, sys, json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    assert json.loads(subprocess.check_output([sys.executable, "-c", code])) == []


def test_every_public_name_is_there_and_there_are_few() -> None:
    assert all(getattr(camlink, name) is not None for name in camlink.__all__)
    assert len(camlink.__all__) <= 25


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(camlink, "nothing")
