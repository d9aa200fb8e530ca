"""From the arguments of a face to the `Call` the engine carries out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypedDict, get_args

from ..transport.body import Body
from ..transport.call import Call
from ..transport.config import Preference, RetryStale, Timeouts
from ..transport.connections.exchange import Progress
from ..transport.errors import UsageError
from ..transport.form import FormInput
from ..transport.message import HeaderInput, Headers, ResponseHead, Url, parse_url
from ..transport.multipart import Part, multipart_body
from ..transport.policy.redirect import REDIRECT_STATUSES
from ..transport.sources import FileInput, content_body
from .client_options import (
    ProtocolInput,
    TimeoutInput,
    preference_of,
    refuse_unknown,
    timeouts_of,
)
from .quiet import quiet
from .request_headers import request_fields, upload_fields

_RETRY_STALE = get_args(RetryStale)


class CallOptions(TypedDict, total=False):
    """What every upload and request may be given by keyword."""

    headers: HeaderInput | None
    """Header fields beside the ones trilane sends by itself."""
    protocol: ProtocolInput
    """`auto` (default), `http/1.1`, `h2`, `h3`, or a `Preference`."""
    timeout: TimeoutInput
    """Seconds, `Timeouts` or None; the client's when left out."""
    on_progress: Callable[[Progress], object] | None
    """Called on the way of the body; must be quick. What it raises is logged."""
    on_headers: Callable[[ResponseHead], object] | None
    """Called with the head of the response, before its body. What it raises is logged."""
    expect_continue: bool
    """Ask the server with `Expect: 100-continue` before sending the body (default False)."""
    retry_stale: RetryStale
    """Whether to send again when a reused connection turns out to be dead: `always` (default, as
    browsers and WeChat do), `idempotent` or `never`."""
    follow_redirects: bool
    """Default True."""
    insecure_redirects: bool
    """Whether a redirect may lead from https to http, where everybody on the way can read along;
    default False: it is a `RedirectError`."""
    early_data: bool
    """Whether it may be sent as replayable 0-RTT data (RFC 8470); default False."""
    high_performance: bool
    """Whether bulk senders may carry the body; default True."""
    profile: bool
    """Whether the response gets its profile; default True. Without it nothing is measured that only
    a profile shows: over TCP, `Progress.acked` and an error's `bytes_acked` are then None."""


class UploadOptions(CallOptions, total=False):
    """What an upload may be given by keyword."""

    name: str
    """Name of the form field that holds `file`; default `file`."""
    form: FormInput | None
    """Form fields, sent before the files; str as it is, bool, int and float as JavaScript writes
    them."""
    files: Iterable[Part]
    """Files with names of their own, after `file`."""
    filename: str | None
    """File name sent with `file`; default the path's last component."""
    content_type: str | None
    """Media type sent with `file`; default by its file name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDefaults:
    """What a client's own options say about each of its calls."""

    preference: Preference = field(default_factory=Preference)
    timeouts: Timeouts = field(default_factory=Timeouts)


async def upload_call(
    url: str, file: FileInput | None, options: UploadOptions, defaults: CallDefaults
) -> Call:
    """A multipart POST.

    Raises:
        TransportError: an argument cannot be sent, or a file cannot be read.
        TypeError: there is no such option.
    """
    refuse_unknown(options, UploadOptions.__optional_keys__)
    target = parse_url(url)
    parts = _parts(file, options)
    body = await multipart_body(options.get("form") or (), parts)
    headers = upload_fields(options.get("headers"), body.content_type)
    return _call("POST", target, options, defaults, headers=headers, body=body)


async def request_call(
    method: str,
    url: str,
    content: FileInput | None,
    options: CallOptions,
    defaults: CallDefaults,
) -> Call:
    """A request with any method and body.

    Raises:
        TransportError: an argument cannot be sent, or a file cannot be read.
        TypeError: there is no such option.
    """
    refuse_unknown(options, CallOptions.__optional_keys__)
    target = parse_url(url)
    headers = request_fields(options.get("headers"))
    body = None if content is None else await content_body(content)
    return _call(_checked_method(method), target, options, defaults, headers=headers, body=body)


def _call(
    method: str,
    url: Url,
    options: CallOptions,
    defaults: CallDefaults,
    *,
    headers: Headers,
    body: Body | None,
) -> Call:
    retry_stale = options.get("retry_stale", "always")
    if retry_stale not in _RETRY_STALE:
        raise UsageError(f"retry_stale {retry_stale!r} is none of {_RETRY_STALE}")
    return Call(
        method=method,
        url=url,
        headers=headers,
        body=body,
        preference=preference_of(options.get("protocol", "auto"), defaults.preference),
        timeouts=timeouts_of(options["timeout"]) if "timeout" in options else defaults.timeouts,
        expect_continue=options.get("expect_continue", False),
        retry_stale=retry_stale,
        follow_redirects=options.get("follow_redirects", True),
        insecure_redirects=options.get("insecure_redirects", False),
        high_performance=options.get("high_performance", True),
        early_data=options.get("early_data", False),
        profile=options.get("profile", True),
        on_progress=quiet(options["on_progress"]) if "on_progress" in options else None,
        on_head=_on_head(options) if "on_headers" in options else None,
    )


def _on_head(options: CallOptions) -> Callable[[ResponseHead], None] | None:
    """Leave out the heads of redirects that are followed: the response is the last one's."""
    tell = quiet(options.get("on_headers"))
    if tell is None or not options.get("follow_redirects", True):
        return tell

    def tell_unless_redirect(head: ResponseHead) -> None:
        if head.status not in REDIRECT_STATUSES or "location" not in head.headers:
            tell(head)

    return tell_unless_redirect


def _parts(file: FileInput | None, options: UploadOptions) -> list[Part]:
    more = list(options.get("files", ()))
    if file is None:
        if not more:
            raise UsageError("there is nothing to upload: give a file, or files=[Part(...)]")
        return more
    first = Part(
        options.get("name", "file"),
        file,
        filename=options.get("filename"),
        content_type=options.get("content_type"),
    )
    return [first, *more]


def _checked_method(method: str) -> str:
    # RFC 9110 §9.1: a token. CONNECT asks for a tunnel, which is no request with a response.
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", method) or method == "CONNECT":
        raise UsageError(f"method {method!r} cannot be sent")
    return method
