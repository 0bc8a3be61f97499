from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import zmq

from camlink.carry.far.admission import as_client
from camlink.carry.far.keys import make_keys
from camlink.runtime.reach.dial import AGENT, MASTER
from camlink.runtime.reach.landing import Landing
from camlink.runtime.reach.receipts import Receipts
from camlink.testing.ends import until

WORDS = 4000  # more than the queues between landing and master hold


@pytest.mark.slow
def test_a_landing_whose_master_hears_nothing_can_be_closed(tmp_path: Path) -> None:
    context: zmq.Context[Any] = zmq.Context()
    master = context.socket(zmq.ROUTER)
    master.bind(f"ipc://{tmp_path}/master")
    keys = make_keys("r", {MASTER: [AGENT], AGENT: [MASTER]})
    landing = Landing("far", f"ipc://{tmp_path}/master", keys[MASTER])
    agent, receipts = context.socket(zmq.DEALER), Receipts(7)
    agent.setsockopt(zmq.IDENTITY, b"far")
    agent.setsockopt(zmq.SNDHWM, 0)
    as_client(keys[AGENT], MASTER)(agent)
    agent.connect(landing.address)
    for _ in range(WORDS):
        agent.send_multipart(receipts.say([bytes(100)], 0.0))
    until(lambda: landing.met and landing._receipts._heard == (time.sleep(0.3) or landing._receipts._heard),
          "queues that are full")
    closing = threading.Thread(target=landing.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    agent.close(linger=0)
    master.close(linger=0)
    context.term()
