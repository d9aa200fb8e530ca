"""The command line as values: what each command was asked to do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from ipaddress import ip_address
from typing import Literal

from ..receiver.switches import SWITCH_HELP

Backend = Literal["asyncio", "trio"]
Protocol = Literal["auto", "http/1.1", "h3"]
TlsVersion = Literal["1.2", "1.3"]
NameAndValue = tuple[str, str]
HostAndAddresses = tuple[str, tuple[str, ...]]
"""`host:port` and the IP addresses it has."""

_SERVE_PORT = 8443


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadArguments:
    """`trilane upload`."""

    url: str
    file: str
    """A path, or `-` for standard input."""
    name: str = "file"
    form: tuple[NameAndValue, ...] = ()
    headers: tuple[NameAndValue, ...] = ()
    protocol: Protocol = "auto"
    http3: bool = False
    """Race h3 against TCP."""
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    tls_minimum: TlsVersion = "1.2"
    ciphers: str | None = None
    pins: tuple[str, ...] = ()
    """Those of the URL's host; empty for none."""
    sessions: str | None = None
    early_data: bool = False
    uds: str | None = None
    """Path of a Unix socket."""
    local_address: str | None = None
    interface: str | None = None
    proxy: str | None = field(default=None, repr=False)
    no_proxy: str | None = None
    resolve: tuple[HostAndAddresses, ...] = ()
    resolver: str | None = None
    """URL of a name server."""
    timeout_s: float | None = 60.0
    count: int = 1
    json: bool = False
    progress: bool = True
    fail: bool = False
    backend: Backend = "asyncio"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoArguments:
    """`trilane demo`."""

    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeArguments:
    """`trilane serve`."""

    port: int = _SERVE_PORT
    cleartext_port: int | None = None
    backend: Backend = "asyncio"


Arguments = UploadArguments | DemoArguments | ServeArguments


