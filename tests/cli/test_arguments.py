"""The parsing table of the command line."""

from __future__ import annotations

import pytest

from trilane.api.cli.arguments import (
    Arguments,
    DemoArguments,
    ServeArguments,
    UploadArguments,
    parse_arguments,
)
from trilane.api.receiver.switches import SWITCH_HELP

URL = "https://example.com/upload"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], UploadArguments(url=URL, file="a.jpg")),
        (["--name", "photo"], UploadArguments(url=URL, file="a.jpg", name="photo")),
        (
            ["-F", "a=1", "--form", "b=x=y@z", "-F", "c="],
            UploadArguments(url=URL, file="a.jpg", form=(("a", "1"), ("b", "x=y@z"), ("c", ""))),
        ),
        (
            ["-H", "X-Token:  abc:d ", "-H", "X-Empty;"],
            UploadArguments(url=URL, file="a.jpg", headers=(("X-Token", "abc:d"), ("X-Empty", ""))),
        ),
        (["--http1.1"], UploadArguments(url=URL, file="a.jpg", protocol="http/1.1")),
        (["--http2"], UploadArguments(url=URL, file="a.jpg")),
        (["--http3"], UploadArguments(url=URL, file="a.jpg", http3=True)),
        (["--http3-only"], UploadArguments(url=URL, file="a.jpg", protocol="h3")),
        (["--cacert", "ca.pem"], UploadArguments(url=URL, file="a.jpg", verify="ca.pem")),
        (["-k"], UploadArguments(url=URL, file="a.jpg", verify=False)),
        (
            ["--ssl-sessions", "s.json", "--tls-earlydata"],
            UploadArguments(url=URL, file="a.jpg", sessions="s.json", early_data=True),
        ),
        (["--tlsv1.2"], UploadArguments(url=URL, file="a.jpg")),
        (
            ["--tlsv1.3", "--ciphers", "AESGCM", "--pinnedpubkey", "sha256//a=;sha256/b="],
            UploadArguments(
                url=URL,
                file="a.jpg",
                tls_minimum="1.3",
                ciphers="AESGCM",
                pins=("sha256/a=", "sha256/b="),
            ),
        ),
        (["--cert", "me.pem"], UploadArguments(url=URL, file="a.jpg", cert="me.pem")),
        (
            ["--cert", "me.pem", "--key", "me.key"],
            UploadArguments(url=URL, file="a.jpg", cert=("me.pem", "me.key")),
        ),
        (["--unix-socket", "/a/b"], UploadArguments(url=URL, file="a.jpg", uds="/a/b")),
        (["--interface", "eth0"], UploadArguments(url=URL, file="a.jpg", interface="eth0")),
        (["--interface", "::1"], UploadArguments(url=URL, file="a.jpg", local_address="::1")),
        (
            ["--resolve", "a.test:443:::1,127.0.0.1", "--resolve", "*:80:[::1]"],
            UploadArguments(
                url=URL,
                file="a.jpg",
                resolve=(("a.test:443", ("::1", "127.0.0.1")), ("*:80", ("::1",))),
            ),
        ),
        (
            ["--doh-url", "https://dns.test/dns-query"],
            UploadArguments(url=URL, file="a.jpg", resolver="https://dns.test/dns-query"),
        ),
        (
            ["--dns-servers", "[::1]:5353"],
            UploadArguments(url=URL, file="a.jpg", resolver="dns://[::1]:5353"),
        ),
        (["--timeout", "1500"], UploadArguments(url=URL, file="a.jpg", timeout_s=1.5)),
        (["--timeout", "0"], UploadArguments(url=URL, file="a.jpg", timeout_s=None)),
        (["-n", "3"], UploadArguments(url=URL, file="a.jpg", count=3)),
        (["--json"], UploadArguments(url=URL, file="a.jpg", json=True, progress=False)),
        (["--no-progress"], UploadArguments(url=URL, file="a.jpg", progress=False)),
        (["-f"], UploadArguments(url=URL, file="a.jpg", fail=True)),
        (["--fail", "--trio"], UploadArguments(url=URL, file="a.jpg", fail=True, backend="trio")),
    ],
)
def test_upload_flags(flags: list[str], expected: Arguments) -> None:
    assert parse_arguments(["upload", URL, "a.jpg", *flags]) == expected
    assert parse_arguments(["upload", *flags, URL, "a.jpg"]) == expected


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["upload", URL, "-"], UploadArguments(url=URL, file="-")),
        (["demo"], DemoArguments()),
        (["demo", "a.jpg"], DemoArguments(file="a.jpg")),
        (["serve"], ServeArguments()),
        (
            ["serve", "--port", "0", "--cleartext-port", "8080", "--trio"],
            ServeArguments(port=0, cleartext_port=8080, backend="trio"),
        ),
    ],
)
def test_commands(argv: list[str], expected: Arguments) -> None:
    assert parse_arguments(argv) == expected


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "COMMAND"),
        (["bench"], "invalid choice"),
        (["upload", URL], "FILE"),
        (["upload", URL, "a", "-F", "novalue"], "'novalue' is not KEY=VALUE"),
        (["upload", URL, "a", "-F", "=x"], "is not KEY=VALUE"),
        (["upload", URL, "a", "-H", "Name:"], "is not 'NAME: VALUE'"),
        (["upload", URL, "a", "-H", ": x"], "is not 'NAME: VALUE'"),
        (["upload", URL, "a", "-H", "Name"], "is not 'NAME: VALUE'"),
        (["upload", URL, "a", "--http2", "--http3"], "not allowed with"),
        (["upload", URL, "a", "-k", "--cacert", "x"], "not allowed with"),
        (["upload", URL, "a", "--tlsv1.2", "--tlsv1.3"], "not allowed with"),
        (["upload", URL, "a", "--pinnedpubkey", "key.pem"], "sha256//BASE64"),
        (["upload", URL, "a", "--resolve", "a.test:443"], "is not HOST:PORT:ADDR"),
        (["upload", URL, "a", "--resolve", "a.test"], "is not HOST:PORT:ADDR"),
        (["upload", URL, "a", "--resolve", ":443:::1"], "is not HOST:PORT:ADDR"),
        (["upload", URL, "a", "--resolve", "a.test:443:b.test"], "is not HOST:PORT:ADDR"),
        (["upload", URL, "a", "--resolve", "a.test:443:::1,"], "is not HOST:PORT:ADDR"),
        (["upload", URL, "a", "--resolve", "a.test:0:::1"], "from 1 to 65535"),
        (["upload", URL, "a", "--key", "x"], "--key needs --cert"),
        (["upload", URL, "a", "--timeout", "-1"], "not a whole number"),
        (["upload", URL, "a", "--timeout", "1s"], "not a whole number"),
        (["upload", URL, "a", "-n", "0"], "from 1 to"),
        (["upload", URL, "a", "--js"], "unrecognized"),
        (["serve", "--port", "65536"], "from 0 to 65535"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse_arguments(argv)
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert complaint in err
    assert out == ""


def test_help_of_serve_lists_every_switch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse_arguments(["serve", "--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert all(f"{switch} " in out and text in out for switch, text in SWITCH_HELP.items())


def test_help_lists_what_there_is_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    out = capsys.readouterr().out
    assert all(command in out for command in ("upload", "demo", "serve"))
    assert "bench" not in out
