from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from camlink.workflow.assignment import Given, Unmet, Want, assign
from camlink.workflow.needs import Needs, Offer

AGENTS = ("a", "b", "c")
NEEDS = st.builds(Needs, cores=st.integers(0, 3), memory_bytes=st.integers(0, 3), gpus=st.integers(0, 2),
                  prefers_gpu=st.booleans())
OFFERS = st.dictionaries(st.sampled_from(AGENTS), st.builds(
    Offer, cores=st.none() | st.integers(0, 4), memory_bytes=st.none() | st.integers(0, 4),
    gpus=st.none() | st.integers(0, 3), pool=st.sampled_from(["", "shared"])), min_size=1)
HOSTS = st.lists(st.sampled_from(AGENTS), min_size=1, unique=True).map(tuple)
WANTS = st.lists(st.builds(Want, st.sampled_from(["x", "y"]), NEEDS, HOSTS), min_size=1, max_size=4)


def pools(offers: dict[str, Offer]) -> dict[str, Offer]:
    """Each pool with what its first agent says; agents of one pool say the same in a run."""
    found: dict[str, Offer] = {}
    for agent, offer in offers.items():
        found.setdefault(offer.pool or agent, offer)
    return found


def holds(wants: dict[str, Want], offers: dict[str, Offer], hosts: dict[str, str]) -> bool:
    used: dict[str, Counter[str]] = {}
    for name, agent in hosts.items():
        needs = wants[name].needs
        if agent not in offers or agent not in wants[name].agents:
            return False
        used.setdefault(offers[agent].pool or agent, Counter()).update(
            cores=needs.cores, memory_bytes=needs.memory_bytes, gpus=needs.gpus)
    return all(getattr(pools(offers)[pool], what) is None or count <= getattr(pools(offers)[pool], what)
               for pool, counts in used.items() for what, count in counts.items())


def same(offers: dict[str, Offer]) -> dict[str, Offer]:
    first = pools(offers)
    return {agent: first[offer.pool or agent] for agent, offer in offers.items()}


@given(WANTS, OFFERS.map(same))
def test_an_assignment_is_found_when_there_is_one_and_holds(asked: list[Want], offers: dict[str, Offer]) -> None:
    wants = {f"w{number}": want for number, want in enumerate(asked)}
    found = assign(wants, offers)
    if isinstance(found, Unmet):
        assert found.operator in found.text
        assert not any(holds(wants, offers, dict(zip(wants, hosts, strict=True)))
                       for hosts in itertools.product(offers, repeat=len(wants)))
        return
    assert set(found) == set(wants)
    assert holds(wants, offers, {name: given.agent for name, given in found.items()})
    for name, one in found.items():
        offer = offers[one.agent]
        assert offer.gpus is None or len(one.gpus) >= wants[name].needs.gpus
        for other in set(found) - {name}:
            if (offers[found[other].agent].pool or found[other].agent) == (offer.pool or one.agent):
                assert not set(found[other].gpus) & set(one.gpus)


def test_replicas_are_spread_and_the_others_stay_together() -> None:
    offers = {"a": Offer(cores=2), "b": Offer(cores=2)}
    wants = {"camera": Want("camera", Needs(), ("a", "b")), "r/0": Want("r", Needs(), ("a", "b")),
             "r/1": Want("r", Needs(), ("a", "b")), "add": Want("add", Needs(), ("a", "b"))}
    assert assign(wants, offers) == {"camera": Given("a"), "r/0": Given("a"), "r/1": Given("b"), "add": Given("a")}


def test_a_gpu_goes_to_who_needs_it_before_who_prefers_one() -> None:
    offers = {"a": Offer(gpus=0), "b": Offer(gpus=1)}
    both = ("a", "b")
    wants = {"fast": Want("fast", Needs(prefers_gpu=True), both), "solve": Want("solve", Needs(gpus=1), both)}
    assert assign(wants, offers) == {"fast": Given("a"), "solve": Given("b", (0,))}
    assert assign({"fast": wants["fast"]}, offers) == {"fast": Given("b", (0,))}


def test_what_cannot_be_met_names_what_lacks_where() -> None:
    offers = {"a": Offer(cores=2, gpus=0, pool="p"), "b": Offer(cores=2, gpus=0, pool="p")}
    assert assign({"s": Want("solve", Needs(gpus=1), ("a", "b"))}, offers) == Unmet(
        "solve", "solve needs what no agent has: a lacks GPUs (1 asked, 0 there); b lacks GPUs (1 asked, 0 there)")
    many = {f"s/{n}": Want("solve", Needs(cores=2), ("a", "b")) for n in range(2)}
    unmet = assign(many, offers)
    assert isinstance(unmet, Unmet)
    assert unmet.text == "solve need together 4 cores, and a, b cannot host them all; ask for less, or for more agents"


def test_thousands_of_workers_are_given_and_too_many_are_refused_in_bounded_time() -> None:
    for needs in (Needs(), Needs(cores=1)):
        wants = {str(n): Want("w", needs, ("a", "b")) for n in range(3000)}
        found = assign(wants, {"a": Offer(), "b": Offer()})
        assert not isinstance(found, Unmet)
        assert Counter(given.agent for given in found.values()) == {"a": 1500, "b": 1500}
    assert isinstance(assign(wants, {"a": Offer(cores=1499), "b": Offer(cores=1500)}), Unmet)