def parse_arguments(argv: Sequence[str] | None = None) -> Arguments:
    """Read a command line (without the program's name); `sys.argv` when None.

    Raises:
        SystemExit: with status 2 when it is wrong, 0 when it asked for help; the text is printed.
    """
    parser = _Parser(prog="trilane", description="Upload files over HTTP/1.1, HTTP/2 and HTTP/3.")
    parser.add_argument("--version", action="version", version=f"trilane {version('trilane')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    upload = commands.add_parser(
        "upload",
        help="send a file as multipart/form-data and show what happened when",
        epilog="Exit status: 0 a response came, 22 it was 400 or more (with --fail), 1 none came, "
        "2 wrong usage, 130 interrupted. Honours SSLKEYLOGFILE, QLOGDIR, NO_COLOR, HTTPS_PROXY, "
        "HTTP_PROXY, ALL_PROXY and NO_PROXY.",
    )
    _add_upload(upload)
    demo = commands.add_parser(
        "demo", help="upload over all three protocols to a receiver on this machine"
    )
    demo.add_argument("file", nargs="?", metavar="FILE", help="default: 16 MiB of random bytes")
    serve = commands.add_parser(
        "serve",
        help="run the built-in receiver on loopback, to try uploads against",
        epilog=_switch_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_serve(serve)
    given = parser.parse_args(argv)
    if given.command == "upload":
        return _upload_arguments(given, upload)
    if given.command == "demo":
        return DemoArguments(file=given.file)
    return ServeArguments(
        port=given.port, cleartext_port=given.cleartext_port, backend=_backend(given)
    )


class _Parser(argparse.ArgumentParser):
    """Takes no abbreviated options: a later release may add one that makes them ambiguous."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options, allow_abbrev=False)  # type: ignore[arg-type]


def _add_upload(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("url", metavar="URL")
    add("file", metavar="FILE", help="a path, or - for standard input")
    add("--name", default="file", help="name of the form field that holds the file (file)")
    add(
        *("-F", "--form"),
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=_form_field,
        help="a text field beside the file; VALUE is sent as it is ('@' means nothing here)",
    )
    add(
        *("-H", "--header"),
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        type=_header,
        help="a request header; 'NAME;' sends it without a value",
    )
    _add_protocol(parser.add_mutually_exclusive_group())
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--cacert", metavar="PEM", help="trust the authorities in this file")
    trust.add_argument("-k", "--insecure", action="store_true", help="trust any certificate")
    add("--cert", metavar="PEM", help="client certificate (and its key, without --key)")
    add("--key", metavar="PEM", help="key of the client certificate")
    _add_tls(parser)
    add("--unix-socket", metavar="PATH", help="connect to this Unix socket, whatever the URL says")
    add("--interface", metavar="NAME", help="send through this network interface, or from this IP")
    add(
        *("-x", "--proxy"),
        metavar="[SCHEME://]HOST[:PORT]",
        help="go through a proxy: http, https, socks5 or socks5h; '' for none",
    )
    add("--noproxy", metavar="HOSTS", help="reach these hosts directly, as NO_PROXY does")
    _add_names(parser)
    add("--timeout", metavar="MS", type=_milliseconds, default=60.0, help="0 for none (60000)")
    add("-n", "--count", type=_count, default=1, help="upload so many times, one after the other")
    add("--json", action="store_true", help="print one JSON object per upload, nothing else")
    add("--no-progress", action="store_true", help="show no progress bar")
    add("-f", "--fail", action="store_true", help="exit with 22 when the status is 400 or more")
    add("--trio", action="store_true", help="run on trio instead of asyncio")


def _add_protocol(group: argparse._MutuallyExclusiveGroup) -> None:
    for flag, text in (
        ("--http1.1", "HTTP/1.1, nothing else"),
        ("--http2", "HTTP/2 where the server offers it, else HTTP/1.1 (default)"),
        ("--http3", "HTTP/3 raced against HTTP/2 and HTTP/1.1"),
        ("--http3-only", "HTTP/3, nothing else"),
    ):
        group.add_argument(flag, dest="http", action="store_const", const=flag, help=text)


def _add_tls(parser: argparse.ArgumentParser) -> None:
    oldest = parser.add_mutually_exclusive_group()
    for flag, least in (("--tlsv1.2", "1.2"), ("--tlsv1.3", "1.3")):
        oldest.add_argument(
            flag,
            dest="tls_minimum",
            action="store_const",
            const=least,
            default="1.2",
            help=f"TLS {least} or later over TCP" + " (default)" * (least == "1.2"),
        )
    parser.add_argument("--ciphers", metavar="LIST", help="cipher suites of TLS 1.2, by OpenSSL")
    parser.add_argument(
        "--pinnedpubkey",
        metavar="HASHES",
        type=_pins,
        default=(),
        help="keys that the URL's host may have: 'sha256//BASE64;sha256//BASE64'",
    )
    parser.add_argument(
        "--ssl-sessions", metavar="FILE", help="keep HTTP/3's TLS sessions in this file"
    )
    parser.add_argument(
        "--tls-earlydata",
        action="store_true",
        help="send the request ahead of HTTP/3's handshake; somebody could send it again",
    )


def _add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resolve",
        metavar="HOST:PORT:ADDR[,ADDR]",
        action="append",
        default=[],
        type=_resolved,
        help="the addresses of a host, instead of looking them up; '*' for any host",
    )
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--doh-url", metavar="URL", help="look names up over HTTPS at this server")
    server.add_argument(
        "--dns-servers",
        metavar="ADDRESS[:PORT]",
        help="look names up at this one server, not at the system's",
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--port", type=_port, default=_SERVE_PORT, help=f"0 for a free one ({_SERVE_PORT})")
    add("--cleartext-port", type=_port, metavar="PORT", help="serve http:// on this port too")
    add("--trio", action="store_true", help="run on trio instead of asyncio")


def _switch_epilog() -> str:
    width = max(map(len, SWITCH_HELP))
    rows = "\n".join(f"  {switch:<{width}}  {text}" for switch, text in SWITCH_HELP.items())
    return f"query parameters of a request, as in /upload?delay=500&status=413:\n{rows}"


def _upload_arguments(
    given: argparse.Namespace, parser: argparse.ArgumentParser
) -> UploadArguments:
    if given.key is not None and given.cert is None:
        parser.error("--key needs --cert")
    protocols: dict[str | None, Protocol] = {"--http1.1": "http/1.1", "--http3-only": "h3"}
    return UploadArguments(
        url=given.url,
        file=given.file,
        name=given.name,
        form=tuple(given.form),
        headers=tuple(given.header),
        protocol=protocols.get(given.http, "auto"),
        http3=given.http == "--http3",
        verify=given.cacert or not given.insecure,
        cert=given.cert if given.key is None else (given.cert, given.key),
        tls_minimum=given.tls_minimum,
        ciphers=given.ciphers,
        pins=given.pinnedpubkey,
        sessions=given.ssl_sessions,
        early_data=given.tls_earlydata,
        uds=given.unix_socket,
        local_address=given.interface if _is_address(given.interface) else None,
        interface=None if _is_address(given.interface) else given.interface,
        proxy=given.proxy,
        no_proxy=given.noproxy,
        resolve=tuple(given.resolve),
        resolver=given.doh_url or (given.dns_servers and f"dns://{given.dns_servers}"),
        timeout_s=given.timeout or None,
        count=given.count,
        json=given.json,
        progress=not (given.no_progress or given.json),
        fail=given.fail,
        backend=_backend(given),
    )


def _is_address(text: str | None) -> bool:
    """Whether it is an IP address; curl's `--interface` takes one, too."""
    try:
        ip_address(text or "")
    except ValueError:
        return False
    return True


def _backend(given: argparse.Namespace) -> Backend:
    return "trio" if given.trio else "asyncio"


def _form_field(text: str) -> NameAndValue:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _header(text: str) -> NameAndValue:
    name, colon, value = text.partition(":")
    if colon and name.strip() and value.strip():
        return name.strip(), value.strip()
    if not colon and text.endswith(";") and text[:-1].strip():
        return text[:-1].strip(), ""
    raise argparse.ArgumentTypeError(f"{text!r} is not 'NAME: VALUE' (nor 'NAME;')")


def _resolved(text: str) -> HostAndAddresses:
    host, port, *rest = [*text.split(":", 2), "", ""]
    addresses = tuple(each.removeprefix("[").removesuffix("]") for each in rest[0].split(","))
    if not host or not all(map(_is_address, addresses)):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT:ADDR, with IP addresses")
    return f"{host}:{_number(port, 1, 65535)}", addresses


def _pins(text: str) -> tuple[str, ...]:
    """Curl writes two slashes, RFC 7469's tools one."""
    pins = tuple(pin.strip().replace("sha256//", "sha256/", 1) for pin in text.split(";"))
    if not all(pin.startswith("sha256/") for pin in pins):
        raise argparse.ArgumentTypeError(f"{text!r} is not 'sha256//BASE64', once or more with ';'")
    return pins


def _milliseconds(text: str) -> float:
    """Seconds."""
    return _number(text, 0, 2**31) / 1000


def _count(text: str) -> int:
    return _number(text, 1, 2**31)


def _port(text: str) -> int:
    return _number(text, 0, 65535)


def _number(text: str, lowest: int, highest: int) -> int:
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number from {lowest} to {highest}"
        )
    return int(text)
