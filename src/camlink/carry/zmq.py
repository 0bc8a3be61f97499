"""ZeroMQ links between processes: zero-copy multipart messages, credit in bytes, an acknowledged end.

The sender binds a ROUTER, each receiver connects a DEALER. One byte tells what a message is:
receiver -> sender   H hello {link, replica}   C credit (frames, blocks, bytes)   F finished
sender -> receiver   B block parts             E end
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any, Final

import zmq

from camlink.block import Block
from camlink.carry.account import Account
from camlink.carry.envelope import decode
from camlink.carry.link import DEFAULT_LIMIT_BYTES, Policy
from camlink.errors import WireError

HELLO, CREDIT, FINISHED, BLOCK, END = b"H", b"C", b"F", b"B", b"E"
_CREDIT: Final = struct.Struct("<QQQ")
_MAX_MESSAGE_BYTES: Final = 4 << 30
_LINGER_MS: Final = 2000


class _Peer:
    """One receiver as its sender sees it."""

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.told_end = False
        self.finished = False


class ZmqOutlet:
    """The sending end: gives each block to the receiver with the most credit; several receivers share the work."""

    def __init__(self, context: zmq.Context[Any], address: str, link: str, *, receivers: int = 1,
                 policy: Policy = "block", limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.account = Account()
        self._link, self._policy, self._limit = link, policy, limit_bytes
        self._expected = receivers
        self._peers: dict[bytes, _Peer] = {}
        self._waiting: tuple[Block, list[Any]] | None = None
        self._ending = False
        self._detached = ""
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.SNDHWM, 0)  # the credit bounds the queue, in bytes
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, 4096)  # receivers only send hellos and credits
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.bind(address)
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def pollable(self) -> Any:
        """The socket."""
        return self._socket

    @property
    def ready(self) -> bool:
        """True when every expected receiver has said hello."""
        return len(self._peers) >= self._expected or bool(self._detached)

    def offer(self, block: Block, parts: list[Any]) -> bool:
        """Send to the receiver with the most credit; without credit keep the newest (`latest`) or say no (`block`)."""
        if self._detached:
            self.account.sent += block.count
            self.account.count_lost(self._detached, block.count)
            return True
        self.pump()
        if self._policy == "latest":
            if self._waiting is not None:
                self.account.count_dropped("latest", self._waiting[0].count)
            self._waiting = (block, parts)
            self._let_go()
            return True
        return self._send(block, parts)

    def pump(self) -> None:
        """Take in hellos, credits and ends; let the waiting block of `latest` go."""
        while True:
            try:
                message = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                self._take_in(message)
            except WireError:
                self.account.refused += 1
        self._let_go()

    def finish(self) -> None:
        """Say that nothing follows, once the waiting block of `latest` is gone."""
        self._ending = True
        self.pump()

    @property
    def finished(self) -> bool:
        """True when every receiver has acknowledged the end."""
        return bool(self._detached) or (self._ending and self._waiting is None and bool(self._peers)
                                        and all(p.finished for p in self._peers.values()))

    def detach(self, reason: str) -> None:
        """The receivers are gone: what is in flight and what follows is lost with this reason."""
        self.pump()  # what the receivers still acknowledged counts
        self._detached = reason
        if self._waiting is not None:
            self.account.count_dropped("latest", self._waiting[0].count)
            self._waiting = None
        self.account.count_lost(reason, self.account.snapshot().in_flight)
        self.account.queue(-self.account.queue_bytes)

    def close(self) -> None:
        """Close the socket; what was not acknowledged is lost."""
        if self.account.snapshot().in_flight:
            self.detach("not acknowledged")
        self._socket.close()

    def _take_in(self, message: list[bytes]) -> None:
        if len(message) != 2 or not message[1]:
            raise WireError(f"link {self._link}: a receiver sent a message of {len(message)} parts")
        identity, (kind, body) = message[0], (message[1][:1], message[1][1:])
        if kind == HELLO:
            if body.decode("utf8", "replace") != self._link or len(self._peers) >= self._expected:
                raise WireError(f"link {self._link}: hello for another link, or one receiver too many")
            self._peers[identity] = _Peer()
            return
        peer = self._peers.get(identity)
        if peer is None:
            raise WireError(f"link {self._link}: a message before hello")
        if kind == CREDIT and len(body) == _CREDIT.size:
            self._credit(peer, *_CREDIT.unpack(body))
        elif kind == FINISHED:
            peer.finished = True
        else:
            raise WireError(f"link {self._link}: a message of unknown kind {kind!r}")

    def _credit(self, peer: _Peer, frames: int, _blocks: int, nbytes: int) -> None:
        if frames > peer.frames or nbytes > peer.bytes:
            raise WireError(f"link {self._link}: credit for {frames} frames, but {peer.frames} are in flight")
        if not self._detached:
            self.account.count_acknowledged(frames, nbytes)
        peer.frames -= frames
        peer.bytes -= nbytes

    def _let_go(self) -> None:
        if self._waiting is not None and self._send(*self._waiting):
            self._waiting = None
        if self._ending and self._waiting is None and not self._detached:
            for identity, peer in self._peers.items():
                if not peer.told_end:
                    peer.told_end = self._reach([identity, END])

    def _reach(self, message: Sequence[Any]) -> bool:
        """Send to a receiver; False when it is not there any more: the master will tell what becomes of the link."""
        try:
            self._socket.send_multipart(message, copy=False)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True

    def _send(self, block: Block, parts: Sequence[Any]) -> bool:
        nbytes = block.nbytes
        identity = self._choose(nbytes)
        if identity is None:
            return False
        peer = self._peers[identity]
        if not self._reach([identity, BLOCK, *parts]):
            return False
        peer.frames += block.count
        peer.bytes += nbytes
        self.account.count_sent(block.count, nbytes, time.time())
        return True

    def _choose(self, nbytes: int) -> bytes | None:
        """The receiver with the least in flight, if the block fits its credit; an idle one takes any block."""
        if not self._peers:
            return None
        identity = min(self._peers, key=lambda name: self._peers[name].bytes)
        busy = self._peers[identity].bytes
        limit = 0 if self._policy == "latest" else self._limit // self._expected
        return identity if not busy or busy + nbytes <= limit else None


class ZmqInlet:
    """The receiving end: says hello at once, returns credit on release, acknowledges the end on close."""

    def __init__(self, context: zmq.Context[Any], address: str, link: str) -> None:
        self.account = Account()
        self._held = [0, 0, 0]  # frames, blocks, bytes received and not yet released
        self._ended = False
        self._cut = False
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)  # the credit bounds the queue, in bytes
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        self._socket.connect(address)
        self._socket.send(HELLO + link.encode())

    @property
    def pollable(self) -> Any:
        """The socket."""
        return self._socket

    def receive(self) -> Block | None:
        """The next block if one is there; a message that is none is counted as refused."""
        while not self._ended:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                self._ended = self._cut
                return None
            kind = bytes(parts[0].buffer)
            if kind == END:
                self._ended = True
            elif kind == BLOCK:
                try:
                    block = decode([part.buffer for part in parts[1:]])
                except WireError:
                    self.account.refused += 1
                    continue
                return self._count(block)
            else:
                self.account.refused += 1
        return None

    def _count(self, block: Block) -> Block:
        nbytes = block.nbytes
        self.account.count_received(block.count, nbytes, time.time(), block.header.made_s)
        self._held[0] += block.count
        self._held[1] += 1
        self._held[2] += nbytes
        return block

    def release(self) -> None:
        """Hand the credit of every block received so far back."""
        if self._held[1]:
            self._socket.send(CREDIT + _CREDIT.pack(*self._held))
            self.account.acknowledged += self._held[0]
            self._held = [0, 0, 0]

    @property
    def ended(self) -> bool:
        """True when the sender has closed and every block was received."""
        return self._ended

    def cut(self) -> None:
        """The sender is gone: what is in the socket is still received, then the stream ends."""
        self._cut = True

    def close(self) -> None:
        """Acknowledge the end (a receiver that closes early does so too; its sender learns it from the master)."""
        if self._socket.closed:
            return
        self.release()
        if self._ended:
            self._socket.send(FINISHED)
        self._socket.close()

    def abandon(self) -> None:
        """Close the socket; what was received and not released stays in flight for its sender."""
        if not self._socket.closed:
            self._socket.close(linger=0)
