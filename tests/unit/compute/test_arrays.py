import sys
import types

import numpy as np

from camlink.compute.arrays import namespace, on_device, to_host


class FakeDeviceArray:
    def get(self):
        return np.arange(3)


FakeDeviceArray.__module__ = "cupy._core.core"


def test_numpy_arrays_work_with_numpy_without_importing_cupy():
    assert namespace(np.zeros(2), 3.0) is np
    assert not on_device(np.zeros(2))


def test_one_device_array_makes_the_namespace_cupy(monkeypatch):
    cupy = types.ModuleType("cupy")
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert namespace(np.zeros(2), FakeDeviceArray()) is cupy


def test_to_host_fetches_a_device_array_and_does_not_copy_a_host_one():
    here = np.arange(4)
    assert to_host(here) is here
    np.testing.assert_array_equal(to_host(FakeDeviceArray()), [0, 1, 2])
