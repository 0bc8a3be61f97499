"""An agent whose master hears nothing: it goes on, and ends when the master is gone."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq

from camlink.runtime.agent import Agent
from camlink.runtime.inventory import take_inventory
from camlink.runtime.messages import Done, Joined, Linked, Progress, decode, encode
from camlink.runtime.place.inline import Threads
from camlink.runtime.work.host import Host
from camlink.testing.ends import until

MANY = 4000  # more than the queues between agent and master hold


@pytest.mark.slow
def test_an_agent_whose_master_is_stopped_hears_its_workers_and_ends_with_it(tmp_path: Path) -> None:
    context: zmq.Context[Any] = zmq.Context()
    master, worker = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    master.bind(f"ipc://{tmp_path}/master")
    read, write = os.pipe()
    agent = Agent("here", context, f"ipc://{tmp_path}/master", f"ipc://{tmp_path}/agent", Threads(Host(context, "inproc://agent")),
                  take_inventory(tmp_path), master_end=read)
    serving = threading.Thread(target=agent.run, daemon=True)
    serving.start()
    worker.setsockopt(zmq.SNDHWM, 0)
    worker.connect(f"ipc://{tmp_path}/agent")
    for number in range(MANY):
        worker.send(encode(Progress(operator="a", replica=0, facts={"n": number}, sent={}, received={})))
        if number % 100 == 0:
            worker.send(encode(Linked(operator="a", replica=0, link=str(number))))
    worker.send(encode(Done(operator="a", replica=0, facts={}, sent={}, received={})))
    until(lambda: "a/0/0" in agent._last_words, "the last words of a worker")  # while the master hears nothing
    heard: list[Any] = []

    def hear() -> bool:
        while master.poll(0):
            heard.append(decode(master.recv_multipart()[-1]))
        return isinstance(heard[-1], Done) if heard else False

    until(hear, "all that must be said, when the master goes on")
    assert isinstance(heard[0], Joined)
    assert [one.link for one in heard if isinstance(one, Linked)] == [str(n) for n in range(0, MANY, 100)]
    os.close(write)
    serving.join(20)
    assert not serving.is_alive()
    os.close(read)
    context.destroy(linger=0)
