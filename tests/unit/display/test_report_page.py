from __future__ import annotations

import re
import zlib
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np

from camlink.compute.ptychography.evaluate.contest import Outcome, Sample, Standing
from camlink.display.png import SIGNATURE
from camlink.display.report_page import best_of, figures_of, report_page, shown

RNG = np.random.default_rng(0)
TRUTH = ((1 - RNG.random((40, 44)) / 2) * np.exp(1j * RNG.random((40, 44)))).astype(np.complex64)


def outcome(name, **facts):
    curve = tuple(Sample(iteration=k, seconds=0.1 * k, fourier_error=0.5 / k, nrms=0.4 / k) for k in (1, 2, 3))
    return Outcome(name=name, **{"iterations": 3, "seconds": 0.3, "nrms": 0.1, "curve": curve,
                                 "correlation": (1.0, 0.9, 0.2)} | facts)


STANDINGS = [
    Standing(outcome("<b>one</b>"), TRUTH * 1j),
    Standing(outcome("two", nrms=0.2, half_bit=0.5, half_period_nm=10.0), TRUTH + np.float32(0.1)),
    Standing(outcome("broken", text="the result is not finite", nrms=None), TRUTH * np.nan),
    Standing(Outcome(name="peer", status="not installed", text="install it & try"))]


def test_the_page_needs_nothing_else():
    page = report_page("a contest", ["a fact"], STANDINGS, 0.05, TRUTH)
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|<script", page)
    HTMLParser().feed(page)
    images = [b64decode(text) for text in re.findall(r"base64,([^\"]+)", page)]
    assert len(images) == 6  # truth and two finite results, amplitude and phase each
    assert all(image.startswith(SIGNATURE) for image in images)
    assert page.count("<svg") == 4


def test_what_is_said_is_escaped_and_a_missing_peer_has_its_row():
    page = report_page("<script>alert(1)</script>", [], STANDINGS, 0.05, None)
    assert "<script" not in page
    assert "&lt;b&gt;one&lt;/b&gt;" in page
    assert "not installed: install it &amp; try" in page


def test_equal_pictures_but_for_phase_look_equal():
    page = report_page("a contest", [], STANDINGS[:1], 0.05, TRUTH)
    levels = [np.frombuffer(zlib.decompress(image[image.index(b"IDAT") + 4:-16]), np.uint8).astype(int)
              for image in (b64decode(text) for text in re.findall(r"base64,([^\"]+)", page))]
    assert np.abs(levels[0] - levels[2]).mean() < 1
    assert np.abs(levels[1] - levels[3]).mean() < 1
    assert np.abs(levels[0] - levels[1]).mean() > 10


def test_a_page_without_any_result_stands():
    assert "none: no finite result" in report_page("t", [], STANDINGS[2:], 0.05, None)


def test_the_best_of_each_column():
    best = best_of([standing.outcome for standing in STANDINGS])
    assert best[0] is None
    assert best[4] == 0.1
    assert best_of([]) == (None,) * 11
    assert shown(None) == "–"
    assert shown(12) == "12"
    assert shown(0.123456, 3) == "0.123"
    assert len(figures_of(STANDINGS[0].outcome)) == 11
