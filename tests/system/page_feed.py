"""A made-up scan for the page: `python tests/system/page_feed.py [--seconds 40]` serves it until interrupted."""

import argparse
import sys
import threading
import time

import numpy as np

from camlink.block import CountFrames, Header, RawFrames, Result, Scan
from camlink.carry.account import Histogram
from camlink.display.live import Live
from camlink.display.web.server import PageServer
from camlink.runtime.status import STEPS, LinkStatus, OperatorStatus, RunStatus, StepStatus

SIDE, WINDOW, POINTS, DARKS = 300, 128, 20, 16
PIXEL_M, STEP_M = 24e-9, 210e-9


def phantom(side):
    y, x = np.mgrid[:side, :side] - side / 2
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    spokes = (np.sin(18 * angle) > 0) & (radius > 14) & (radius < 95)
    rings = (np.sin(radius / 3.2) > 0.2) & (radius > 104) & (radius < 138)
    soft = np.random.default_rng(4).normal(size=(side, side))
    soft = np.fft.ifft2(np.fft.fft2(soft) * np.exp(-((np.hypot(*np.meshgrid(*[np.fft.fftfreq(side)] * 2))) * 40) ** 2))
    soft = soft.real / np.abs(soft).max()
    depth = 0.9 * spokes + 0.6 * rings
    return ((1 - 0.35 * depth + 0.05 * soft) * np.exp(1j * (0.2 * soft - 1.1 * depth))).astype(np.complex64)


def probe(side):
    y, x = np.mgrid[:side, :side] - side / 2
    radius = np.hypot(y, x)
    pupil = (radius < 22) & (radius > 8)
    field = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(pupil * np.exp(0.012j * radius**2))))
    return (field / np.abs(field).max() * 900).astype(np.complex64)


