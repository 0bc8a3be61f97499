"""ReportPage: a contest as one HTML file with everything in it: the table, the curves and the pictures side by side."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from math import pi
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from camlink.compute.ptychography.evaluate.contest import Outcome, Standing
from camlink.compute.ptychography.metric import aligned
from camlink.display.chart import Axes, Line, chart, colour
from camlink.display.image import Lens, picture
from camlink.display.png import png

Array = NDArray[Any]
COLUMNS: Final = ("contestant", "iterations", "time [s]", "iteration [ms]", "to target [s]", "error", "phase [rad]",
                  "Fourier error", "half bit", "half period [nm]", "memory [MiB]", "on the GPU [MiB]")
WIDEST_PHASE_RAD: Final = 5.0
"""Phases that spread further than this wrap round, so they get a colour map that does so too."""
STYLE: Final = """
:root { --ground: #0b0e12; --panel: #12171d; --line: #27313b; --soft: #91a0ad; --text: #d5dde4; --strong: #eef2f5;
  --accent: #52b6c8; --warn: #e3b25a; --bad: #f0776c; color-scheme: dark; }
body { margin: 0 auto; padding: 18px; max-width: 1240px; background: var(--ground); color: var(--text);
  font: 14px/1.4 system-ui, "Segoe UI", Roboto, sans-serif; font-variant-numeric: tabular-nums; }
h1 { margin: 0; font-size: 20px; color: var(--accent); }
h2 { margin: 22px 0 8px; font-size: 15px; color: var(--strong); }
p { margin: 2px 0; color: var(--soft); } .wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: 5px 8px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; color: var(--strong); }
td.best { color: var(--accent); font-weight: 650; }
td.why { text-align: left; color: var(--warn); white-space: normal; }
.charts, .pictures { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); }
figure { margin: 0; padding: 10px; background: var(--panel); border-radius: 6px; }
figcaption { color: var(--soft); margin-bottom: 6px; } figcaption b { color: var(--strong); }
.pair { display: flex; gap: 6px; } .pair img { width: 50%; image-rendering: pixelated; border-radius: 3px; }
svg { width: 100%; } svg text { fill: var(--soft); font-size: 11px; } svg .grid { stroke: var(--line); }
svg .mark { stroke: var(--warn); stroke-dasharray: 2 4; } svg polyline { fill: none; stroke-width: 1.8; }
i { display: inline-block; width: 14px; height: 3px; margin: 0 5px 3px 0; }
"""


def report_page(title: str, facts: Sequence[str], standings: Sequence[Standing], target: float,
                truth: Array | None) -> str:
    """The HTML of a contest; `truth` (y, x) complex between the frame centres stands first where it is known."""
    outcomes = [standing.outcome for standing in standings]
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(fact)}</p>" for fact in facts),
             "<h2>Figures</h2>", _table(outcomes), "<h2>Curves</h2>", _charts(outcomes, target),
             "<h2>Pictures: amplitude and phase</h2>", _pictures(standings, truth)]
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style></head>'
            f'<body>{"".join(parts)}</body></html>\n')


def figures_of(outcome: Outcome) -> tuple[float | None, ...]:
    """The numbers of one row of the table, in the order of COLUMNS after the name."""
    memory, on_gpu = (size / 2**20 if size else None for size in (outcome.memory_bytes, outcome.gpu_bytes))
    return (outcome.iterations, outcome.seconds, outcome.ms_per_iteration, outcome.seconds_to_target, outcome.nrms,
            outcome.phase_rms_rad, outcome.fourier_error, outcome.half_bit, outcome.half_period_nm, memory, on_gpu)


def shown(value: float | None, digits: int = 4) -> str:
    """A number in at most that many digits, or a dash."""
    return "–" if value is None else str(value) if isinstance(value, int) else f"{value:.{digits}g}"


def best_of(outcomes: Sequence[Outcome]) -> tuple[float | None, ...]:
    """The best number of each column over those that ran with a finite result; None where none is better."""
    rows = [figures_of(outcome) for outcome in outcomes if outcome.status == "ran" and not outcome.text]
    best: list[float | None] = []
    for name, values in zip(COLUMNS[1:], zip(*rows, strict=True) if rows else [()] * (len(COLUMNS) - 1), strict=True):
        known = [value for value in values if value is not None]
        if name == "iterations" or len(set(known)) < 2:
            best.append(None)
        else:
            best.append(max(known) if name.startswith("half bit") else min(known))
    return tuple(best)


def kept_columns(outcomes: Sequence[Outcome]) -> list[int]:
    """The columns after the name in which somebody has a number."""
    rows = [figures_of(outcome) for outcome in outcomes if outcome.status == "ran"]
    return [k for k in range(len(COLUMNS) - 1) if any(row[k] is not None for row in rows)]


def _table(outcomes: Sequence[Outcome]) -> str:
    best, kept = best_of(outcomes), kept_columns(outcomes)
    rows = []
    for number, outcome in enumerate(outcomes):
        name = f'<td><i style="background:{colour(number)[0]}"></i>{escape(outcome.name)}</td>'
        if outcome.status != "ran":
            why = escape(f"{outcome.status}: {outcome.text}")
            rows.append(f'<tr>{name}<td class="why" colspan="{len(kept)}">{why}</td></tr>')
            continue
        cells = "".join(f'<td{" class=best" if value is not None and value == top else ""}>{shown(value)}</td>'
                        for value, top in ((figures_of(outcome)[k], best[k]) for k in kept))
        rows.append(f"<tr>{name}{cells}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in (COLUMNS[0], *(COLUMNS[k + 1] for k in kept)))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _charts(outcomes: Sequence[Outcome], target: float) -> str:
    with_truth = any(sample.nrms is not None for outcome in outcomes for sample in outcome.curve)
    error = [(o.name, [(s.seconds, s.iteration, s.nrms if with_truth else s.fourier_error) for s in o.curve])
             for o in outcomes]
    name = "error against the truth" if with_truth else "Fourier error"
    drawn = [chart(_lines(error, 0), Axes("time of the contestant [s]", name), target),
             chart(_lines(error, 1), Axes("iteration", name), target)]
    if with_truth:
        fourier = [(o.name, [(s.seconds, s.iteration, s.fourier_error) for s in o.curve]) for o in outcomes]
        drawn.append(chart(_lines(fourier, 1), Axes("iteration", "Fourier error")))
    # the innermost ring is the mean, which was taken off
    rings = [Line(o.name, tuple((k / len(o.correlation), value) for k, value in enumerate(o.correlation) if k))
             for o in outcomes]
    drawn.append(chart(rings, Axes("spatial frequency [Nyquist]", "ring correlation", log=False)))
    return f'<div class="charts">{"".join(f"<figure>{svg}</figure>" for svg in drawn if svg)}</div>'


def _lines(curves: Sequence[tuple[str, list[tuple[float, int, float | None]]]], axis: int) -> list[Line]:
    return [Line(name, tuple((float((seconds, iteration)[axis]), error) for seconds, iteration, error in rows
                             if error is not None)) for name, rows in curves]


def _pictures(standings: Sequence[Standing], truth: Array | None) -> str:
    shown_ones = [("truth", truth)] if truth is not None else []
    shown_ones += [(standing.outcome.name, standing.picture) for standing in standings
                   if standing.picture is not None and np.isfinite(standing.picture).all()]
    if not shown_ones:
        return "<p>none: no finite result covers the box of the frame centres</p>"
    reference = shown_ones[0][1]
    assert reference is not None
    factor = _real(reference)
    bright = _ends(np.abs(reference))
    turn = _ends(np.angle(reference * factor))
    cyclic = turn[1] - turn[0] > WIDEST_PHASE_RAD
    phase, colours = (Lens(low=-pi, high=pi), "twilight") if cyclic else (Lens(low=turn[0], high=turn[1]), "viridis")
    figures = []
    for name, found in shown_ones:
        assert found is not None
        turned = found if found is reference else aligned(found, reference)
        images = (_image(np.abs(turned), Lens(low=bright[0], high=bright[1]), "gray"),
                  _image(np.angle(turned * factor), phase, colours))
        figures.append(f"<figure><figcaption><b>{escape(name)}</b></figcaption>"
                       f'<div class="pair">{"".join(images)}</div></figure>')
    return f'<div class="pictures">{"".join(figures)}</div>'


def _ends(values: Array) -> tuple[float, float]:
    """Low and high end of the colours for these values; they are never equal."""
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    return low, max(high, low + 1e-6)


def _real(reference: Array) -> complex:
    """The factor that makes the mean of the reference real, so that its phases lie about 0."""
    mean = complex(reference.mean())
    return mean.conjugate() / abs(mean) if abs(mean) > 0 else 1.0 + 0.0j


def _image(plane: Array, lens: Lens, colours: str) -> str:
    data = b64encode(png(picture(plane, lens), colours)).decode("ascii")
    return f'<img alt="" src="data:image/png;base64,{data}">'
