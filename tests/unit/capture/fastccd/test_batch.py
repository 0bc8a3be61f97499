from __future__ import annotations

import socket

import numpy as np
import pytest

from camlink.capture.fastccd.batch import ReceiveBatch, SendBatch, sender_key, sender_text


@pytest.fixture
def pair():
    with (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as a, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as b):
        for one in (a, b):
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
        yield a, b


def test_a_sender_key_is_an_address():
    assert sender_text(sender_key("10.0.5.207", 49203)) == "10.0.5.207:49203"


def test_datagrams_arrive_with_length_and_sender(pair):
    source, target = pair
    data = np.random.default_rng(0).integers(0, 256, (10, 300), dtype=np.uint8)
    rows, lengths = np.array([3, 1, 9, 9]), np.array([300, 5, 8, 200])
    send, receive = SendBatch(data), ReceiveBatch(6, 250)
    assert receive.receive(target) == 0
    send.load(rows, lengths, target.getsockname())
    start = 0
    while start < 4:
        start += send.send(source, start, 4)
    assert receive.receive(target) == 4
    assert list(receive.lengths[1:4]) == [5, 8, 200]
    assert receive.lengths[0] >= 250
    for k in range(4):
        size = min(250, lengths[k])
        np.testing.assert_array_equal(receive.datagrams[k, :size], data[rows[k], :size])
        assert receive.senders[k] == sender_key(*source.getsockname())


def test_a_closed_socket_is_an_error(pair):
    _source, target = pair
    target.close()
    with pytest.raises(OSError, match="descriptor"):
        ReceiveBatch(2, 100).receive(target)


def test_too_many_datagrams_for_a_batch(pair):
    with pytest.raises(ValueError, match="do not fit"):
        SendBatch(np.zeros((2, 100), np.uint8)).load(np.zeros(3, int), np.ones(3, int), ("127.0.0.1", 9))
