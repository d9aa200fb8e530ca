"""What a redirect asks for (Fetch §4.4 "HTTP-redirect fetch", RFC 9110 §15.4)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin

from ..errors import InvalidUrl, RedirectError
from ..message import Headers, ResponseHead, Url, parse_url, without_secrets

REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
#: Fetch: a fetch follows at most 20 redirects.
MAX_REDIRECTS = 20
# Fetch drops these with the body, and the credentials when the origin changes.
_BODY_FIELDS = frozenset(
    {"content-encoding", "content-language", "content-location", "content-type"}
)
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirection:
    """The request a redirect turns into."""

    method: str
    url: Url
    headers: Headers
    keeps_body: bool


def redirection(
    method: str, url: Url, headers: Headers, head: ResponseHead, *, may_leave_https: bool = False
) -> Redirection | None:
    """The next request, or None when the response is no redirect.

    Raises:
        RedirectError: the target is no http(s) URL, or leaves https for http without being allowed.
    """
    if head.status not in REDIRECT_STATUSES:
        return None
    location = head.headers.get("location")
    if location is None:
        return None
    target = _target(url, location, may_leave_https=may_leave_https)
    keeps_body = not _becomes_get(method, head.status)
    dropped = frozenset[str]() if keeps_body else _BODY_FIELDS
    if target.origin != url.origin:
        dropped |= _CREDENTIALS
    return Redirection(
        method=method if keeps_body else "GET",
        url=target,
        headers=Headers([f for f in headers.fields if f[0].lower() not in dropped]),
        keeps_body=keeps_body,
    )


def _target(url: Url, location: str, *, may_leave_https: bool) -> Url:
    try:
        target = parse_url(urljoin(str(url), location))
    except InvalidUrl as exc:
        raise RedirectError(f"redirect to {without_secrets(location)!r}: {exc}") from exc
    except ValueError:  # `urljoin` has no other word, and quotes what may be a password
        raise RedirectError(
            f"redirect to {without_secrets(location)!r}: the host cannot be read"
        ) from None
    if url.origin.secure and not (target.origin.secure or may_leave_https):
        raise RedirectError(
            f"redirect from https to {target.origin}: refused, it would go in clear"
        )
    return target


def _becomes_get(method: str, status: int) -> bool:
    if status == 303:
        return method not in {"GET", "HEAD"}
    return status in {301, 302} and method == "POST"
