"""Batches of datagrams: many per system call (recvmmsg, sendmmsg of Linux)."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MMSGHDR: Final = np.dtype([("name", "u8"), ("namelen", "u4"), ("_0", "u4"), ("iov", "u8"), ("iovlen", "u8"),
                           ("control", "u8"), ("controllen", "u8"), ("flags", "i4"), ("_1", "u4"), ("len", "u4"),
                           ("_2", "u4")])
IOVEC: Final = np.dtype([("base", "u8"), ("len", "u8")])
SOCKADDR_BYTES: Final = 16
DEFAULT_BUFFER_BYTES: Final = 64 << 20
BUSY: Final = (errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ECONNREFUSED)


def _call(name: str, *more: type[Any]) -> Callable[..., int]:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, *more]
    function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


_recvmmsg, _sendmmsg = _call("recvmmsg", ctypes.c_void_p), _call("sendmmsg")


def _went(got: int) -> int:
    """How many datagrams went through a call, 0 when it has to be tried again; raises OSError."""
    code = ctypes.get_errno() if got < 0 else 0
    if code and code not in BUSY:
        raise OSError(code, os.strerror(code))
    return max(got, 0)


def sender_key(host: str, port: int) -> int:
    """One number for an IPv4 address and port, as `ReceiveBatch.senders` holds them (int64)."""
    packed = struct.pack("=H", socket.AF_INET) + port.to_bytes(2, "big") + socket.inet_aton(host)
    return int(np.frombuffer(packed, np.int64)[0])


def sender_text(key: int) -> str:
    """The address host:port of a sender key."""
    packed = np.int64(key).tobytes()
    return f"{socket.inet_ntoa(packed[4:8])}:{int.from_bytes(packed[2:4], 'big')}"


class ReceiveBatch:
    """A staging buffer for `count` datagrams of at most `stride` bytes, filled by one call.

    After `receive`, `datagrams` (count, stride) u8, `lengths` (count,) i64 and `senders` (count,) i64 are valid in
    their first rows; a datagram longer than the stride has a length above it.
    """

    def __init__(self, count: int, stride: int) -> None:
        self.datagrams: NDArray[np.uint8] = np.zeros((count, stride), np.uint8)
        self.lengths: NDArray[np.int64] = np.zeros(count, np.int64)
        self._names = np.zeros((count, SOCKADDR_BYTES // 8), np.int64)
        self.senders: NDArray[np.int64] = np.zeros(count, np.int64)
        self._iov = np.zeros(count, IOVEC)
        self._iov["base"] = self.datagrams.ctypes.data + stride * np.arange(count, dtype=np.uint64)
        self._iov["len"] = stride
        self._heads = np.zeros(count, MMSGHDR)
        self._heads["name"] = self._names.ctypes.data + SOCKADDR_BYTES * np.arange(count, dtype=np.uint64)
        self._heads["iov"] = self._iov.ctypes.data + IOVEC.itemsize * np.arange(count, dtype=np.uint64)
        self._heads["iovlen"] = 1

    def receive(self, sock: socket.socket) -> int:
        """Take what waits in a non-blocking socket, at most `count` datagrams; 0 when nothing waits.

        Raises OSError when the socket is closed or broken.
        """
        self._heads["namelen"] = SOCKADDR_BYTES
        got = _went(_recvmmsg(sock.fileno(), self._heads.ctypes.data, len(self._heads),
                              socket.MSG_DONTWAIT | socket.MSG_TRUNC, None))
        self.lengths[:got] = self._heads["len"][:got]
        self.senders[:got] = self._names[:got, 0]
        return got


class SendBatch:
    """Sends rows of one array of datagrams (n, stride) u8, many per system call."""

    def __init__(self, datagrams: NDArray[np.uint8]) -> None:
        self._datagrams = datagrams
        self._iov = np.zeros(len(datagrams), IOVEC)
        self._heads = np.zeros(len(datagrams), MMSGHDR)
        self._heads["iov"] = self._iov.ctypes.data + IOVEC.itemsize * np.arange(len(datagrams), dtype=np.uint64)
        self._heads["iovlen"] = 1
        self._heads["namelen"] = SOCKADDR_BYTES
        self._name = np.zeros(SOCKADDR_BYTES // 8, np.int64)
        self._heads["name"] = self._name.ctypes.data

    def load(self, rows: NDArray[Any], lengths: NDArray[np.int64], target: tuple[str, int]) -> None:
        """Set which rows of the array are going to be sent, in this order, how long each is, and to whom."""
        count, stride = len(rows), self._datagrams.strides[0]
        if count > len(self._iov):
            raise ValueError(f"{count} datagrams do not fit a batch of {len(self._iov)}")
        self._iov["base"][:count] = self._datagrams.ctypes.data + stride * rows.astype(np.uint64)
        self._iov["len"][:count] = lengths
        self._name[0] = sender_key(*target)

    def send(self, sock: socket.socket, start: int, stop: int) -> int:
        """Send the loaded datagrams from `start` to `stop`; how many went out (0: the send buffer is full).

        Raises OSError when the socket is closed or the target cannot be reached.
        """
        return _went(_sendmmsg(sock.fileno(), self._heads.ctypes.data + MMSGHDR.itemsize * start, stop - start,
                               socket.MSG_DONTWAIT))
