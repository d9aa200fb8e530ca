"""What proxies refuse, and proxies that are not there or not who they should be: clear errors."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import trilane
from tests.peers import proxies
from tests.peers.certificates import Certificates
from tests.peers.leaks import no_leaked_descriptors
from tests.peers.proxies import CREDENTIALS, Proxy
from tests.peers.scripted import refused_port
from tests.peers.servers import Endpoints
from tests.peers.started import started
from tests.proxies.kinds import KINDS, Protocol, with_protocols
from trilane.transport.profile.invariants import order_violations

pytestmark = pytest.mark.interop

CONTENT = bytes(range(256)) * 4096
WITH_PASSWORD = [name for name, kind in KINDS.items() if kind.credentials is not None]
WRONG = "bob:wr0ng"


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    with no_leaked_descriptors():
        yield


async def failure(
    url: str, proxy: str, trust: str, protocol: Protocol | None = None
) -> trilane.TransportError:
    """Of an upload of which the target shall hear nothing."""
    async with trilane.AsyncClient(
        verify=trust, proxy=proxy, resolve={"other.example": ["127.0.0.1"]}, timeout=20
    ) as client:
        with pytest.raises(trilane.TransportError) as raised:
            await client.upload(url, CONTENT, protocol=protocol or "auto")
    error = raised.value
    assert error.profile is not None
    assert order_violations(error.profile) == []
    assert error.profile.proxy is not None
    return error


@pytest.mark.parametrize("credentials", [WRONG, None])
@pytest.mark.parametrize(("kind", "protocol"), with_protocols(*WITH_PASSWORD))
async def test_a_wrong_password_is_said_and_shown_nowhere(  # noqa: PLR0917 - fixtures
    kind: str,
    protocol: Protocol,
    credentials: str | None,
    proxy: Proxy,
    receiver: Endpoints,
    trust: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    way = KINDS[kind]
    url = proxy.url(way.scheme, credentials)
    error = await failure(receiver.url("https"), url, trust, protocol)

    assert isinstance(error, trilane.ProxyAuthenticationError)
    # To a wrong password tinyproxy says what servers say.
    status = 401 if way.fixture == "guarded_tinyproxy" and credentials else 407
    assert error.status == (None if way.is_socks else status)
    assert error.proxy == proxy.url(way.scheme)
    reason = "wants a user name and password" if credentials is None else "refused the user name"
    assert reason in str(error)
    profile = error.profile
    assert profile is not None
    assert profile.proxy == error.proxy
    assert profile.request_start is None
    assert (error.bytes_sent, profile.sent_bytes) == (0, 0)
    shown = f"{error!r} {error} {profile!r} {profile} {profile.seed()} {caplog.text}"
    assert "wr0ng" not in shown
    assert "bob" not in shown


@pytest.mark.parametrize("credentials", [WRONG, None])
@pytest.mark.parametrize("kind", ["http-squid", "https-password"])
async def test_a_wrong_password_for_forwarding(
    kind: str, credentials: str | None, proxy: Proxy, receiver: Endpoints, trust: str
) -> None:
    url = proxy.url(KINDS[kind].scheme, credentials)
    error = await failure(receiver.url("http"), url, trust)

    assert isinstance(error, trilane.ProxyAuthenticationError)
    assert error.status == 407
    assert error.proxy == proxy.url(KINDS[kind].scheme)
    assert "wr0ng" not in str(error)


@pytest.mark.parametrize(("kind", "protocol"), with_protocols())
async def test_a_dead_proxy(kind: str, protocol: Protocol, receiver: Endpoints, trust: str) -> None:
    way = KINDS[kind]
    with refused_port() as port:
        credentials = f"{way.credentials}@" if way.credentials else ""
        shown = f"{way.scheme}://127.0.0.1:{port}"
        proxy = f"{way.scheme}://{credentials}127.0.0.1:{port}"
        error = await failure(receiver.url("https"), proxy, trust, protocol)

    assert isinstance(error, trilane.ProxyError)
    assert str(error).startswith(f"the proxy {shown} cannot be reached: ")
    assert "connection refused" in str(error)
    assert error.profile is not None
    assert next(attempt.protocol for attempt in error.profile.attempts) == "tcp"
    assert {attempt.outcome for attempt in error.profile.attempts} == {"failed"}
    assert error.profile.request_start is None


@pytest.mark.parametrize("kind", ["socks5", "http", "https"])
async def test_a_proxy_whose_name_is_unknown(kind: str, receiver: Endpoints, trust: str) -> None:
    proxy = f"{KINDS[kind].scheme}://proxy.invalid:3128"
    error = await failure(receiver.url("https"), proxy, trust)

    assert isinstance(error, trilane.ProxyError)
    assert isinstance(error.__cause__, trilane.ResolveError)
    assert "proxy.invalid" in str(error)


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize(
    ("host", "trusted", "words"),
    [
        ("127.0.0.1", False, "unknown certificate authority"),
        ("other.example", True, "it is for another host"),
    ],
)
async def test_a_proxys_certificate_is_verified(  # noqa: PLR0917 - fixtures
    secure_tinyproxy: Proxy,
    receiver: Endpoints,
    trust: str,
    protocol: Protocol,
    host: str,
    words: str,
    *,
    trusted: bool,
) -> None:
    proxy = f"https://{host}:{secure_tinyproxy.port}"
    error = await failure(
        receiver.url("https"), proxy, trust if trusted else str(receiver.ca), protocol
    )

    assert isinstance(error, trilane.ProxyError)
    assert isinstance(error.__cause__, trilane.CertificateError)
    assert words in str(error)
    assert error.profile is not None
    assert error.profile.attempts[-1].protocol == "proxy-tls"
    assert error.profile.proxy_handshake_start is None


async def test_a_proxy_without_the_tls_it_should_have(
    microsocks: Proxy, receiver: Endpoints, trust: str
) -> None:
    error = await failure(receiver.url("https"), microsocks.url("https"), trust)

    assert isinstance(error, trilane.ProxyError)
    assert isinstance(error.__cause__, trilane.TransportError)
    assert "cannot be reached" in str(error)


@pytest.mark.parametrize(("kind", "protocol"), with_protocols())
async def test_what_the_target_does_is_told_as_without_a_proxy(
    kind: str, protocol: Protocol, proxy: Proxy, receiver: Endpoints, certificates: Certificates
) -> None:
    """Its certificate is of an authority that is not trusted, the proxy's is."""
    url = KINDS[kind].url(proxy)
    error = await failure(receiver.url("https"), url, str(certificates.ca), protocol)

    assert isinstance(error, trilane.CertificateError)
    assert error.profile is not None
    assert error.profile.proxy_handshake_end is not None
    assert error.profile.request_start is None


