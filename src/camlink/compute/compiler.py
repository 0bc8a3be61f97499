"""Compiler: importing this fills the tables that Numba fills before its first kernel (0.2 s), without one."""

from __future__ import annotations

from typing import Any

from numba.core import registry

target: Any = registry.cpu_target
target.typing_context.refresh()
target.target_context.refresh()
