"""Whether a failed request may be sent again without the caller's knowing."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import RetryStale
from ..errors import ConnectionLost, TransportError

#: RFC 9110 §9.2.2.
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
#: A request proven unprocessed is resent this often; a server that refuses more is not going to
#: take it (Chromium bounds such retries likewise).
MAX_UNPROCESSED_RETRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed try and its circumstances."""

    error: TransportError
    method: str
    rewindable: bool
    """There is no body, or it can be sent again."""
    reused_connection: bool
    retries: int
    """Tries before this one."""


def may_retry(failure: Failure, policy: RetryStale) -> bool:
    """Decide whether to send the request again on a fresh connection.

    Three cases: the peer promised not to have processed it (any method: RFC 9113 §8.7, RFC 9114
    §4.1.1); a reused connection died before any response byte, which almost always means that the
    server closed it while it was idle; or the network cut it off before it was sent whole. The
    second and third are guesses, so they are made once and only as far as the policy goes;
    "always" is what WeChat's stack and the browsers do.
    """
    if not failure.rewindable:
        return False
    if failure.error.retryable:
        return failure.retries < MAX_UNPROCESSED_RETRIES
    unheard = (
        isinstance(failure.error, ConnectionLost)
        and failure.error.before_response
        and (failure.reused_connection or failure.error.cut_off)
        and failure.retries == 0
    )
    return unheard and (
        policy == "always" or (policy == "idempotent" and failure.method in IDEMPOTENT_METHODS)
    )
