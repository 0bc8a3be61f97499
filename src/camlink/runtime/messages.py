"""The messages of the control network: small, typed, never on the way of a frame.

master -> agent    Luggage, Launch, Kill, Bye,      agent -> master    Joined, Beat, Exited, ClusterUp
                   StartScheduler, JoinCluster,
                   Renew
master -> worker   Connect, Go, Stop, Leave,        worker -> master   Ready, Linked, Parted, Progress, Done,
                   Hold, Change, Detach, Cut,                          Failed
                   Lose, Expect, SetAside           agent -> worker    Save, Renew
Every message of a worker carries its attempt, so that what an earlier attempt still had to say is told apart.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from camlink.carry.account import Snapshot
from camlink.errors import WireError
from camlink.runtime.cluster.certificates import Pass
from camlink.workflow.beside import FILE_NAME, MOST_BYTES, MOST_FILES
from camlink.workflow.join import Join
from camlink.workflow.needs import Needs

MAX_CONTROL_BYTES: Final = 16 << 20
REPLICA_SEQUENCES: Final = 1 << 40
"""Replicas number their blocks from multiples of this: a number is given once in a run."""
GIVEN_BEFORE: Final = "given_before"
"""The fact of a source that resumed: so many frames its earlier attempts gave, and nobody needs again."""


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One link as both of its ends must know it."""

    name: str
    source: str
    target: str
    output: str
    input: str
    kind: Literal["memory", "shm", "zmq", "far"]
    policy: str
    limit_bytes: int
    receivers: int = 1
    block: str = "Block"
    turns: bool = False  # somebody behind it takes frames in order


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker needs to become one replica of one operator."""

    operator: str
    replica: int
    where: str
    kind: str
    parameters: dict[str, Any]
    inputs: tuple[LinkSpec, ...]
    outputs: tuple[LinkSpec, ...]
    folder: str
    sockets: str
    provenance: dict[str, str]
    site: str = ""
    attempt: int = 0
    first_sequence: int = 0
    set_aside: dict[str, str] = {}
    needs: Needs = Needs()
    cluster: str = ""  # the site whose cluster its executor uses
    hosts: tuple[str, ...] = ()  # the agents that may host it
    gpus: tuple[int, ...] = ()  # those of its agent that are for it alone
    join: Join | None = None
    order_wait_s: float = 0.0  # how long it waits for a block that nobody tells of; 0 where any order will do
    resumes: bool = False
    scalable: bool = False  # more replicas of it may join while the graph runs
    patience_s: float = 300.0  # its code may work for so long without a word; 0 = for ever
    passage: bytes = b""  # carry.crossing.Passage, sealed: only who makes links to other machines reads it

    @property
    def identity(self) -> str:
        """Its name on links: the next attempt takes the place of this one."""
        return f"{self.operator}/{self.replica}"

    @property
    def line(self) -> str:
        """Its name on the control network: every attempt has its own."""
        return f"{self.operator}/{self.replica}/{self.attempt}"

    @property
    def who(self) -> dict[str, Any]:
        """How messages name an attempt (OfWorker)."""
        return {"operator": self.operator, "replica": self.replica, "attempt": self.attempt}


class Message(msgspec.Struct, kw_only=True, tag=True):
    """Base of everything on the control network."""


class Luggage(Message):
    """The files from beside the workflow that workers of this agent import, by name: plain names, bounded."""

    files: dict[str, bytes]

    def __post_init__(self) -> None:
        if len(self.files) > MOST_FILES or sum(map(len, self.files.values())) > MOST_BYTES:
            raise ValueError(f"luggage has at most {MOST_FILES} files and {MOST_BYTES} bytes")
        for name in self.files:
            if not FILE_NAME.fullmatch(name):
                raise ValueError(f"luggage has no file {name[:80]!a}")


class Launch(Message):
    """Start this worker."""

    spec: WorkerSpec


class OfWorker(Message, kw_only=True):
    """Base of what is about one attempt of a worker."""

    operator: str
    replica: int
    attempt: int = 0

    @property
    def line(self) -> str:
        """The name of that attempt on the control network, as of its WorkerSpec."""
        return f"{self.operator}/{self.replica}/{self.attempt}"


class Kill(OfWorker):
    """End this attempt of a worker now."""


class Bye(Message):
    """The run is over: end what still runs, then yourself; `relieved` when others go on with it on your site."""

    relieved: bool = False


class Connect(Message):
    """Connect an incoming link to its senders; those at `gone` are dead, `awaited` more are going to have addresses.

    `led` tells for an address where else it can be dialled, because ssh leads from there to it.
    """

    link: str
    addresses: tuple[str, ...]
    gone: tuple[str, ...] = ()
    awaited: int = 0
    led: dict[str, tuple[str, ...]] = {}


class Go(Message):
    """Every link is ready: start the body."""


class Dashboard(msgspec.Struct, frozen=True):
    """Where Dask's own pages of a cluster are: a unix socket, and the path below which they lie; nowhere when empty.

    The page of the run asks there with the certificate that lies beside the socket (certificates.Handshakes.beside).
    """

    socket: str = ""
    prefix: str = ""


class StartScheduler(Message):
    """Run the scheduler of this site's cluster; at an address of the machine, or on loopback.

    An agent on another machine offers the dashboard at the relay of the run, by the `passage` (as in a WorkerSpec).
    """

    own: Pass
    listen: str = ""
    dashboard: Dashboard = Dashboard()
    passage: bytes = b""


class JoinCluster(Message):
    """Run workers for the cluster `cluster` (the name of a site), and lead operators there; 0 workers is one a core."""

    cluster: str
    address: str
    workers: int
    own: Pass
    client: Pass
    listen: str = ""


class Stop(Message):
    """Come to your end soon, keeping what arrived."""


class Leave(Message):
    """Give back what you have not begun, finish the rest and end: the others go on."""


class Hold(Message):
    """A source that can gives nothing more while it is held."""

    held: bool


class Change(Message):
    """Work with these parameters from the next block on."""

    parameters: dict[str, Any]


class Detach(Message):
    """The receivers of this link are gone."""

    link: str
    reason: str


class Cut(Message):
    """A sender of this link is gone."""

    link: str
    address: str


class Lose(Message):
    """A receiver of this link is dead: what it had not acknowledged goes to the others, or to the next of its name."""

    link: str
    receiver: str
    reason: str
    attempt: int = 0


class Expect(Message):
    """How many receivers share this link from now on."""

    link: str
    receivers: int


class SetAside(Message):
    """Do not work on this block: it has ended those who tried; keep it as a dead letter."""

    key: str
    reason: str


class Renew(Message):
    """Use this passage (as in a WorkerSpec) from now on: the keys and tickets of the one before soon end."""

    passage: bytes


class Save(Message):
    """The master is gone: put what your links keep on the disk, and end."""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine of an agent has, as far as the agent may use it; the walltime is None where there is none.

    `network` gives the speed of each address that others may reach [Mbit/s], 0 where the machine does not say.
    """

    host: str
    system: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    gpus: tuple[str, ...]
    walltime_left_s: float | None
    versions: dict[str, str]
    network: dict[str, int] = {}
    python: str = ""


