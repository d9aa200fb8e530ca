"""SOCKS5 (RFC 1928) with user name and password (RFC 1929), over socksio, without I/O.

socksio reads and writes messages; it wants them whole, so this module says how long they are.
"""

from __future__ import annotations

from ipaddress import ip_address

from socksio import ProtocolError as SocksViolation
from socksio import socks5

from ..config import ProxyServer
from ..errors import ProxyAuthenticationError, ProxyError

Command = socks5.SOCKS5Command
_Method = socks5.SOCKS5AuthMethod
_Type = socks5.SOCKS5AType

#: Whatever the reply's address is, its first octet says how long.
_REPLY_START_BYTES = 5
_PORT_BYTES = 2
_ADDRESS_BYTES = {1: 4, 4: 16}
_DOMAIN_NAME = 3
LONGEST_NAME = 255
_REASONS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}
REPLY_COMMAND_NOT_SUPPORTED = 7


class Socks5Dialogue:
    """Asks for one connection, or one UDP relay; implements `ProxyDialogue`."""

    name = "socks5"

    def __init__(self, proxy: ProxyServer, command: Command, target: tuple[str, int]) -> None:
        """Prepare to ask `proxy` for `command` on `target`: an IP address or a name, and a port."""
        self.bound: tuple[str, int] = ("", 0)
        """The address in the proxy's consent: for a UDP relay, where to send datagrams."""
        self._proxy = proxy
        self._request = socks5.SOCKS5CommandRequest.from_address(command, target)
        self._relays_datagrams = command is Command.UDP_ASSOCIATE
        self._socks = socks5.SOCKS5Connection()
        self._message = bytearray()
        self._message_bytes = 2

    @property
    def wanted_bytes(self) -> int:
        """What the message in progress lacks."""
        return self._message_bytes - len(self._message)

    def begin(self) -> bytes:
        """Which ways to authenticate there are."""
        methods = [_Method.NO_AUTH_REQUIRED]
        if self._proxy.user is not None:
            methods.append(_Method.USERNAME_PASSWORD)
        return self._say(socks5.SOCKS5AuthMethodsRequest(methods))

    def receive(self, data: bytes) -> bytes:
        """Take bytes of a message; see `ProxyDialogue.receive`."""
        self._message += data
        if self._message[0] not in {1, 5}:
            raise self._broken(f"it does not speak SOCKS5: {bytes(self._message)!r}")
        if self._socks.state is socks5.SOCKS5State.CLIENT_AUTHENTICATED:
            self._measure_reply()
        if self.wanted_bytes:
            return b""
        message = bytes(self._message)
        self._message.clear()
        try:
            reply = self._socks.receive_data(message)
        except SocksViolation as exc:
            raise self._broken(f"a malformed message: {message[:32]!r}") from exc
        return self._answer(reply)

    def _answer(self, reply: object) -> bytes:
        match reply:
            case socks5.SOCKS5AuthReply(method=_Method.NO_AUTH_REQUIRED):
                return self._ask()
            case socks5.SOCKS5AuthReply(method=_Method.USERNAME_PASSWORD) if self._proxy.user:
                user, password = self._proxy.user.encode(), self._proxy.password.encode()
                return self._say(socks5.SOCKS5UsernamePasswordRequest(user, password))
            case socks5.SOCKS5AuthReply(method=_Method.NO_ACCEPTABLE_METHODS):
                raise self._unauthenticated()
            case socks5.SOCKS5AuthReply():
                raise self._broken("it wants to authenticate in a way it was not offered")
            case socks5.SOCKS5UsernamePasswordReply(success=True):
                return self._ask()
            case socks5.SOCKS5UsernamePasswordReply():
                raise self._unauthenticated()
            case socks5.SOCKS5Reply(atype=kind, addr=host, port=port):
                self._message_bytes = 0
                # socksio leaves a name's length before it.
                self.bound = (host[1:] if kind is _Type.DOMAIN_NAME else host, port)
        return b""

    def _say(self, message: object) -> bytes:
        self._socks.send(message)
        return self._socks.data_to_send()

    def _ask(self) -> bytes:
        self._message_bytes = _REPLY_START_BYTES
        return self._say(self._request)

    def _measure_reply(self) -> None:
        """Say how long the reply is, once that can be told; a refusal needs no more."""
        if len(self._message) >= 2 and self._message[1] != 0:
            raise self._refused(self._message[1])
        if len(self._message) != _REPLY_START_BYTES:
            return
        kind, first = self._message[3:5]
        length = 1 + first if kind == _DOMAIN_NAME else _ADDRESS_BYTES.get(kind)
        if length is None:
            raise self._broken(f"an unknown type of address, {kind}")
        self._message_bytes = 4 + length + _PORT_BYTES

    # --- errors -------------------------------------------------------------------------------

    def _refused(self, code: int) -> ProxyError:
        reason = _REASONS.get(code, f"reply {code}")
        what = "to relay UDP" if self._relays_datagrams else "to connect"
        text = f"the proxy {self._proxy} refused {what}: {reason}"
        error = ProxyError(text, proxy=str(self._proxy), reply=code)
        error.refused = code == 5
        return error

    def _unauthenticated(self) -> ProxyAuthenticationError:
        given = self._proxy.user is not None
        reason = "refused the user name and password" if given else "wants a user name and password"
        return ProxyAuthenticationError(f"the proxy {self._proxy} {reason}", proxy=str(self._proxy))

    def _broken(self, reason: str) -> ProxyError:
        text = f"the proxy {self._proxy} broke SOCKS5: {reason}"
        return ProxyError(text, proxy=str(self._proxy))


def datagram_header(target: tuple[str, int]) -> bytes:
    """What stands before each datagram to a target (RFC 1928 §7): not fragmented."""
    host, port = target
    try:
        packed = ip_address(host).packed
    except ValueError:
        name = host.encode("ascii")
        address = bytes((_DOMAIN_NAME, len(name))) + name
    else:
        address = bytes((1 if len(packed) == 4 else 4,)) + packed
    return b"\x00\x00\x00" + address + port.to_bytes(_PORT_BYTES, "big")


def datagram_payload_start(data: bytes) -> int | None:
    """Where the payload of a relayed datagram begins; None: it is a fragment, or malformed.

    Fragments are dropped, as RFC 1928 §7 asks of who does not put them together.
    """
    if len(data) < _REPLY_START_BYTES or data[2] != 0:
        return None
    kind = data[3]
    length = 1 + data[4] if kind == _DOMAIN_NAME else _ADDRESS_BYTES.get(kind)
    if length is None:
        return None
    start = 4 + length + _PORT_BYTES
    return start if start <= len(data) else None
