"""From `proxy=`, `no_proxy=` and the environment to the engine's `ProxyOptions`.

A proxy's URL may hold a password, so no message quotes one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from ..transport.config import ProxyOptions, ProxyScheme, ProxyServer
from ..transport.errors import InvalidUrl, UsageError
from ..transport.message import parse_url

_DEFAULT_PORTS = {
    ProxyScheme.HTTP: 80,
    ProxyScheme.HTTPS: 443,
    ProxyScheme.SOCKS5: 1080,
    ProxyScheme.SOCKS5H: 1080,
}
#: RFC 1929: a length is one byte.
_LONGEST_SOCKS_CREDENTIAL_BYTES = 255


def proxy_options(
    proxy: object, no_proxy: object, environment: Mapping[str, str] | None
) -> ProxyOptions:
    """Which proxies to use.

    Args:
        proxy: a URL for every origin, `""` for none, or None for what the environment says.
        no_proxy: hosts to reach directly; None for `NO_PROXY`, if the proxies are the
            environment's, too.
        environment: the variables; None when they are not trusted.

    Raises:
        UsageError: a proxy cannot be used.
    """
    for name, value in (("proxy", proxy), ("no_proxy", no_proxy)):
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{name} must be a str or None, not {type(value).__name__}")
    if isinstance(proxy, str):
        server = parse_proxy(proxy, "proxy") if proxy else None
        return ProxyOptions(for_http=server, for_https=server, no_proxy=str(no_proxy or ""))
    if environment is None:
        return ProxyOptions()
    exempt = _variable(environment, "no_proxy")[1] if no_proxy is None else str(no_proxy)
    return ProxyOptions(
        for_http=_from_environment(environment, "http_proxy"),
        for_https=_from_environment(environment, "https_proxy"),
        no_proxy=exempt,
    )


def parse_proxy(text: str, name: str) -> ProxyServer:
    """Read a proxy's URL; without a scheme it is an HTTP proxy's.

    Args:
        text: `[scheme://][user[:password]@]host[:port]`, user and password percent-encoded.
        name: where it comes from, for messages.

    Raises:
        UsageError: it cannot be used; says why without quoting it.
    """
    scheme_text, separator, rest = text.strip().rpartition("://")
    try:
        scheme = ProxyScheme(scheme_text.lower() if separator else "http")
    except ValueError:
        known = ", ".join(f"{each}://" for each in ProxyScheme)
        raise UsageError(f"{name}: its scheme is none of {known}") from None
    credentials, at, authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    host, port = _host_and_port(authority, scheme, name)
    user, password = None, ""
    if at and credentials:
        user_text, _, password_text = credentials.partition(":")
        user, password = unquote(user_text), unquote(password_text)
    server = ProxyServer(scheme=scheme, host=host, port=port, user=user, password=password)
    _check_credentials(server, name)
    return server


def _host_and_port(authority: str, scheme: ProxyScheme, name: str) -> tuple[str, int]:
    given = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{0,5}))?", authority)
    if given is None or int(given[2] or 1) > 65535:
        raise UsageError(f"{name}: its host and port cannot be read")
    port = given[2] or str(_DEFAULT_PORTS[scheme])
    try:
        origin = parse_url(f"http://{given[1]}:{port}").origin
    except InvalidUrl:
        raise UsageError(f"{name}: its host and port cannot be read") from None
    return origin.host, origin.port


def _check_credentials(server: ProxyServer, name: str) -> None:
    if server.user is None:
        return
    try:
        sizes = (len(server.user.encode()), len(server.password.encode()))
    except UnicodeEncodeError:  # the environment's bytes that are no UTF-8
        raise UsageError(f"{name}: its user name or password is not UTF-8") from None
    if server.is_socks:
        if not sizes[0] or max(sizes) > _LONGEST_SOCKS_CREDENTIAL_BYTES:
            raise UsageError(
                f"{name}: SOCKS5 takes a user name of 1 to 255 bytes and a password of up to 255"
            )
    elif ":" in server.user:
        raise UsageError(f"{name}: a user name with a colon cannot be sent (RFC 7617 §2)")


def _from_environment(environment: Mapping[str, str], variable: str) -> ProxyServer | None:
    name, text = _variable(environment, variable)
    if not text:
        name, text = _variable(environment, "all_proxy")
    return parse_proxy(text, name) if text else None


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """A variable in lower or upper case, the former first, as curl does."""
    upper = name.upper()
    text = environment.get(name, "").strip()
    if text:
        return name, text
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
        # A CGI program: this is the client's header field `Proxy` (CVE-2016-5385, "httpoxy").
        return upper, ""
    return upper, environment.get(upper, "").strip()