class Joined(Message):
    """An agent is there, with what its machine has."""

    site: str
    pid: int
    has: Inventory


class Beat(Message):
    """The heartbeat of an agent, with the workers that somebody has stopped: operator/replica/attempt."""

    site: str
    stopped: tuple[str, ...] = ()


class ClusterUp(Message):
    """The scheduler that this agent runs is there."""

    site: str
    address: str


class Exited(OfWorker, kw_only=True):
    """The process or thread of a worker has ended; `holding` names the block it was working on."""

    code: int
    text: str = ""
    holding: str = ""


class FromWorker(OfWorker):
    """Base of what a worker says."""


class Ready(FromWorker, kw_only=True):
    """Loaded and bound; `addresses` tells where each outgoing link waits."""

    pid: int
    addresses: dict[str, str]


class Linked(FromWorker, kw_only=True):
    """Every receiver of an outgoing link has said hello."""

    link: str


class Parted(FromWorker, kw_only=True):
    """The operator takes nothing more of an incoming link: it is `complete`, or its end was not waited for."""

    link: str
    complete: bool = False


class Progress(FromWorker, kw_only=True):
    """What the worker has done so far; also its heartbeat.

    `repeated` counts frames that came again and were left out, `aside` those set aside as dead letters, by reason, and
    `busy_s` tells for how long its code has worked without a word, and `unkept` why its journal is not whole.
    `remembered` counts the frames in its journals, `recalled` those that were there when it began; -1 until it has read
    them all.
    """

    facts: dict[str, Any]
    sent: dict[str, Snapshot]
    received: dict[str, Snapshot]
    repeated: int = 0
    aside: dict[str, int] = {}
    busy_s: float = 0.0
    unkept: str = ""
    remembered: int = 0
    recalled: int = -1


class Done(Progress, kw_only=True):
    """The body came to its end and every outgoing link was acknowledged; maybe in an attempt that this one repeats."""

    repeats: int | None = None


class Failed(Progress, kw_only=True):
    """The body raised, or the worker could not begin."""

    error: str
    text: str
    place: str
    input: bool = False
    final: bool = False
    holding: str = ""


AnyMessage = (
    Luggage | Launch | Kill | Bye | StartScheduler | JoinCluster | ClusterUp | Renew
    | Connect | Go | Stop | Leave | Hold | Change | Detach | Cut | Lose | Expect | SetAside | Save
    | Joined | Beat | Exited | Ready | Linked | Parted | Progress | Done | Failed
)
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """The message as msgpack."""
    return _ENCODER.encode(message)


def decode(data: bytes) -> Any:
    """The message in `data`; raises WireError when it is none."""
    if len(data) > MAX_CONTROL_BYTES:
        raise WireError(f"control network: a message of {len(data)} bytes is over the limit of {MAX_CONTROL_BYTES}")
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"control network: not a message: {error}") from None
