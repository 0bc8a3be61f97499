import contextlib
import datetime
import socket
import ssl
import threading

import pytest

from camlink.errors import Closed, OperatorFailed, PeerLost
from camlink.runtime.cluster.certificates import Authority, Handshakes
from camlink.runtime.executor import ThreadExecutor


@pytest.fixture
def one():
    executor = ThreadExecutor(1)
    yield executor
    executor.close()


def double(x):
    return 2 * x


def fail(error):
    raise error


def test_work_is_done_and_a_handle_stands_for_its_result(one):
    first = one.submit(double, 3)
    assert one.submit(double, first).result(5) == 12
    assert [handle.result(5) for handle in one.map(double, range(4))] == [0, 2, 4, 6]
    assert one.tally() == one.tally() == (0, 6, 0, 0)
    assert one._held.waiting == []  # nor is a result kept for nobody


def test_what_is_more_important_goes_first(one):
    go, done = threading.Event(), []
    blocked = one.submit(go.wait, 5)
    handles = [one.submit(done.append, name, priority=priority) for name, priority in
               (("low", -1), ("a", 0), ("b", 0), ("high", 9))]
    go.set()
    for handle in (blocked, *handles):
        handle.result(5)
    assert done == ["high", "a", "b", "low"]


def test_what_has_not_begun_is_cancelled(one):
    go = threading.Event()
    running, waiting = one.submit(go.wait, 5), one.submit(double, 1)
    waiting.cancel()
    go.set()
    assert running.result(5) is True
    with pytest.raises(Closed):
        waiting.result(5)
    assert one.tally() == (0, 1, 0, 1)


def test_an_error_and_a_wait_that_is_too_long_are_said(one):
    with pytest.raises(OperatorFailed, match="ZeroDivisionError"):
        one.submit(divmod, 1, 0).result(5)
    for error in (SystemExit, TimeoutError):
        with pytest.raises(OperatorFailed, match=f"raised {error.__name__}"):
            one.submit(fail, error).result(5)
    go = threading.Event()
    long = one.submit(go.wait, 5)
    with pytest.raises(PeerLost, match="not done in"):
        long.result(0.01)
    go.set()
    with pytest.raises(OperatorFailed, match="ZeroDivision"):
        one.submit(double, one.submit(divmod, 1, 0)).result(5)


def test_work_waits_for_its_arguments_and_holds_up_nobody_else():
    executor, go = ThreadExecutor(2), threading.Event()
    first = executor.submit(go.wait, 5)
    second = executor.submit(double, first, priority=1)
    third = executor.submit(double, second)
    assert executor.submit(double, 4).result(5) == 8
    assert second.state == third.state == "waiting"
    go.set()
    assert third.result(5) == 4
    go.clear()
    running = executor.submit(go.wait, 5)
    late = executor.submit(double, running)
    late.future.add_done_callback(lambda _: go.set())  # the close cancels it, and then waits for what runs
    executor.close()
    with pytest.raises(Closed):
        late.result(5)


def test_a_long_chain_that_waits_is_cancelled_whole_at_the_close(one, caplog):
    go = threading.Event()
    chain = [one.submit(go.wait, 5)]
    for _ in range(1500):
        chain.append(one.submit(double, chain[-1]))
    chain[1].future.add_done_callback(lambda _: go.set())  # the last that is cancelled
    one.close()
    assert one.tally() == (0, 1, 0, 1500)
    assert not caplog.records  # what callbacks raise is only logged


def test_a_closed_executor_takes_nothing():
    executor = ThreadExecutor(2)
    executor.close()
    with pytest.raises(Closed):
        executor.submit(double, 1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("work ")]


def test_certificates_are_of_one_authority_and_show_no_key():
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install -e '.[sites]'")
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    one, other = Authority(), Authority()
    made = one.issue()
    certificate = x509.load_pem_x509_certificate(made["worker"].certificate.encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(one.certificate.encode()))
    with pytest.raises(InvalidSignature):
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(other.certificate.encode()))
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc < datetime.timedelta(hours=5)
    assert made["worker"].key != made["scheduler"].key
    assert "PRIVATE" not in repr(made)


@pytest.fixture
def shake(tmp_path):
    """What makes a handshake of TLS between two that live on, as their files are then; raises what the client says."""
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install -e '.[sites]'")
    authority = Authority()
    own = {role: tmp_path / role for role in ("scheduler", "worker")}
    serving = Handshakes.of(authority.certificate, own["scheduler"], serves=True)
    dialling = Handshakes.of(authority.certificate, own["worker"], serves=False)

    def renew_and_shake(by=authority, minutes=1.0, roles=("scheduler", "worker")):
        made = by.issue(datetime.timedelta(minutes=minutes))
        for role in roles:
            own[role].write_bytes(made[role].pem)
        left = []
        with contextlib.ExitStack() as stack:
            for context, plain in zip((serving, dialling), socket.socketpair(), strict=True):
                plain.setblocking(False)
                left.append(stack.enter_context(context.wrap_socket(
                    plain, server_side=context is serving, do_handshake_on_connect=False)))
            for _ in range(8):
                for end in left[::-1]:
                    with contextlib.suppress(ssl.SSLWantReadError):
                        end.do_handshake()
                        left.remove(end)
        assert not left

    return renew_and_shake


def test_a_certificate_whose_time_is_over_is_refused_until_it_is_renewed(shake):
    shake()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(minutes=-1)
    shake()


def test_a_certificate_of_another_authority_is_refused(shake):
    shake()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(by=Authority(), roles=["scheduler"])
