"""From `TlsOptions` to something that makes TLS connections, with its own ALPN list each time."""

from __future__ import annotations

import os
import ssl
import sys
import warnings
from dataclasses import dataclass

import anyio.to_thread

from ..config import TlsOptions
from ..errors import TlsError, UsageError
from ..pins import Pins
from .tls_errors import tls_reason
from .tls_secrets import SecretLog

#: Contexts kept; loading the system's trust store takes 5-30 ms, a one-shot upload should not pay
#: it twice.
_KEPT_CONTEXTS = 16

_MINIMUM_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

FileStamp = tuple[int, int, int]
_Key = tuple[TlsOptions, tuple[str, ...], tuple[FileStamp, ...]]
_contexts: dict[_Key, TlsSetup] = {}

# What OpenSSL copies from a context into a new connection, as far as a client has use for it. All
# the rest is looked up in the context the connection belongs to.
_COPIED_SETTINGS = (
    "verify_flags",
    "options",
    "minimum_version",
    "maximum_version",
    "hostname_checks_common_name",
    "post_handshake_auth",
)


@dataclass(frozen=True, slots=True)
class TlsSetup:
    """Makes the TLS side of a connection."""

    context: ssl.SSLContext
    alpn: tuple[str, ...]
    """Protocols offered, preferred first; empty to offer none."""
    pins: Pins = frozenset()
    """Keys that the peer must have."""
    owner: ssl.SSLContext | None = None
    """The user's context, which the connection is handed over to before its first byte."""
    secrets: SecretLog | None = None
    """What the context logs, when it is ours."""

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, host: str) -> ssl.SSLObject:
        """A client-side TLS object for `host`; no handshake yet.

        OpenSSL checks a certificate against an IP address when the host is one, and sends no SNI
        then (RFC 6066 §3). The dot that ends an absolute name is no part of either.

        Raises:
            UsageError: the user's context is a server's.
            TlsError: OpenSSL cannot ask for such a host name.
        """
        try:
            wrapped = self.context.wrap_bio(
                incoming, outgoing, server_hostname=host.removesuffix(".")
            )
        except ssl.SSLError as exc:
            raise UsageError(f"the given SSLContext cannot connect to a server: {exc}") from exc
        except ValueError as exc:  # UnicodeError is one
            raise TlsError(f"{host!r} is no host name that TLS can ask for: {exc}") from exc
        if self.owner is not None:
            wrapped.context = self.owner
        return wrapped


async def tls_setup(options: TlsOptions, alpn: tuple[str, ...]) -> TlsSetup:
    """Build what `options` ask for, or take it from the cache; files are read in a worker thread.

    A user's `ssl.SSLContext` is never changed. ALPN, alas, belongs to a context in Python, so the
    connection is born in a context of ours, with the wanted ALPN list and the user's settings, and
    handed over to the user's (`SSLObject.context`) before the handshake: trust store, client
    certificate, ciphers and key log are the user's own objects. Lost are only a curve set by
    `set_ecdh_curve` and PSK callbacks. A context of a subclass is used as it is, ALPN included:
    such classes (truststore's, for one) replace `wrap_bio`. `keylog_path` does not reach a user's
    context; set its `keylog_filename`.

    Raises:
        UsageError: a file is missing, unreadable or not what it should be, or options contradict
            each other.
    """
    if isinstance(options.verify, ssl.SSLContext):
        return _setup_of_user(options, options.verify, alpn)
    key = (options, alpn, file_stamps(options))
    setup = _contexts.get(key)
    if setup is None:
        setup = await anyio.to_thread.run_sync(_build, options, alpn)
        while len(_contexts) >= _KEPT_CONTEXTS:
            _contexts.pop(next(iter(_contexts)), None)
        _contexts[key] = setup
    return setup


def file_stamps(options: TlsOptions) -> tuple[FileStamp, ...]:
    """What tells that a file was replaced, as short-lived client certificates are.

    Raises:
        UsageError: a file is missing.
    """
    names = (options.verify, options.cert, options.key)
    return tuple(file_stamp(name) for name in names if isinstance(name, str))


