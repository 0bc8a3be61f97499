import threading

import pytest

from camlink.errors import Closed, InputError, OperatorFailed, PeerLost
from camlink.runtime.certificates import make_certificates
from camlink.runtime.executor import ThreadExecutor


@pytest.fixture
def one():
    executor = ThreadExecutor(1)
    yield executor
    executor.close()


def double(x):
    return 2 * x


def test_work_is_done_and_a_handle_stands_for_its_result(one):
    first = one.submit(double, 3)
    assert one.submit(double, first).result(5) == 12
    assert [handle.result(5) for handle in one.map(double, range(4))] == [0, 2, 4, 6]
    assert one.tally() == (0, 6, 0, 0)


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
    go = threading.Event()
    long = one.submit(go.wait, 5)
    with pytest.raises(PeerLost, match="not done in"):
        long.result(0.01)
    go.set()
    with pytest.raises(OperatorFailed, match="ZeroDivision"):
        one.submit(double, one.submit(divmod, 1, 0)).result(5)


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
