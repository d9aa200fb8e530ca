"""`proxy=`, `no_proxy=` and the environment."""

from __future__ import annotations

import pytest

from trilane.api.client_options import engine_options
from trilane.api.proxy_input import parse_proxy, proxy_options
from trilane.transport.config import ProxyOptions, ProxyScheme, ProxyServer
from trilane.transport.errors import UsageError

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("text", "shown", "user", "password"),
    [
        ("proxy.example", "http://proxy.example:80", None, ""),
        ("proxy.example:3128/", "http://proxy.example:3128", None, ""),
        ("HTTPS://Proxy.Example", "https://proxy.example:443", None, ""),
        ("socks5://[::1]", "socks5://[::1]:1080", None, ""),
        ("socks5h://u@h:9", "socks5h://h:9", "u", ""),
        ("http://u%3a:p%40%2Fw@h:9", None, None, ""),
        ("http://u:p%40%2Fw:x@h:9", "http://h:9", "u", "p@/w:x"),
        ("socks5://u:@h", "socks5://h:1080", "u", ""),
    ],
)
def test_urls(text: str, shown: str | None, user: str | None, password: str) -> None:
    if shown is None:
        with pytest.raises(UsageError, match="colon"):
            parse_proxy(text, "proxy")
        return
    server = parse_proxy(text, "proxy")
    assert (str(server), server.user, server.password) == (shown, user, password)


@pytest.mark.parametrize(
    "text",
    [
        f"ftp://u:{SECRET}@h",
        f"socks4://u:{SECRET}@h",
        f"http://u:{SECRET}@",
        f"http://u:{SECRET}@h:0",
        f"http://u:{SECRET}@h:65536",
        f"http://u:{SECRET}@h:{'1' * 5000}",
        f"http://u:{SECRET}@h:x",
        f"http://u:{SECRET}@a b",
        f"http://u:{SECRET}@h\r\nX: y",
        f"http://u:{SECRET}@[::1",
        f"http://u\udcff:{SECRET}@h",
        f"socks5://:{SECRET}@h",
        f"socks5://u:{SECRET * 50}@h",
    ],
)
def test_what_cannot_be_used_is_not_quoted(text: str) -> None:
    with pytest.raises(UsageError, match="HTTPS_PROXY") as raised:
        parse_proxy(text, "HTTPS_PROXY")
    assert SECRET not in str(raised.value)


def test_credentials_are_not_shown() -> None:
    options = engine_options({"proxy": f"http://user:{SECRET}@h"})

    assert options.proxies.for_https is not None
    assert options.proxies.for_https.password == SECRET
    assert SECRET not in f"{options!r} {options.proxies.for_https}"
    assert hash(options) == hash(engine_options({"proxy": f"http://user:{SECRET}@h"}))


A, B = (ProxyServer(scheme=ProxyScheme.HTTP, host=host, port=80) for host in "ab")


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({}, ProxyOptions()),
        ({"https_proxy": "a"}, ProxyOptions(for_https=A)),
        ({"HTTPS_PROXY": "a", "HTTP_PROXY": "b"}, ProxyOptions(for_https=A, for_http=B)),
        ({"https_proxy": "a", "HTTPS_PROXY": "b"}, ProxyOptions(for_https=A)),
        ({"https_proxy": "", "HTTPS_PROXY": "b"}, ProxyOptions(for_https=B)),
        ({"ALL_PROXY": "a"}, ProxyOptions(for_https=A, for_http=A)),
        ({"all_proxy": "a", "http_proxy": "b"}, ProxyOptions(for_https=A, for_http=B)),
        ({"HTTP_PROXY": "evil", "REQUEST_METHOD": "GET"}, ProxyOptions()),
        ({"http_proxy": "b", "REQUEST_METHOD": "GET"}, ProxyOptions(for_http=B)),
        ({"https_proxy": "a", "NO_PROXY": "x"}, ProxyOptions(for_https=A, no_proxy="x")),
    ],
)
def test_the_environment(environment: dict[str, str], options: ProxyOptions) -> None:
    assert proxy_options(None, None, environment) == options


def test_what_was_given_counts_more_than_the_environment() -> None:
    environment = {"ALL_PROXY": "a", "NO_PROXY": "x"}

    assert proxy_options("", None, environment) == ProxyOptions()
    assert proxy_options("b", None, environment) == ProxyOptions(for_http=B, for_https=B)
    assert proxy_options(None, "y", environment).no_proxy == "y"
    assert proxy_options(None, None, None) == ProxyOptions()


def test_a_broken_variable_is_named() -> None:
    with pytest.raises(UsageError, match="ALL_PROXY: its scheme is none of http://, https://"):
        proxy_options(None, None, {"ALL_PROXY": "socks://127.0.0.1:1080/"})


def test_a_unix_socket_is_not_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:3128")

    assert engine_options({"uds": "/run/a.sock"}).proxies == ProxyOptions()
    with pytest.raises(UsageError, match="uds and proxy"):
        engine_options({"uds": "/run/a.sock", "proxy": "http://127.0.0.1:3128"})
