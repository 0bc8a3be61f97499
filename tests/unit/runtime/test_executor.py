import contextlib
import datetime
import ssl
import threading

import pytest

from camlink.errors import Closed, InputError, OperatorFailed, PeerLost
from camlink.runtime.cluster.certificates import make_certificates
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
    threading.Timer(0.05, go.set).start()
    executor.close()
    with pytest.raises(Closed):
        late.result(5)


def test_a_long_chain_that_waits_is_cancelled_whole_at_the_close(one, caplog):
    go = threading.Event()
    chain = [one.submit(go.wait, 5)]
    for _ in range(1500):
        chain.append(one.submit(double, chain[-1]))
    threading.Timer(0.05, go.set).start()
    one.close()
    assert one.tally() == (0, 1, 0, 1500)
    assert not caplog.records  # what callbacks raise is only logged


def test_a_closed_executor_takes_nothing():
    executor = ThreadExecutor(2)
    executor.close()
    with pytest.raises(Closed):
        executor.submit(double, 1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("work ")]
    with pytest.raises(InputError):
        ThreadExecutor(0)


def test_certificates_are_of_one_authority_and_show_no_key():
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install -e '.[sites]'")
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    authority, made = make_certificates(("scheduler", "worker"))
    other, _ = make_certificates(("worker",))
    certificate = x509.load_pem_x509_certificate(made["worker"].certificate.encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    with pytest.raises(InvalidSignature):
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(other.encode()))
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days <= 1
    assert made["worker"].key != made["scheduler"].key
    assert "PRIVATE" not in repr(made)


def shake(server, client, folder):
    """A handshake of TLS, as Dask makes it of two passes; raises what the client says."""
    ends = []
    for mine, purpose in ((server, ssl.Purpose.CLIENT_AUTH), (client, ssl.Purpose.SERVER_AUTH)):
        (folder / mine.role).write_text(mine.certificate + mine.key)
        context = ssl.create_default_context(purpose, cadata=mine.authority)
        context.load_cert_chain(folder / mine.role)
        context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
        ends.append((context, ssl.MemoryBIO(), ssl.MemoryBIO()))
    (one, a, b), (two, _, _) = ends
    serves, asks = one.wrap_bio(a, b, server_side=True), two.wrap_bio(b, a)
    left = [serves, asks]
    for _ in range(8):
        for end in left[:]:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                left.remove(end)
    assert not left


def test_a_certificate_whose_time_is_over_is_refused(tmp_path):
    pytest.importorskip("cryptography", reason="cryptography is not installed: pip install -e '.[sites]'")
    _, made = make_certificates(("scheduler", "worker"))
    shake(made["scheduler"], made["worker"], tmp_path)
    _, old = make_certificates(("scheduler", "worker"), datetime.timedelta(minutes=-1))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(old["scheduler"], old["worker"], tmp_path)
