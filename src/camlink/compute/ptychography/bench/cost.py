"""Measure what an iteration costs that does more than plain RAAR, beside one of plain RAAR in the same run."""

from __future__ import annotations

from typing import Any, Final

from camlink.compute.ptychography.algorithm import Rule, dm
from camlink.compute.ptychography.bench.gpu import card, check_gpu, timed
from camlink.compute.ptychography.bench.problem import REAL, RULE, Case, Problem, engine_of, gap
from camlink.compute.ptychography.bench.record import TOLERANCE, clocked, counted, record
from camlink.compute.ptychography.engine import Engine
from camlink.compute.ptychography.kernels.choice import choose
from camlink.compute.ptychography.prox import DataTerm
from camlink.compute.ptychography.refine.positions import Positions

ADMM: Final = Rule(dm(), DataTerm("poisson", 2.0))
PLAIN: Final = "plain RAAR"
FRACTIONS: Final = 4


def cost(name: str, case: Case, *, rule: Rule = RULE, modes: int = 1, ordered: bool = False,
         positions: bool = False) -> dict[str, Any]:
    """An iteration of `rule` with the probe, beside one of RAAR with one mode, fast sums and positions as told.

    With `positions` they are refined every few iterations, at quarters of a pixel: the mean over the iterations from
    one refinement to the next. Raises InputError for a case of the GPU where there is none.
    """
    on_gpu, frame = case.kernel == "cuda", (case.side, case.side)
    if on_gpu:
        check_gpu(name)
    refined = Positions(start=0)
    together = refined.every if positions else 1
    options: dict[str, Any] = {"fractions": FRACTIONS, "refinements": [refined]} if positions else {}
    problem, kernel = Problem.of(case, modes=modes), choose(case.kernel, frame, modes, REAL, ordered=ordered)
    wrong = gap(problem, kernel, rule)
    engine = engine_of(problem, kernel, **options)
    plain = engine_of(Problem.of(case), choose(case.kernel, frame, 1, REAL))
    works = {name: lambda: iterate(engine, rule, together), PLAIN: lambda: iterate(plain, RULE, together)}
    spent = {who: timed(work, 20) for who, work in works.items()} if on_gpu else clocked(works)
    figure, beside = spent[name] / together, spent[PLAIN] / together
    note = f"costs {figure / beside:.2f} x plain RAAR in the same run; {counted(wrong)}"
    return record(name, figure, {PLAIN: beside}, f"{card()}: {note}" if on_gpu else note, checked=wrong < TOLERANCE)


def iterate(engine: Engine, rule: Rule, times: int) -> None:
    """So many iterations with the probe."""
    for _ in range(times):
        engine.iterate(rule, refine_probe=True)