@pytest.mark.parametrize("kind", ["socks5", "http", "http-squid"])
async def test_a_target_that_is_not_there(kind: str, proxy: Proxy, trust: str) -> None:
    with refused_port() as port:
        error = await failure(f"https://127.0.0.1:{port}/", KINDS[kind].url(proxy), trust)

    assert isinstance(error, trilane.ProxyError)
    if KINDS[kind].is_socks:
        assert (error.reply, error.refused) == (5, True)
    else:
        assert error.status is not None
        assert error.status >= 500


@pytest.fixture
def mortal(protocol: Protocol, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy of the test's own."""
    make = proxies.v2ray if protocol == "h3" else proxies.microsocks
    yield from started(make(tmp_path))


@pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])
async def test_a_proxy_that_dies_under_way(
    protocol: Protocol, mortal: Proxy, receiver: Endpoints, trust: str
) -> None:
    def die(progress: trilane.Progress) -> None:
        if progress.sent > 0:
            mortal.server.stop(signal.SIGKILL)

    url = receiver.url("https", "/upload?throttle=1000000")
    async with trilane.AsyncClient(verify=trust, proxy=mortal.url("socks5", CREDENTIALS)) as client:
        with pytest.raises(trilane.NetworkError) as raised:
            await client.upload(url, CONTENT * 16, protocol=protocol, on_progress=die)

    profile = raised.value.profile
    assert profile is not None
    if protocol == "h3":
        # An upload that had not been sent whole is tried once more.
        first, second = profile.legs
        # Its host may refuse datagrams before the end of the TCP connection is read.
        reasons = f"the proxy {mortal.url('socks5')} ended the relay", "connection refused"
        assert str(first.error).endswith(reasons)
        assert isinstance(raised.value, trilane.ProxyError)
        assert "connection refused" in str(second.error)
    else:
        assert isinstance(raised.value, trilane.ConnectionLost)
        assert raised.value.bytes_sent in range(1, 16 * len(CONTENT))
