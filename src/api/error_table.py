"""The seed's `errMsg` and `errno` for every error: one table, nothing decided anywhere else.

The numbers are WeChat's public `errno` values; the `net::` names and their numbers are Chromium's
(net/base/net_error_list.h), which WeChat's network component puts behind errno 600001. A class
without a row of its own takes the nearest base class's.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TypedDict

from ..transport import errors


class SeedFailure(TypedDict):
    """What `fail` is called with."""

    errMsg: str
    errno: int


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of errors reads in the seed's vocabulary."""

    errno: int
    reason: str
    """What follows `uploadFile:fail `."""
    detailed: bool = True
    """Whether the error's own message follows the reason. Programs compare the texts of `abort`
    and `timeout`, so these two stand alone."""


CANCELLED = 1
INTERNAL_ERROR = 4
TIME_OUT = 5
INVALID_PARAMETER = 1001
UNKNOWN = 600000
NETWORK_COMPONENT = 600001
INTERRUPTED = 600003
ARGUMENT = 600005
TOO_MANY_REDIRECTS = 600008
INVALID_URL = 600009
INVALID_DATA = 600010
BUFFER_LIMIT = 602300

_TIMEOUT = Row(TIME_OUT, "timeout", detailed=False)
_INTERNAL = Row(INTERNAL_ERROR, "internal error")


def _component(code: int, name: str) -> Row:
    return Row(NETWORK_COMPONENT, f"upload fail:{code}:net::{name}")


ROWS: MappingProxyType[type, Row] = MappingProxyType(
    {
        errors.TransportError: Row(UNKNOWN, "unknown network error"),
        errors.UsageError: Row(INVALID_PARAMETER, "parameter error"),
        errors.InvalidUrl: Row(INVALID_URL, "invalid URL"),
        errors.InvalidHeader: Row(ARGUMENT, "invalid header"),
        errors.InvalidFormValue: Row(INVALID_DATA, "invalid formData"),
        errors.SourceError: Row(INVALID_DATA, "file cannot be read"),
        errors.SourceUnavailable: Row(INVALID_PARAMETER, "file not found"),
        errors.SourceSizeChanged: Row(INVALID_DATA, "file changed"),
        errors.SourceNotRewindable: Row(INVALID_DATA, "file cannot be sent again"),
        errors.NetworkError: _component(-2, "ERR_FAILED"),
        errors.ResolveError: _component(-105, "ERR_NAME_NOT_RESOLVED"),
        errors.AddressRefused: _component(-20, "ERR_BLOCKED_BY_CLIENT"),
        errors.ConnectError: _component(-104, "ERR_CONNECTION_FAILED"),
        errors.ProxyError: _component(-130, "ERR_PROXY_CONNECTION_FAILED"),
        errors.ProxyAuthenticationError: _component(-127, "ERR_PROXY_AUTH_REQUESTED"),
        errors.TlsError: _component(-107, "ERR_SSL_PROTOCOL_ERROR"),
        errors.CertificateError: _component(-207, "ERR_CERT_INVALID"),
        errors.ConnectionLost: _component(-101, "ERR_CONNECTION_RESET"),
        errors.DeadlineExceeded: _TIMEOUT,
        errors.TotalTimeout: _TIMEOUT,
        errors.PoolTimeout: _TIMEOUT,
        errors.ConnectTimeout: _TIMEOUT,
        errors.WriteTimeout: _TIMEOUT,
        errors.ReadTimeout: _TIMEOUT,
        errors.ProtocolError: _component(-320, "ERR_INVALID_RESPONSE"),
        errors.RemoteProtocolError: _component(-320, "ERR_INVALID_RESPONSE"),
        errors.StreamResetError: Row(NETWORK_COMPONENT, "upload fail:stream reset by the peer"),
        errors.ResponseTooLarge: Row(BUFFER_LIMIT, "response too large"),
        errors.ProtocolUnavailable: Row(NETWORK_COMPONENT, "upload fail:protocol unavailable"),
        errors.RedirectError: Row(TOO_MANY_REDIRECTS, "redirect cannot be followed"),
        errors.Aborted: Row(CANCELLED, "abort", detailed=False),
        errors.ClientClosed: Row(INTERRUPTED, "fail:network interrupted error"),
    }
)


def row_for(error: BaseException) -> Row:
    """The row of the error's class, or of its nearest base class that has one.

    What is no `TransportError` at all is a fault inside trilane: errno 4, internal error.
    """
    return next((ROWS[kind] for kind in type(error).__mro__ if kind in ROWS), _INTERNAL)


def seed_failure(error: BaseException) -> SeedFailure:
    """What the seed's `fail` says about an error."""
    row = row_for(error)
    detail = f": {error}" if row.detailed and str(error) else ""
    return {"errMsg": f"uploadFile:fail {row.reason}{detail}", "errno": row.errno}
