"""Calls are repeated for as long as that can help, and every repetition is counted."""

import errno
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from pipelines.storage import retry
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.retry import FIRST_PAUSE_S, LONGEST_PAUSE_S, RetryCount, with_retries


class Clock:
    """Time that passes in ``sleep`` alone."""

    def __init__(self):
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(retry, "time", made)
    return made


class Failing:
    """Raises the errors one after the other, then returns ``"done"``."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.n_calls = 0

    def __call__(self):
        self.n_calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def client_error(status, code):
    answer = {
        "Error": {"Code": code, "Message": f"told {code}"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "GetObject")


def test_what_succeeds_is_called_once(clock):
    call, count = Failing(), RetryCount()
    assert with_retries(call, "reading x") == "done"
    assert (call.n_calls, count.n, clock.pauses) == (1, 0, [])


def test_what_fails_and_passes_is_called_again_and_counted(clock):
    call, count = (
        Failing(TimeoutError(), ConnectionResetError(), client_error(500, "InternalError")),
        RetryCount(),
    )
    assert with_retries(call, "reading x") == "done"
    assert (call.n_calls, count.n, len(clock.pauses)) == (4, 3, 3)


def test_every_repetition_is_told_at_info(clock, caplog):
    with caplog.at_level(logging.INFO, "pipelines.storage.retry"):
        with_retries(Failing(client_error(503, "SlowDown")), "reading s3://b/k")
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "reading s3://b/k" in record.message
    assert "told SlowDown" in record.message


def test_pauses_double_up_to_a_bound_and_are_never_the_same(clock):
    with_retries(Failing(*[TimeoutError() for _ in range(12)]), "x", patience_s=1e6)
    for i, pause_s in enumerate(clock.pauses):
        whole_s = min(FIRST_PAUSE_S * 2**i, LONGEST_PAUSE_S)
        assert 0.5 * whole_s <= pause_s <= whole_s
    at_the_bound = clock.pauses[-6:]
    assert len(set(at_the_bound)) == 6, "many workers must not all come back at once"


@given(patience_s=st.floats(0, 1000))
def test_patience_bounds_the_time_and_is_used(patience_s):
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry, "time", clock)
        with pytest.raises(StoreUnavailable):
            with_retries(Failing(*[TimeoutError() for _ in range(1000)]), "x", patience_s)
    spent_s = sum(clock.pauses)
    assert spent_s <= patience_s
    assert spent_s >= patience_s - LONGEST_PAUSE_S


def test_the_end_of_patience_is_told_with_its_cause(clock):
    with pytest.raises(StoreUnavailable, match=r"reading x: no answer in 3 s: .*told SlowDown"):
        with_retries(
            Failing(*[client_error(503, "SlowDown") for _ in range(99)]),
            "reading x",
            patience_s=3.0,
        )


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"]
)
def test_refused_credentials_end_it_at_once(code, clock):
    call, count = Failing(client_error(403, code)), RetryCount()
    with pytest.raises(AccessDenied, match=r"reading x: .*check AWS_ACCESS_KEY_ID"):
        with_retries(call, "reading x")
    assert (call.n_calls, count.n, clock.pauses) == (1, 0, [])


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no such key"),
        PermissionError("not yours"),
        FileExistsError("already"),
        OSError(errno.EIO, "broken disk"),
        client_error(404, "NoSuchKey"),
        client_error(412, "PreconditionFailed"),
        AccessDenied("told before"),
        StoreUnavailable("told before"),
        ZeroDivisionError("a defect"),
    ],
    ids=repr,
)
def test_other_errors_pass_through_untouched(error, clock):
    call, count = Failing(error), RetryCount()
    with pytest.raises(type(error)) as raised:
        with_retries(call, "reading x")
    assert raised.value is error
    assert (call.n_calls, count.n) == (1, 0)


def test_a_count_begins_where_it_was_made(clock):
    before = RetryCount()
    with_retries(Failing(TimeoutError()), "x")
    after = RetryCount()
    with_retries(Failing(TimeoutError(), TimeoutError()), "x")
    assert (before.n, after.n) == (3, 2)


def test_repetitions_in_threads_are_all_counted(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 1e-4)
    monkeypatch.setattr(retry, "LONGEST_PAUSE_S", 1e-4)
    count = RetryCount()

    def work(_):
        call: Callable[[], str] = Failing(*[TimeoutError() for _ in range(50)])
        return with_retries(call, "x")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == ["done"] * 16
    assert count.n == 16 * 50
