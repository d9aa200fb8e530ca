"""When a failed request is sent again."""

from __future__ import annotations

import pytest

from trilane.transport.config import RetryStale
from trilane.transport.errors import ConnectionLost, ReadTimeout, StreamResetError, TransportError
from trilane.transport.policy.retry import MAX_UNPROCESSED_RETRIES, Failure, may_retry

STALE = ConnectionLost("closed", before_response=True)
CUT_OFF = ConnectionLost("moved", before_response=True)
CUT_OFF.cut_off = True


def failure(
    error: TransportError,
    *,
    method: str = "POST",
    rewindable: bool = True,
    reused: bool = True,
    retries: int = 0,
) -> Failure:
    return Failure(
        error=error,
        method=method,
        rewindable=rewindable,
        reused_connection=reused,
        retries=retries,
    )


@pytest.mark.parametrize(
    ("policy", "method", "expected"),
    [
        ("always", "POST", True),
        ("always", "PUT", True),
        ("idempotent", "POST", False),
        ("idempotent", "PUT", True),
        ("never", "PUT", False),
    ],
)
def test_a_stale_connection_is_retried_as_the_policy_says(
    policy: RetryStale, method: str, expected: bool
) -> None:
    assert may_retry(failure(STALE, method=method), policy) is expected
    cut_off = failure(CUT_OFF, method=method, reused=False)
    assert may_retry(cut_off, policy) is expected


@pytest.mark.parametrize(
    "case",
    [
        failure(STALE, reused=False),
        failure(STALE, retries=1),
        failure(STALE, rewindable=False),
        failure(CUT_OFF, retries=1),
        failure(CUT_OFF, rewindable=False),
        failure(ConnectionLost("in the middle of the response")),
        failure(ReadTimeout("slow")),
    ],
)
def test_everything_else_is_the_callers_to_know(case: Failure) -> None:
    assert not may_retry(case, "always")


def test_what_the_peer_did_not_process_is_resent_whatever_the_policy_but_not_for_ever() -> None:
    refused = StreamResetError("refused", error_code=7, retryable=True)

    assert may_retry(failure(refused, reused=False), "never")
    assert not may_retry(failure(refused, retries=MAX_UNPROCESSED_RETRIES), "never")
    assert not may_retry(failure(refused, rewindable=False), "always")
