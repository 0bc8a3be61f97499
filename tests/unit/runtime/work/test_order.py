from __future__ import annotations

from collections import deque
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from camlink.block import Block, Turn, Void
from camlink.runtime.messages import WorkerSpec
from camlink.runtime.work.order import Order
from camlink.runtime.work.order_mark import OrderMark
from camlink.runtime.work.seen import Seen
from camlink.testing.toys import toy_frames, toy_scan

SCAN = toy_scan(1000, side=1)


def turn(number: int, part: int = 0, parts: int = 1, chain: int = 1) -> Turn:
    return Turn("camera/0", chain, number, part, parts)


class Consumer:
    """An Order with the porter's memory of what came before, and a clock that is set by hand."""

    def __init__(self, wait_s: float = 10.0, known: dict[int, int] | None = None) -> None:
        self.now_s = 0.0
        self.order: Order[object] = Order(wait_s, known, lambda: self.now_s)
        self.seen = Seen()
        self.given: list[int] = []
        self.taken: list[object] = []

    def add(self, block: Block, place: Turn | None, item: object = None) -> Consumer:
        rows = () if isinstance(block, Void) else self.seen.add(block.arrays["index"].tolist())
        self.order.add(block, place, block if rows else None, item)
        return self.drain()

    def drain(self) -> Consumer:
        while (found := self.order.take()) is not None:
            block, item = found
            self.taken.append(item)
            self.given += [] if block is None else block.arrays["index"].tolist()
        return self


def frames(first: int, count: int = 1) -> Block:
    return toy_frames(SCAN, first, count)


def void(first: int) -> Void:
    return Void(frames(first).header, {"index": frames(first).arrays["index"]})


def test_blocks_wait_for_those_before_them() -> None:
    consumer = Consumer()
    for number in (2, 0, 3):
        consumer.add(frames(2 * number, 2), turn(number))
    assert (consumer.given, consumer.order.waits) == ([0, 1], True)
    consumer.add(frames(2, 2), turn(1))
    assert (consumer.given, consumer.order.waits) == (list(range(8)), False)


def test_a_turn_of_several_parts_is_there_when_all_of_them_are() -> None:
    consumer = Consumer().add(frames(2), turn(1)).add(frames(1), turn(0, 1, 2))
    assert consumer.given == []
    consumer.add(frames(1), turn(0, 1, 2))  # it comes again: its replica was replaced
    assert consumer.given == []
    assert consumer.add(frames(0), turn(0, 0, 2)).given == [0, 1, 2]


def test_what_a_replica_made_nothing_of_is_not_waited_for() -> None:
    consumer = Consumer().add(frames(0), turn(0)).add(frames(2), turn(2))
    assert consumer.given == [0]
    assert consumer.add(void(1), turn(1)).given == [0, 2]


def test_frames_that_the_source_never_gave_are_not_waited_for() -> None:
    assert Consumer().add(frames(7), turn(1)).add(frames(3), turn(0)).given == [3, 7]


def test_a_source_that_was_replaced_fills_the_gap_of_its_earlier_attempt() -> None:
    consumer = Consumer().add(frames(0), turn(0)).add(frames(2), turn(2)).add(frames(3), turn(3))
    consumer.add(frames(2), turn(1, chain=2))  # it gives again what was not settled
    assert consumer.given == [0]
    consumer.add(frames(1), turn(0, chain=2)).add(frames(3), turn(2, chain=2)).add(frames(4), turn(3, chain=2))
    assert consumer.given == [0, 1, 2, 3, 4]


def test_a_gap_of_which_nobody_tells_is_given_up_after_a_while_and_told() -> None:
    consumer = Consumer(10.0).add(frames(0), turn(0)).add(frames(3), turn(3))
    consumer.order.look()
    consumer.now_s = 11.0
    consumer.order.look()
    assert (consumer.drain().given, consumer.order.given_up) == ([0, 3], 2)
    assert consumer.add(frames(1), turn(1)).given == [0, 3, 1]  # late, but not lost
    assert consumer.order.warnings == ["1 frames came after later ones had been given",
                                       "2 blocks of which nobody told were given up"]


def test_a_gap_that_another_attempt_filled_is_not_given_up() -> None:
    consumer = Consumer(10.0).add(frames(0), turn(0)).add(frames(2), turn(2))
    for number in range(3):
        consumer.add(frames(number + 1), turn(number, chain=2))
    consumer.add(frames(5), turn(4, chain=2))
    consumer.now_s = 11.0
    consumer.order.look()
    assert (consumer.drain().given, consumer.order.given_up) == ([0, 1, 2, 3, 5], 1)


def test_two_origins_do_not_wait_for_each_other() -> None:
    consumer = Consumer().add(frames(5), Turn("right/0", 2, 0)).add(frames(1), Turn("left/0", 1, 1))
    assert consumer.given == [5]


def test_at_the_end_everything_is_given() -> None:
    consumer = Consumer().add(frames(4), turn(4)).add(frames(2), turn(2))
    consumer.order.end()
    assert consumer.drain().given == [2, 4]


