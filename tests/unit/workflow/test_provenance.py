"""What provenance says, and what it keeps to itself."""

import getpass
import hashlib
from datetime import datetime

from camlink.workflow.provenance import provenance


def test_versions_hash_and_time() -> None:
    facts = provenance("workflow: a")
    assert facts["workflow_sha256"] == hashlib.sha256(b"workflow: a").hexdigest()
    assert datetime.fromisoformat(facts["date"]).tzinfo is not None
    assert {"version", "python", "numpy", "h5py", "platform"} <= facts.keys()
    assert all(isinstance(value, str) for value in facts.values())


def test_nothing_of_the_person() -> None:
    assert not {"user", "login", "home"} & provenance("").keys()
    assert getpass.getuser() not in provenance("").values()