class Feed:
    """Writes a whole made-up scan into a Live, in a thread of its own."""

    def __init__(self, live, seconds=20.0, verdict="complete", lost=0):
        self.live, self.seconds, self.verdict, self.lost = live, seconds, verdict, lost
        self.truth, self.probe = phantom(SIDE), probe(WINDOW)
        self.rng = np.random.default_rng(1)
        reach = (POINTS - 1) * STEP_M
        self.scan = Scan(id="2026-11-23T01-29-05-a1b2c3", expected=DARKS + POINTS**2, shape=(320, 384),
                         pixel_m=(30e-6, 30e-6), distance_m=0.08, energy_eV=800.0, span_m=(0.0, 0.0, reach, reach),
                         points=POINTS**2)
        grid = np.mgrid[:POINTS, :POINTS].reshape(2, -1).T * STEP_M
        self.places = grid + self.rng.normal(scale=0.06 * STEP_M, size=grid.shape)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, name="feed", daemon=True)

    def start(self):
        self.thread.start()
        return self

    def close(self):
        self.stopping.set()
        self.thread.join(5)

    def run(self):
        began = time.monotonic()
        self.live.put_status(self.status(0, 0.0, None))
        turn = 0
        while not self.stopping.is_set():
            elapsed = time.monotonic() - began
            done = min(int(elapsed / self.seconds * POINTS**2), POINTS**2)
            self.frames(done, turn)
            if done > 8:
                self.results(done, turn)
            is_over = done == POINTS**2
            self.live.put_status(self.status(done, elapsed, self.verdict if is_over else None))
            if is_over:
                return
            turn += 1
            self.stopping.wait(0.1)

    def header(self, source, sequence, **facts):
        return Header(scan=self.scan, made_s=time.time() - 0.02, source=source, sequence=sequence, facts=facts)

    def columns(self, k):
        return {"index": np.array([k]), "point": np.array([k]), "kind": np.array([1], np.uint8),
                "dwell_s": np.array([0.03]), "position_m": self.places[k:k + 1], "time_s": np.array([time.time()])}

    def frames(self, done, turn):
        k = min(done, POINTS**2 - 1)
        top, left = self.corner(k)
        exit_wave = self.probe * self.truth[top:top + WINDOW, left:left + WINDOW]
        counts = np.abs(np.fft.fftshift(np.fft.fft2(exit_wave, norm="ortho"))) ** 2
        counts = self.rng.poisson(counts * 1e6 / counts.sum()).astype(np.float32)
        self.live.show(CountFrames(self.header("reduce", turn), {"frames": counts[None], **self.columns(k)}))
        wide = np.zeros((320, 384))
        wide[64:320, 64:320] = np.kron(counts, np.ones((2, 2)))[:256, :256] * 8
        code = np.where(wide > 40_000, 0xC000, np.where(wide > 7000, 0x4000, 0))
        adu = wide / np.where(code == 0xC000, 8, np.where(code == 0x4000, 4, 1)) + 0x300
        noisy = np.clip(adu + self.rng.normal(scale=2.5, size=adu.shape), 0, 0x1FFF)
        raw = noisy.astype(np.uint16) | code.astype(np.uint16)
        if self.lost:
            raw[40:44, 96:192] = 0x2000
        self.live.show(RawFrames(self.header("camera", turn), {"frames": raw[None], **self.columns(k)}))

    def corner(self, k):
        return (np.rint(self.places[k] / PIXEL_M).astype(int) + 2).clip(0, SIDE - WINDOW)

    def results(self, done, turn):
        error = 0.62 * np.exp(-turn / 28) + 0.021
        coverage = np.zeros((SIDE, SIDE), np.float32)
        for k in range(done):
            top, left = self.corner(k)
            coverage[top + 32:top + 96, left + 32:left + 96] += 1
        noise = self.rng.normal(size=(2, SIDE, SIDE))
        guess = self.truth + error * (noise[0] + 1j * noise[1]) * 0.5
        guess = np.where(coverage > 0, guess, 1).astype(np.complex64)
        corner = -2 * PIXEL_M
        facts = {"iteration": 3 * turn, "fourier_error": error, "active": done, "object_pixel_y_m": PIXEL_M,
                 "object_pixel_x_m": PIXEL_M, "origin_y_m": corner, "origin_x_m": corner, "ms_per_iteration": 54.0,
                 "final": done == POINTS**2}
        self.live.show(Result(self.header("solve", turn, **facts),
                              {"object": guess, "probe": self.probe[None], "coverage": coverage}))
        grid = np.full(POINTS**2, np.nan, np.float32)
        for k in range(done):
            top, left = self.corner(k)
            grid[k] = (np.abs(self.truth[top + 54:top + 74, left + 54:left + 74]) ** 2).mean() * 1e6
        y0, x0, y1, x1 = self.scan.span_m
        self.live.show(Result(self.header("stxm", turn, y0_m=y0, x0_m=x0, y1_m=y1, x1_m=x1, points=done),
                              {"map": grid.reshape(POINTS, POINTS), "positions_m": self.places[:done]}))

    def status(self, done, elapsed, verdict):
        state = "ended" if verdict else "running"
        states = ["done"] * 3 + ["done" if verdict else "active"]
        texts = ["2 cores, 7.7 GB", "7 operators in 3 processes", "6 links connected", f"{done} of {POINTS**2} points"]
        counts = [(7, 7)] * 3 + [(done, POINTS**2)]
        steps = tuple(StepStatus(title=title, state=s, done=count[0], total=count[1], text=t)
                      for title, s, t, count in zip(STEPS, states, texts, counts, strict=True))
        sent = DARKS + done
        facts = [("twin", "twin", "source", {"frames_sent": sent}),
                 ("camera", "fastccd", "source", {"frames_captured": sent, "frames_lost": self.lost, "port": 49152}),
                 ("reduce", "ptychography.reduce", "transform", {"dark_frames": DARKS, "centre_px": "130.9, 189.2",
                  "photons_mean": 1.02e6, "warnings": ["3 frames with missing samples"] if self.lost else []}),
                 ("stxm", "stxm", "transform", {"points": done}),
                 ("solve", "ptychography.solve", "solver", {"fourier_error": 0.0312, "ms_per_iteration": 54.1,
                  "kernel": "compiled"}),
                 ("record", "cxi", "sink", {"frames_written": done}), ("look", "view", "view", {})]
        ways = [("twin", "camera", 1), ("camera", "reduce", sent), ("reduce", "stxm", done), ("reduce", "solve", done),
                ("reduce", "record", done), ("solve", "record", done // 8), ("solve", "look", done // 8),
                ("stxm", "look", done // 4)]
        links = []
        for source, target, count in ways:
            flying = 0 if verdict else min(2, count)
            lost = self.lost if source == "camera" else 0
            links.append(LinkStatus(
                name=f"{source}-{target}", source=source, target=target, kind="memory",
                policy="latest" if target == "look" else "block",
                sent=count, received=count, acknowledged=max(0, count - flying - lost),
                in_flight=flying,
                age_histogram=Histogram((2.048, 4.096, 8.192), (count // 8, count, count // 20)),
                lost={"packets lost": lost} if lost else {},
                dropped={"latest": 3} if target == "look" and count > 20 else {},
                bytes=count * 245_760, frames_per_s=0.0 if verdict else 25.3, bytes_per_s=0.0 if verdict else 6.2e6,
                age_ms={"p50": 0.8, "p99": 3.1, "max": 9.0}, limit_bytes=1 << 26))
        return RunStatus(version=done + 1, workflow="ptychography", scan=self.scan.id, elapsed_s=elapsed, steps=steps,
                         operators=tuple(OperatorStatus(name=n, use=u, kind=k, site="here", state=state, facts=f)
                                         for n, u, k, f in facts),
                         links=tuple(links), verdict=verdict,
                         reasons=("3 frames lost: packets lost",) if verdict == "degraded" else (),
                         frames={"expected": DARKS + POINTS**2, "captured": sent, "delivered": done})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    live = Live()
    feed = Feed(live, arguments.seconds)
    with PageServer(live, port=arguments.port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        feed.start()
        try:
            feed.stopping.wait()
        except KeyboardInterrupt:
            feed.close()


if __name__ == "__main__":
    main()
