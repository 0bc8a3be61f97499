import msgspec
import pytest

from camlink import connect
from camlink.display.client import LETTER
from camlink.display.live import Live
from camlink.display.web.access import Role
from camlink.display.web.encryption import encryption_for
from camlink.display.web.ordering import actions_of
from camlink.display.web.self_signed import make_certificate
from camlink.display.web.server import PageServer
from camlink.errors import InputError, PeerLost
from camlink.runtime.events import Adjust, Cancel, Pause, Scale, Tag
from camlink.runtime.status import RunStatus

ORDERS = [
    (lambda run: run.pause(), Pause(paused=True, who="operator")),
    (lambda run: run.resume(), Pause(paused=False, who="operator")),
    (lambda run: run.scale("reduce", 3), Scale(operator="reduce", replicas=3, who="operator")),
    (lambda run: run.set("reduce", gain=2.0), Adjust(operator="reduce", parameters={"gain": 2.0}, who="operator")),
    (lambda run: run.tag("good"), Tag(text="good", who="operator")),
    (lambda run: run.stop(), Cancel(reason="stopped by operator on the page", who="operator")),
]


@pytest.fixture(scope="module")
def given():
    return []


@pytest.fixture(scope="module")
def page(given):
    live = Live()
    live.put_status(RunStatus(version=3, workflow="w"))
    with PageServer(live) as server:
        server.actions |= actions_of(given.append)
        yield server


@pytest.mark.parametrize(("ask", "order"), ORDERS)
def test_an_operator_orders_what_the_run_gets_and_a_viewer_is_refused(page, given, ask, order):
    given.clear()
    with connect(page.url, page.access.invite(Role.VIEWER)) as viewer, pytest.raises(InputError, match="operator"):
        ask(viewer)
    with connect(page.url) as neighbour, pytest.raises(InputError, match=r"viewer|origin"):
        ask(neighbour)
    assert given == []
    with connect(page.url, page.access.invite(Role.OPERATOR)) as operator:
        ask(operator)
    assert given == [order]


def test_each_role_may_what_it_may(page):
    for role in Role:
        with connect(page.url, page.access.invite(role)) as client:
            assert client.me().role == role.name.lower()
            assert ("scale" in client.me().actions) == (role >= Role.OPERATOR)
            assert client.status().workflow == "w"
            if role is Role.OWNER:
                assert "/login?token=" in client.invite("operator")
                address = client.invite("operator", "Anna")
                with connect(page.url, address.partition("=")[2]) as invited:
                    assert (invited.me().who, invited.me().role) == ("Anna", "operator")
            else:
                with pytest.raises(InputError, match="owner"):
                    client.invite("owner")


def test_a_wrong_token_looks_as_a_neighbour_at_most(page):
    with connect(page.url, "wrong") as client, pytest.raises(InputError, match="viewer"):
        client.stop()


def test_nobody_can_order_in_the_name_of_another(page, given):
    given.clear()
    with connect(page.url, page.access.invite(Role.OPERATOR)) as client:
        client._act("tag", {"text": "x", "who": "somebody else"})
    assert given == [Tag(text="x", who="operator")]


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": "x" * 201}, {"text": 1}, {"type": "Pause", "text": "x"}])
def test_what_does_not_fit_the_record_is_refused(page, given, body):
    given.clear()
    with connect(page.url, page.access.invite(Role.OPERATOR)) as client, pytest.raises(InputError, match="tag"):
        client._act("tag", body)
    assert given == []


def test_a_letter_lets_programs_of_the_user_in_while_the_page_is_up(tmp_path, given):
    (tmp_path / "log").mkdir()
    letter = tmp_path / "log" / LETTER
    with PageServer(Live()) as page:
        page.actions |= actions_of(given.append)
        page.leave_letter(letter)
        assert letter.stat().st_mode & 0o777 == 0o600
        with connect(tmp_path) as client:
            me = client.me()
            assert (me.who, me.role) == ("command line", "operator")
        token = msgspec.json.decode(letter.read_bytes())["token"]
        url = page.url
    assert not letter.exists()
    with connect(url, token) as client, pytest.raises(PeerLost, match="still up"):
        client.me()
    with pytest.raises(InputError, match="no run has its page up"):
        connect(tmp_path)


def test_a_page_with_tls_is_known_by_its_fingerprint_before_it_hears_a_token(tmp_path, given):
    (tmp_path / "log").mkdir()
    pinned = encryption_for("127.0.0.1", made(tmp_path))
    with PageServer(Live(), encryption=pinned) as page:
        page.actions |= actions_of(given.append)
        page.leave_letter(tmp_path / "log" / LETTER)
        with connect(tmp_path) as client:
            assert (client.url, client.me().role) == (page.url, "operator")
        heard = page.audit.refused
        with connect(page.url, "token", fingerprint="00" * 32) as client, pytest.raises(PeerLost, match="fingerprint"):
            client.me()
        with connect(page.url, "token") as client, pytest.raises(PeerLost, match=r"self-signed|verify"):
            client.me()
        assert page.audit.refused == heard
    with pytest.raises(InputError, match="no fingerprint"):
        connect("http://127.0.0.1:1/", fingerprint="00" * 32)


def made(folder):
    for name, text in zip(("certificate", "key"), make_certificate("127.0.0.1"), strict=True):
        (folder / name).write_text(text)
    return f"{folder / 'certificate'},{folder / 'key'}"


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "file:///etc/passwd"])
def test_what_is_no_address_of_a_page_is_refused(url):
    with pytest.raises(InputError, match="no address"):
        connect(url)
