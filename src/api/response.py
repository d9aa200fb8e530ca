"""The response of an upload or request, as the Python API gives it (names follow httpx)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..transport.call import Outcome
from ..transport.config import HttpVersion
from ..transport.message import Headers
from ..transport.profile.profile import Profile, fold
from ..transport.profile.recorder import Recorder
from .charset import decode

_HTTP_VERSIONS = {
    HttpVersion.HTTP1: "HTTP/1.1",
    HttpVersion.HTTP2: "HTTP/2",
    HttpVersion.HTTP3: "HTTP/3",
}


@dataclass(frozen=True, kw_only=True, init=False)
class Response:
    """A complete response; its body is in memory and was not content-decoded."""

    status_code: int
    headers: Headers
    content: bytes = field(repr=False)
    """The body, as it came."""
    trailers: Headers = field(repr=False)
    url: str = field(repr=False)
    """Where it came from, after redirects; `repr` leaves it out, since a query may be a secret."""
    http_version: str
    """`HTTP/1.1`, `HTTP/2` or `HTTP/3`."""
    profile: Profile | None = field(repr=False)
    """What happened when; None when the call was made with `profile=False`."""

    def __init__(
        self,
        *,
        status_code: int,
        headers: Headers,
        content: bytes,
        trailers: Headers,
        url: str,
        http_version: str,
        profile: Profile | None,
    ) -> None:
        # In one step: frozen, each field would take a call.
        self.__dict__.update(
            status_code=status_code,
            headers=headers,
            content=content,
            trailers=trailers,
            url=url,
            http_version=http_version,
            profile=profile,
        )

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code <= 299

    @cached_property
    def text(self) -> str:
        """The body as text: its charset, else UTF-8; one byte order mark dropped."""
        return decode(self.content, self.headers.get("content-type"))

    @property
    def cookies(self) -> list[str]:
        """Every `Set-Cookie` field, unparsed (trilane keeps no cookies)."""
        return self.headers.get_list("set-cookie")

    def json(self) -> Any:
        """The body parsed as JSON.

        Raises:
            ValueError: it is not JSON (`json.JSONDecodeError`).
        """
        return json.loads(self.text)


def response_of(outcome: Outcome, record: Recorder | None) -> Response:
    """Dress what the engine returned."""
    return Response(
        status_code=outcome.head.status,
        headers=outcome.head.headers,
        content=outcome.body,
        trailers=outcome.trailers,
        url=outcome.url.text,
        http_version=_HTTP_VERSIONS[outcome.version],
        profile=None if record is None else fold(record),
    )