def file_stamp(path: str) -> FileStamp:
    """What tells whether a file is the one it was.

    Raises:
        UsageError: it is missing.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - a str, as OpenSSL wants it
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read {path!r}: {_reason(exc)}") from exc
    return found.st_mtime_ns, found.st_size, found.st_ino


def choose_ciphers(context: ssl.SSLContext, ciphers: str | None) -> None:
    """Set the cipher suites, and what security level goes with them (`@SECLEVEL=2`).

    Raises:
        UsageError: OpenSSL knows none of them.
    """
    if ciphers is None:
        return
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError as exc:
        raise UsageError(f"no cipher suite can be selected by {ciphers!r}") from exc


def fresh_context() -> ssl.SSLContext:
    """What `ssl.create_default_context` begins with, which trusts nobody yet.

    That one would write keys to `SSLKEYLOGFILE`, whether the environment is to be trusted or not.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    return context


def _setup_of_user(options: TlsOptions, user: ssl.SSLContext, alpn: tuple[str, ...]) -> TlsSetup:
    if options.cert is not None or options.key is not None:
        raise UsageError("with an SSLContext, load the client certificate into the context itself")
    if options.minimum != TlsOptions().minimum or options.ciphers is not None:
        raise UsageError("with an SSLContext, set version and ciphers on the context itself")
    if type(user) is not ssl.SSLContext:
        return TlsSetup(user, alpn, options.pins)
    if user.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise UsageError("the given SSLContext is for servers (PROTOCOL_TLS_SERVER)")
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.check_hostname = False  # refused beside CERT_NONE, so it comes last
    ours.verify_mode = user.verify_mode
    ours.check_hostname = user.check_hostname
    with warnings.catch_warnings():
        # Old versions the user allowed, or forbade by the old flags: the user was warned already.
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in _COPIED_SETTINGS:
            setattr(ours, name, getattr(user, name))
    _offer(ours, alpn)
    return TlsSetup(ours, alpn, options.pins, owner=user)


def _build(options: TlsOptions, alpn: tuple[str, ...]) -> TlsSetup:
    context = _trusting(options.verify)
    context.minimum_version = _MINIMUM_VERSIONS[options.minimum]
    choose_ciphers(context, options.ciphers)
    # A subject's common name is no host name any more (RFC 9525 §2), as in browsers and QUIC.
    context.hostname_checks_common_name = False
    context.options |= ssl.OP_NO_RENEGOTIATION
    if options.verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_certificate(context, options)
    if options.keylog_path is not None:
        try:
            context.keylog_filename = options.keylog_path
        except OSError as exc:
            raise UsageError(f"cannot write TLS keys to {options.keylog_path!r}: {exc}") from exc
    _offer(context, alpn)
    return TlsSetup(context, alpn, options.pins, secrets=SecretLog(context))


def _trusting(verify: bool | str | ssl.SSLContext) -> ssl.SSLContext:
    context = fresh_context()
    if verify is False:
        # The system's authorities take some 30 ms to load, and nobody would ask them.
        return context
    if not isinstance(verify, str):
        context.load_default_certs()
        return context
    is_folder = os.path.isdir(verify)  # noqa: PTH112 - a str, as OpenSSL wants it
    try:
        if is_folder:
            context.load_verify_locations(capath=verify)
        else:
            context.load_verify_locations(cafile=verify)
    except (OSError, ValueError) as exc:  # SSLError is an OSError
        raise UsageError(f"cannot load CA certificates from {verify!r}: {_reason(exc)}") from exc
    return context


def _load_certificate(context: ssl.SSLContext, options: TlsOptions) -> None:
    if options.cert is None:
        if options.key is not None:
            raise UsageError("a private key without its certificate is of no use: give `cert` too")
        return
    # OpenSSL would ask on the terminal for a password it is not given.
    password = options.key_password or ""
    try:
        context.load_cert_chain(options.cert, options.key, password=lambda: password)
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"cannot load the client certificate {options.cert!r} with the key "
            f"{options.key or options.cert!r}: {_reason(exc)}"
        ) from exc


def _offer(context: ssl.SSLContext, alpn: tuple[str, ...]) -> None:
    if alpn:
        context.set_alpn_protocols(list(alpn))


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLError):
        return tls_reason(exc)
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
