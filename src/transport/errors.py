"""The one error tree of trilane.

Families say who must act::

    TransportError                    everything trilane raises about an upload
    ├── UsageError                    the caller: the call itself is wrong (also a ValueError)
    │   ├── InvalidUrl                not a URL this engine may dial
    │   ├── InvalidHeader             a header that is refused, or not representable
    │   └── InvalidFormValue          a form value that is not str, bool, int or float
    ├── SourceError                   the caller: the body cannot be read
    │   ├── SourceUnavailable         missing, unreadable, a directory, a FIFO …
    │   ├── SourceSizeChanged         it shrank or grew while it was being sent
    │   └── SourceNotRewindable       it must be sent again and cannot be
    ├── NetworkError                  the network
    │   ├── ResolveError              the name has no address
    │   ├── AddressRefused            `allow_address` permits no address of the host
    │   ├── ConnectError              no address could be connected to
    │   │   └── ProxyError            the proxy cannot be reached, or refused
    │   │       └── ProxyAuthenticationError  it wants other credentials
    │   ├── TlsError                  the TLS handshake failed
    │   │   └── CertificateError      the peer's certificate was refused
    │   └── ConnectionLost            an established connection broke
    ├── DeadlineExceeded              time (also a TimeoutError)
    │   ├── TotalTimeout              the whole upload took too long
    │   ├── PoolTimeout               no free slot or connection in time
    │   ├── ConnectTimeout            no connection in time
    │   ├── WriteTimeout              the peer stopped taking the body
    │   └── ReadTimeout               the peer stopped sending the response
    ├── ProtocolError                 the peer
    │   ├── RemoteProtocolError       it broke the rules of its protocol
    │   ├── StreamResetError          it reset this request's stream
    │   ├── ResponseTooLarge          it sends more than the configured limit
    │   └── ProtocolUnavailable       it does not speak the protocol that was asked for
    ├── RedirectError                 a redirect that cannot be followed
    ├── Aborted                       the caller aborted the upload
    └── ClientClosed                  the client was closed under the request

Errors carry machine-readable fields; the seed's `errMsg`/`errno` are derived from them by one
table in `trilane.api.error_table`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from .profile.moments import Attempt
    from .profile.profile import Profile


class Phase(StrEnum):
    """Where in the life of a request an error happened."""

    VALIDATE = "validate"
    QUEUE = "queue"
    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    SEND = "send"
    WAIT = "wait"
    RECEIVE = "receive"


class TransportError(Exception):
    """Base of everything trilane raises about an upload."""

    phase: Phase | None
    """Where it happened; None when not known."""
    retryable: bool
    """Whether the peer provably did not process the request, so that any method may be resent."""
    bytes_sent: int | None
    """Body bytes given to the operating system, when a body was being sent."""
    bytes_acked: int | None
    """Body bytes the peer's transport acknowledged, where the platform can tell."""
    profile: Profile | None
    """The partial profile of the failed request; set by the engine."""

    default_phase: Phase | None = None

    def __init__(
        self, message: str, *, phase: Phase | None = None, retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.phase = phase or self.default_phase
        self.retryable = retryable
        self.bytes_sent = None
        self.bytes_acked = None
        self.profile = None

    def fresh_copy(self) -> Self:
        """The same error as another instance: one would gather the tracebacks of all waiters."""
        copy = type(self).__new__(type(self))
        copy.args = self.args
        copy.__dict__.update(self.__dict__)
        copy.__cause__ = self.__cause__
        return copy


def defect(exc: Exception) -> TransportError:
    """The error for what should not have happened: a request ends by it, and not its client."""
    error = TransportError(f"trilane failed: {exc!r}")
    error.__cause__ = exc
    return error


class UsageError(TransportError, ValueError):
    """The call itself is wrong."""

    default_phase = Phase.VALIDATE


class InvalidUrl(UsageError):
    """The URL cannot be dialled by this engine."""


class InvalidHeader(UsageError):
    """A header is refused, or cannot be represented in HTTP."""


class InvalidFormValue(UsageError):
    """A form value is not a str, bool, int or float."""


class SourceError(TransportError):
    """The body cannot be read."""

    default_phase = Phase.SEND


class SourceUnavailable(SourceError):
    """The file is missing, unreadable, or not a regular file."""

    default_phase = Phase.VALIDATE


class SourceSizeChanged(SourceError):
    """The source shrank or grew while it was being sent.

    Attributes:
        declared_bytes: the size announced in Content-Length.
        actual_bytes: the size found while sending; at least this many when it grew.
    """

    def __init__(self, message: str, *, declared_bytes: int, actual_bytes: int) -> None:
        super().__init__(message)
        self.declared_bytes = declared_bytes
        self.actual_bytes = actual_bytes


class SourceNotRewindable(SourceError):
    """The body must be sent again (redirect, retry) and its source cannot be rewound."""


class NetworkError(TransportError):
    """The network failed.

    Attributes:
        attempts: the connection attempts that led to it; empty on an established connection.
    """

    attempts: tuple[Attempt, ...] = ()


class ResolveReason(StrEnum):
    """Why a name did not resolve."""

    UNKNOWN = "unknown"
    """The resolver did not say."""
    INVALID_NAME = "invalid name"
    """No such name can be asked for."""
    NO_SUCH_NAME = "no such name"
    """It does not exist (NXDOMAIN)."""
    NO_ADDRESS = "no address"
    """It exists, and has no address (NODATA)."""
    SERVER_FAILURE = "server failure"
    """The name server could not, or would not, find out (SERVFAIL, REFUSED and their like)."""
    BAD_ANSWER = "bad answer"
    """The name server's answer is no answer to the question, or breaks the rules."""
    UNREACHABLE = "unreachable"
    """The name server could not be asked."""


class ResolveError(NetworkError):
    """The host name has no address, or it could not be found out.

    Attributes:
        reason: why, as far as it is known.
    """

    default_phase = Phase.RESOLVE

    def __init__(self, message: str, *, reason: ResolveReason = ResolveReason.UNKNOWN) -> None:
        super().__init__(message)
        self.reason = reason


class AddressRefused(NetworkError):
    """The caller's `allow_address` permits no address of the host; nothing was sent to any."""

    default_phase = Phase.CONNECT


class ConnectError(NetworkError):
    """No address of the host could be connected to.

    Attributes:
        refused: every address answered, and said that nobody listens on that port.
    """

    default_phase = Phase.CONNECT
    refused: bool = False


class ProxyError(ConnectError):
    """The proxy cannot be reached, broke its protocol, or refused to connect to the host.

    Attributes:
        proxy: the proxy's URL, without credentials.
        status: the HTTP status it refused with.
        reply: the SOCKS5 reply code it refused with (RFC 1928 §6).
    """

    def __init__(
        self, message: str, *, proxy: str, status: int | None = None, reply: int | None = None
    ) -> None:
        super().__init__(message)
        self.proxy = proxy
        self.status = status
        self.reply = reply


class ProxyAuthenticationError(ProxyError):
    """The proxy wants a user name and password, or others than it was given."""


class TlsError(NetworkError):
    """The TLS handshake failed."""

    default_phase = Phase.TLS


class CertificateError(TlsError):
    """The peer's certificate was refused."""


class ConnectionLost(NetworkError):
    """An established connection broke.

    Attributes:
        before_response: not a single byte of the response had arrived; on a reused connection this
            almost always means that the server had closed it while it was idle.
        cut_off: the network, and neither side, ended it before the request had been sent whole, so
            that no server takes it for complete (HTTP/3 only: TCP does not tell).
    """

    cut_off: bool = False

    def __init__(
        self,
        message: str,
        *,
        phase: Phase | None = None,
        retryable: bool = False,
        before_response: bool = False,
    ) -> None:
        super().__init__(message, phase=phase, retryable=retryable)
        self.before_response = before_response


class DeadlineExceeded(TransportError, TimeoutError):
    """Something took longer than its timeout."""


class TotalTimeout(DeadlineExceeded):
    """The whole upload took longer than `timeout`."""


class PoolTimeout(DeadlineExceeded):
    """No free slot or connection within `pool_s`."""

    default_phase = Phase.QUEUE


class ConnectTimeout(DeadlineExceeded):
    """No connection within `connect_s`.

    Attributes:
        attempts: the connection attempts made until then.
    """

    default_phase = Phase.CONNECT
    attempts: tuple[Attempt, ...] = ()


class WriteTimeout(DeadlineExceeded):
    """The peer took no byte of the request for `write_idle_s`."""

    default_phase = Phase.SEND


class ReadTimeout(DeadlineExceeded):
    """The peer sent no byte of the response for `read_idle_s`."""

    default_phase = Phase.WAIT


class ProtocolError(TransportError):
    """The peer's protocol behaviour ended the request."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules of its protocol."""


class StreamResetError(ProtocolError):
    """The peer reset this request's stream.

    Attributes:
        error_code: the HTTP/2 or HTTP/3 error code it gave.
    """

    def __init__(
        self, message: str, *, error_code: int, phase: Phase | None = None, retryable: bool = False
    ) -> None:
        super().__init__(message, phase=phase, retryable=retryable)
        self.error_code = error_code


class ResponseTooLarge(ProtocolError):
    """The response is larger than the configured limit."""

    default_phase = Phase.RECEIVE


class ProtocolUnavailable(ProtocolError):
    """The origin does not speak the protocol that was asked for, and no other was allowed."""

    default_phase = Phase.CONNECT


class RedirectError(TransportError):
    """A redirect cannot be followed."""

    default_phase = Phase.RECEIVE


class Aborted(TransportError):
    """The caller aborted the upload."""


class ClientClosed(TransportError):
    """The client was closed while, or before, the request ran."""
