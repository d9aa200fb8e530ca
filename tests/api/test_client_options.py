from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from trilane.api.client_options import (
    preference_of,
    quic_options,
    timeouts_of,
    tls_options,
)
from trilane.transport.config import HttpVersion, Preference, QuicOptions, Timeouts
from trilane.transport.errors import UsageError

FLAGS = Preference(http2=True)


@pytest.mark.parametrize(
    ("protocol", "preference"),
    [
        ("auto", FLAGS),
        ("http/1.1", Preference(exactly=HttpVersion.HTTP1)),
        ("h2", Preference(exactly=HttpVersion.HTTP2)),
        ("h3", Preference(exactly=HttpVersion.HTTP3)),
        (Preference(http3=True), Preference(http3=True)),
    ],
)
def test_protocols(protocol: Any, preference: Preference) -> None:
    assert preference_of(protocol, FLAGS) == preference


def test_an_unknown_protocol_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'auto', 'http/1\.1', 'h2', 'h3'"):
        preference_of("spdy", FLAGS)  # type: ignore[arg-type]  # the point


def test_timeouts() -> None:
    own = Timeouts(total_s=None, connect_s=2.0)

    assert timeouts_of(2) == Timeouts(total_s=2.0)
    assert timeouts_of(None) == Timeouts(total_s=None)
    assert timeouts_of(own) is own


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "5"])
def test_timeouts_that_are_none(timeout: Any) -> None:
    with pytest.raises(UsageError, match="positive number of seconds"):
        timeouts_of(timeout)


def test_tls_inputs() -> None:
    context = ssl.create_default_context()

    assert tls_options({"verify": True}, trust_env=False).verify is True
    assert tls_options({"verify": Path("ca.pem")}, trust_env=False).verify == "ca.pem"
    assert tls_options({"verify": context}, trust_env=False).verify is context
    pair = tls_options({"cert": ("c.pem", Path("k.pem"))}, trust_env=False)
    assert (pair.cert, pair.key, pair.key_password) == ("c.pem", "k.pem", None)
    triple = tls_options({"cert": ("c.pem", "k.pem", "secret")}, trust_env=False)
    assert triple.key_password == "secret"
    assert "secret" not in repr(triple)
    assert tls_options({"cert": Path("both.pem")}, trust_env=False).cert == "both.pem"


PIN = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_tls_settings_are_values() -> None:
    options = tls_options(
        {
            "tls_minimum": "1.3",
            "ciphers": "ECDHE+AESGCM",
            "pins": {"Example.COM.": [PIN], "*.bücher.example": {PIN}, "::0:1": (PIN,)},
        },
        trust_env=False,
    )
    assert (options.minimum, options.ciphers) == ("1.3", "ECDHE+AESGCM")
    assert options.pins == {
        ("example.com", PIN),
        ("*.xn--bcher-kva.example", PIN),
        ("::1", PIN),
    }
    assert hash(options) == hash(options)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tls_minimum": "1.1"},
        {"pins": [PIN]},
        {"pins": {"example.com": []}},
        {"pins": {"example.com": ["sha1/AAAA"]}},
        {"pins": {"example.com": [PIN + "x"]}},
        {"pins": {"a.*.example.com": [PIN]}},
        {"pins": {"": [PIN]}},
    ],
)
def test_tls_settings_that_make_no_sense(wrong: Any) -> None:
    with pytest.raises(UsageError):
        tls_options(wrong, trust_env=False)


@pytest.mark.parametrize(("verify", "cert"), [(None, None), (1.5, None), (True, 3), (True, ())])
def test_tls_inputs_that_are_none(verify: Any, cert: Any) -> None:
    with pytest.raises(UsageError, match="verify must be"):
        tls_options({"verify": verify, "cert": cert}, trust_env=False)


def test_the_environment_is_read_only_when_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "keys.log")
    monkeypatch.setenv("QLOGDIR", "qlogs")

    assert tls_options({"verify": True}, trust_env=True).keylog_path == "keys.log"
    assert tls_options({"verify": True}, trust_env=False).keylog_path is None
    assert quic_options(None, trust_env=True).qlog_dir == "qlogs"
    assert quic_options(None, trust_env=False).qlog_dir is None
    own = QuicOptions(qlog_dir="mine")
    assert quic_options(own, trust_env=True) is own
