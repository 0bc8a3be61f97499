"""Bench: the figures of `camlink bench ptychography`, measured and checked."""

from camlink.compute.ptychography.bench.cases import CASES, measure
from camlink.compute.ptychography.bench.problem import Case, Problem, engine_of

__all__ = ["CASES", "Case", "Problem", "engine_of", "measure"]