def test_the_next_attempt_begins_where_the_marks_say(tmp_path: Path) -> None:
    spec = WorkerSpec(operator="keep", replica=0, where="m:f", kind="sink", parameters={}, inputs=(), outputs=(),
                      folder=str(tmp_path), sockets=str(tmp_path), provenance={})
    mark = OrderMark(spec, "frames")
    for number in range(3):
        mark.note(turn(number))
    for chain in range(10, 80):
        mark.note(turn(5, chain=chain))  # more attempts than there are places: the oldest goes
    mark.note(turn(3))
    mark.close(well=False)
    known = OrderMark(spec, "frames").known
    assert (known[1], known[79], len(known)) == (4, 6, 64)
    consumer = Consumer(known=known).add(frames(5), turn(5)).add(frames(3), turn(3))
    assert consumer.given == [3]  # it had been done, but not acknowledged
    assert consumer.add(frames(4), turn(4)).given == [3, 4, 5]
    OrderMark(spec, "frames").close(well=True)
    assert not any((tmp_path / "journal").iterdir())


CREDIT = 6


class World:
    """A source of blocks that `CREDIT` bounds, replicas that are killed, and the consumer that they all feed."""

    def __init__(self, sizes: list[int], dead: set[int], replicas: int) -> None:
        firsts = [sum(sizes[:n]) for n in range(len(sizes))]
        self.blocks = [frames(first, size) for first, size in zip(firsts, sizes, strict=True)]
        self.dead, self.waiting, self.kept = dead, deque(range(len(sizes))), set[int]()
        self.at: list[deque[int]] = [deque() for _ in range(replicas)]
        self.sent: list[deque[tuple[Block, Turn]]] = [deque() for _ in range(replicas)]
        self.held: list[list[tuple[Block, Turn]]] = [[] for _ in range(replicas)]
        self.consumer, self.mark = Consumer(), 0

    def give(self, replica: int) -> bool:
        """The source gives its next block to a replica, when it has credit."""
        if not self.waiting or len(self.kept | {self.waiting[0]}) > CREDIT:
            return False
        self.kept.add(self.waiting[0])
        self.at[replica].append(self.waiting.popleft())
        return True

    def work(self, replica: int) -> bool:
        """A replica makes two parts of its next block, or one, or nothing."""
        if not self.at[replica]:
            return False
        number = self.at[replica].popleft()
        block = self.blocks[number]
        index = block.arrays["index"]
        if number in self.dead:
            self.sent[replica].append((Void(block.header, {"index": index}), turn(number)))
            return True
        first, parts = int(index[0]), min(len(index), 2)
        cut = [frames(first)] if parts == 1 else [frames(first), frames(first + 1, len(index) - 1)]
        self.sent[replica] += [(one, turn(number, part, parts)) for part, one in enumerate(cut)]
        return True

    def arrive(self, replica: int) -> bool:
        """The consumer takes what came of a replica; what it gives on is settled."""
        if not self.sent[replica]:
            return False
        block, place = self.sent[replica].popleft()
        before = len(self.consumer.taken)
        self.held[replica].append((block, place))
        self.consumer.add(block, place, (replica, place))
        for item in self.consumer.taken[before:]:
            assert isinstance(item, tuple)
            of, done = item
            self.mark = done.number + 1
            self.held[of] = [one for one in self.held[of] if one[1] != done]
            if done.part == done.parts - 1:
                self.kept.discard(done.number)
        return True

    def replace(self, replica: int) -> bool:
        """The consumer is replaced, whoever `replica` is: its journal has what it gave, the rest comes again."""
        given = self.consumer.given
        self.consumer = Consumer(known={1: self.mark})
        for index in given:
            block = frames(index)
            self.consumer.order.recall(type(block)(structs.replace(block.header, turn=turn(0)), block.arrays))
        self.consumer.seen.add(given)
        self.consumer.given = given
        for sent, held in zip(self.sent, self.held, strict=True):
            sent.extendleft(reversed(held))
            held.clear()
        return False

    def carry(self, replica: int) -> bool:
        """A block goes all the way."""
        return any([self.give(replica), self.work(replica), self.arrive(replica)])

    def kill(self, replica: int) -> bool:
        """A replica is lost with what it sent and has to do; all that is not settled of it goes again."""
        begun = (place.number for _, place in (*self.sent[replica], *self.held[replica]))
        mine = {*self.at[replica], *begun} & self.kept
        self.at[replica].clear()
        self.sent[replica].clear()
        self.held[replica].clear()
        self.waiting = deque(sorted({*self.waiting, *mine}))
        return False


@example([2, 1], set(), [("give", 0), ("work", 0), ("arrive", 0), ("kill", 0), ("give", 1)])
@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=20), dead=st.sets(st.integers(0, 19), max_size=6),
       steps=st.lists(max_size=40, elements=st.tuples(
           st.sampled_from(["give", "work", "arrive", "carry", "kill", "replace"]), st.integers(0, 2))))
def test_any_replicas_and_deaths_give_every_frame_once_in_order_and_never_stall(
        sizes: list[int], dead: set[int], steps: list[tuple[str, int]]) -> None:
    world = World(sizes, dead, 3)
    for what, replica in steps:
        getattr(world, what)(replica)
        assert world.consumer.given == sorted(set(world.consumer.given))
        assert len(world.kept) <= CREDIT
    while any(world.carry(replica) for replica in range(3)):
        pass
    wanted = [i for n, block in enumerate(world.blocks) if n not in dead for i in block.arrays["index"].tolist()]
    assert world.consumer.given == wanted
    assert not world.consumer.order.waits
    assert (world.consumer.order.late, world.consumer.order.given_up, world.kept) == (0, 0, set())
