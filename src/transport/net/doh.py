"""DNS over HTTPS (RFC 8484), but for the exchange, which stands above and is passed in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from ..errors import ProtocolError, ResolveError, ResolveReason, TransportError
from ..policy.dns_message import query_message, read_answer
from ..policy.dns_records import Answer, Kind, Question

MEDIA_TYPE = "application/dns-message"


@dataclass(frozen=True, slots=True)
class DohReply:
    """What a server answered."""

    status: int
    content_type: str
    age_s: int
    """How long it lay in caches on the way."""
    message: bytes


class DohSource:
    """Asks a name server over HTTPS; see `flights.AnswerSource`."""

    # AAAA first (RFC 8305 §3).
    kinds = (Kind.AAAA, Kind.A)
    offers_services = True
    over_https = True

    def __init__(self, server: str, ask: Callable[[bytes], Awaitable[DohReply]]) -> None:
        """Of a server.

        Args:
            server: its URL, for messages.
            ask: sends it a DNS message, or raises a `TransportError`.
        """
        self._server = server
        self._ask = ask

    async def answer(self, question: Question) -> Answer:
        """Find out; the answer's age counts (RFC 8484 §5.1)."""
        message = query_message(question)
        whom = f"cannot resolve {question.name!r}: {self._server}"
        try:
            reply = await self._ask(message)
        except TransportError as error:
            broke_rules = isinstance(error, ProtocolError)
            raise ResolveError(
                f"{whom} could not be asked: {error}",
                reason=ResolveReason.BAD_ANSWER if broke_rules else ResolveReason.UNREACHABLE,
            ) from error
        if reply.status != 200:
            raise ResolveError(
                f"{whom} answered with status {reply.status}", reason=ResolveReason.SERVER_FAILURE
            )
        if reply.content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise ResolveError(
                f"{whom} answered with {reply.content_type!r}, not with {MEDIA_TYPE}",
                reason=ResolveReason.BAD_ANSWER,
            )
        answer = read_answer(question, reply.message)
        return replace(answer, ttl_s=max(answer.ttl_s - reply.age_s, 0.0))
