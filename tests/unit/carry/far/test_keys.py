import os
import stat
import time

import msgspec
import pytest

from camlink.carry.far.keys import make_keys, read_keys, write_keys, write_private
from camlink.carry.far.ticket import ASKING_BYTES, RelayKey, Ticket, greeting
from camlink.errors import InputError, StorageError, WireError
from camlink.testing.hostile import PAYLOADS


@pytest.fixture
def keys():
    return make_keys("r1", {"sender": ["receiver"], "receiver": ["sender"], "viewer": []})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "keys").mkdir(mode=0o700)
    return tmp_path / "keys"


def test_every_role_has_a_key_of_its_own_and_pins_whom_it_talks_to(keys):
    assert len({key.public for key in keys.values()}) == 3
    assert keys["sender"].pin("receiver") == keys["receiver"].public.encode()
    with pytest.raises(InputError, match="does not know the role 'sender'"):
        keys["viewer"].pin("sender")


def test_a_key_file_is_private_whatever_the_umask(keys, folder):
    before = os.umask(0)
    try:
        path = write_keys(keys["sender"], folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path) == keys["sender"]
    assert list(folder.iterdir()) == [path]


def test_keys_are_kept_in_private_folders_only(keys, tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(StorageError, match="0700"):
        write_keys(keys["sender"], tmp_path / "open")


def test_a_file_that_others_may_read_is_not_trusted(keys, folder):
    path = write_keys(keys["sender"], folder)
    path.chmod(0o640)
    with pytest.raises(InputError, match="0600"):
        read_keys(path)
    (folder / "link").symlink_to(path)
    with pytest.raises(InputError, match="cannot read"):
        read_keys(folder / "link")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_not_trusted(keys, folder):
    path = write_keys(keys["sender"], folder)
    os.chown(path, 65534, 65534)
    with pytest.raises(InputError, match="yours"):
        read_keys(path)


def test_life_ends(keys, folder):
    old = msgspec.structs.replace(keys["sender"], until_s=time.time() - 1)
    with pytest.raises(InputError, match="life"):
        read_keys(write_keys(old, folder))


@pytest.mark.parametrize("name", list(PAYLOADS))
def test_garbage_is_no_key(folder, name):
    path = folder / "x.key"
    write_private(path, PAYLOADS[name])
    with pytest.raises(InputError):
        read_keys(path)
    with pytest.raises(InputError, match="key"):
        RelayKey.read(path)


def test_no_secret_is_shown(keys, folder):
    path = write_keys(keys["sender"], folder)
    damaged = msgspec.json.encode(keys["sender"]).replace(b'"run":"r1"', b'"run":1')
    path.unlink()
    write_private(path, damaged)
    with pytest.raises(InputError) as error:
        read_keys(path)
    ticket = RelayKey(bytes(32)).ticket("h:1", "r", "call", 60)
    shown = f"{error.value} {keys['sender']!r} {keys!r} {ticket!r} {[ticket]}"
    assert keys["sender"].secret not in shown
    assert ticket.secret not in shown


@pytest.fixture
def relay_key(folder):
    return RelayKey.make(folder / "relay.key")


def ask(ticket, lane="lane", nonce=None):
    hello = nonce or greeting()
    return hello[-32:], ticket.answer(hello, lane)


def test_a_ticket_proves_itself_without_being_shown(relay_key, folder):
    key = RelayKey.read(folder / "relay.key")
    ticket = relay_key.ticket("h:1", "r1", "offer", 60)
    nonce, asking = ask(ticket)
    assert len(asking) == ASKING_BYTES
    assert bytes.fromhex(ticket.secret) not in asking
    offered, called = key.check(nonce, asking), key.check(*ask(relay_key.ticket("h:1", "r1", "call", 60)))
    assert (offered.offers, called.offers) == (True, False)
    assert offered.lane == called.lane
    assert key.check(*ask(relay_key.ticket("h:1", "r2", "call", 60))).lane != called.lane


def test_every_changed_byte_a_replay_and_another_key_are_refused(relay_key):
    nonce, asking = ask(relay_key.ticket("h:1", "r1", "offer", 60))
    for place in range(len(asking)):
        changed = bytearray(asking)
        changed[place] ^= 1
        with pytest.raises(WireError):
            relay_key.check(nonce, bytes(changed))
    with pytest.raises(WireError):
        relay_key.check(greeting()[-32:], asking)
    with pytest.raises(WireError):
        RelayKey(bytes(32)).check(nonce, asking)


def test_a_ticket_cannot_be_turned_or_made_to_last(relay_key):
    ticket = relay_key.ticket("h:1", "r1", "call", 60)
    for forged in ({"may": "offer"}, {"run": "r2"}, {"until_s": ticket.until_s + 1}):
        with pytest.raises(WireError, match="wrong ticket"):
            relay_key.check(*ask(msgspec.structs.replace(ticket, **forged)))
    with pytest.raises(WireError, match="over"):
        relay_key.check(*ask(relay_key.ticket("h:1", "r1", "call", -1)))


def test_what_is_no_relay_is_said_so(relay_key):
    with pytest.raises(WireError, match="no relay"):
        relay_key.ticket("h:1", "r1", "call", 60).answer(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" + bytes(20), "l")
    ticket = relay_key.ticket("h", "r", "call", 1)
    assert msgspec.json.decode(msgspec.json.encode(ticket), type=Ticket) == ticket
