import socket
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from camlink.beamline.twin import operator
from camlink.beamline.twin.experiment import Experiment
from camlink.beamline.twin.operator import describe, twin
from camlink.beamline.twin.parameters import TwinParameters
from camlink.beamline.twin.truth import read_truth
from camlink.block import Plan
from camlink.capture import moment
from camlink.errors import InputError, ParameterError, SourceSilent
from camlink.workflow.operator import Kind
from camlink.workflow.parameter import build

SCAN = TwinParameters(points_y=3, points_x=2, dark_frames=2, rate_hz=100.0)


class Ear:
    """A context that remembers what it was told, and stops when it is asked to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.facts, self.stop, self.looks, self.paused = folder, {}, False, 0, False
        self.name, self.provenance, self.screen = "twin", {}, None

    def stopping(self) -> bool:
        self.looks += 1
        return self.stop

    def held(self) -> bool:
        return self.paused

    def tell(self, **facts) -> None:
        self.facts.update(facts)


class Receiver:
    """Registers at a detector and counts the datagrams of every frame number until told to stop."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("udp://").split(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.05)
        self.socket.sendto(b"here", (host, int(port)))
        self.packets = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                data = self.socket.recv(9000)
            except TimeoutError:
                if self._done.is_set():
                    return
                continue
            number = int.from_bytes(data[6:8], "big")
            self.packets[number] = self.packets.get(number, 0) + (len(data) > 60)

    def close(self) -> None:
        self._done.set()
        self._thread.join(5)
        self.socket.close()


def run(parameters, context):
    """Everything that the operator gives, with a receiver that registers on the plan; and that receiver."""
    blocks, receiver = [], None
    for block in twin.make(parameters, context)():
        blocks.append(block)
        receiver = Receiver(block.address)
    receiver.close()
    return blocks, receiver


def test_description_is_a_source_of_plans():
    assert twin.kind is Kind.SOURCE
    assert twin.inputs == ()
    assert [port.block for port in twin.outputs] == [Plan]
    assert twin.parameters is TwinParameters


def test_sends_every_frame_and_keeps_the_truth(tmp_path):
    context = Ear(tmp_path)
    (plan,), receiver = run(SCAN, context)
    assert sorted(receiver.packets) == list(range(8)) == plan.arrays["index"].tolist()
    assert context.facts["frames_sent"] == context.facts["frames_planned"] == 8
    truth = read_truth(tmp_path / "truth.h5")
    assert truth.scan_id == plan.scan.id
    np.testing.assert_array_equal(truth.positions_m, plan.arrays["position_m"][2:])
    assert truth.sent == context.facts["sent"]
    assert truth.sent["frames"] == 8
    assert truth.sent["packets_dropped"] == 0


def test_frames_go_when_they_are_due_and_late_ones_at_once(tmp_path, monkeypatch):
    now, sent = [100.0], []

    def sleep(seconds):
        now[0] += seconds

    def send(number, image):
        sent.append((number, now[0] - 100.01))
        now[0] += 0.035 if number == 3 else 0.001  # frame 3 is slow: 4 and 5 cannot go in time

    for module in (operator, moment):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    context = Ear(tmp_path)
    operator._send_all(Experiment(SCAN), types.SimpleNamespace(send=send), context)
    assert [number for number, _ in sent] == list(range(8))
    assert [s for _, s in sent] == pytest.approx([0, 0.01, 0.02, 0.03, 0.065, 0.066, 0.067, 0.07], abs=1e-6)
    assert context.facts["lag_ms"] == 0
    assert context.facts["frames_sent"] == 8


def test_a_pause_holds_the_scan_between_two_points_and_all_that_follows_comes_later(tmp_path, monkeypatch):
    scan = TwinParameters(points_y=2, points_x=2, dark_frames=2, rate_hz=100.0, double_exposure=True)
    now, sent, context = [100.0], [], Ear(tmp_path)

    def sleep(seconds):
        now[0] += seconds
        context.paused = context.paused and now[0] < 101

    def send(number, image):
        sent.append((number, now[0] - 100.01))
        context.paused = context.paused or number == 4  # the first exposure of a point

    for module in (operator, moment):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    experiment = Experiment(scan)
    operator._send_all(experiment, types.SimpleNamespace(send=send), context)
    assert [number for number, _ in sent] == list(range(12))
    assert experiment.columns["point"][4:8].tolist() == [0, 0, 1, 1]
    times_s = [s for _, s in sent]
    assert times_s[:6] == pytest.approx([0.01 * k for k in range(6)])
    assert times_s[6] >= 0.99
    assert np.diff(times_s[6:]) == pytest.approx(0.01)


def test_faults_are_counted_in_the_truth(tmp_path):
    context = Ear(tmp_path)
    _, receiver = run(TwinParameters(points_y=3, points_x=2, dark_frames=2, rate_hz=200.0, faults="drop-packets=0.05"),
                      context)
    sent = read_truth(tmp_path / "truth.h5").sent
    assert sent["packets_dropped"] > 0
    assert sent["frames_damaged"] > 0
    # a busy machine may drop datagrams too, but none can come that was not sent
    assert 0 < sum(receiver.packets.values()) <= sent["packets"]


def test_truth_is_there_before_the_first_frame(tmp_path):
    blocks = twin.make(SCAN, Ear(tmp_path))()
    next(blocks)
    assert read_truth(tmp_path / "truth.h5").sent == {}
    blocks.close()


def test_no_receiver_ends_in_a_sentence(tmp_path):
    blocks = twin.make(TwinParameters(points_y=1, points_x=2, receiver_wait_s=0.01), Ear(tmp_path))()
    plan = next(blocks)
    with pytest.raises(SourceSilent, match="no receiver registered") as caught:
        next(blocks)
    assert plan.address in str(caught.value)


def test_asked_to_stop_while_waiting_and_while_sending(tmp_path):
    context = Ear(tmp_path)
    blocks = twin.make(SCAN, context)()
    next(blocks)
    context.stop = True
    assert list(blocks) == []
    context = Ear(tmp_path)
    blocks = twin.make(TwinParameters(points_y=2, points_x=2, rate_hz=0.01), context)()
    receiver = Receiver(next(blocks).address)
    timer = threading.Timer(0.2, lambda: setattr(context, "stop", True))
    timer.start()
    assert list(blocks) == []
    timer.join()
    receiver.close()
    assert context.facts["sent"]["frames"] == 0


def test_unknown_fault_and_bad_parameter_are_refused(tmp_path):
    with pytest.raises(InputError, match="drop-packets"):
        next(twin.make(TwinParameters(faults="drop-packet=0.1"), Ear(tmp_path))())
    with pytest.raises(ParameterError, match="phantom"):
        build(TwinParameters, {"phantom": "cat"}, "twin")


def test_describe_counts_frames_and_seconds():
    text = describe(TwinParameters(points_y=20, points_x=20, dark_frames=12, rate_hz=25.0))
    for part in ("20 x 20 points", "412 frames of 320 x 384", "16.5 s", "6.1 MB/s", "16.1 nm", "128 pixels"):
        assert part in text
    assert "spiral of 400" in describe(TwinParameters(pattern="spiral"))
    assert "long and a short" in describe(TwinParameters(double_exposure=True))
    assert "drop-packets=0.1" in describe(TwinParameters(faults="drop-packets=0.1"))
