"""Names the sessions that a connection may resume: those that were verified as it would be."""

from __future__ import annotations

import json
import ssl
from hashlib import sha256

from ..config import TlsOptions
from ..message import Origin
from ..sessions import SessionKey
from .tls_context import file_stamp, file_stamps


def session_key(
    origin: Origin, options: TlsOptions, alpn: tuple[str, ...], suites: tuple[str, ...] = ()
) -> SessionKey:
    """The key of sessions with an origin.

    It changes with every option that has to do with whom we trust and who we are, with the files
    they name, and with the settings of a user's context.

    Args:
        origin: whom they are made with.
        options: what it is verified by.
        alpn: what it is offered.
        suites: QUIC's cipher suites; early data goes under that of its ticket.

    Raises:
        UsageError: a file is missing.
    """
    verify = options.verify
    user = verify if isinstance(verify, ssl.SSLContext) else None
    parts = (
        str(origin),
        _trust(verify),
        options.cert,
        options.key,
        options.minimum,
        options.ciphers,
        sorted(options.pins),
        file_stamps(options),
        alpn,
        suites,
    )
    return SessionKey(sha256(json.dumps(parts).encode()).hexdigest(), user)


def _trust(verify: bool | str | ssl.SSLContext) -> object:
    if isinstance(verify, ssl.SSLContext):
        return _settings(verify)
    if verify is not True:
        return verify
    # A session that outlives the process must not outlive the trust of SSL_CERT_FILE either.
    paths = ssl.get_default_verify_paths()
    return paths.cafile, paths.capath, paths.cafile and file_stamp(paths.cafile)


def _settings(context: ssl.SSLContext) -> tuple[int | bool, ...]:
    try:
        stored = context.cert_store_stats()
    except NotImplementedError:  # truststore's
        stored = {}
    return context.verify_mode, context.check_hostname, context.verify_flags, *stored.values()
