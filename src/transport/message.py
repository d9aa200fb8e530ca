"""Requests and responses as values: header lists, URLs, heads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self
from urllib.parse import quote, urlsplit

from .errors import InvalidHeader, InvalidUrl
from .hosts import ascii_host

HeaderInput = Mapping[str, str] | Iterable[tuple[str, str]]

# RFC 9110 §5.6.2 token; §5.5 field-value without the obsolete line folding.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 §5.5: a recipient may take any control character for an end of line, or drop it.
_FORBIDDEN_IN_URL = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Names of fields whose values are credentials, the standard ones and what people make of them
#: (`X-Auth`, `X-Api-Key`, `X-Amz-Security-Token`); not a challenge, an authority or an author.
_SECRET = re.compile(
    r"auth(?!enticat|orit|or$)|cookie|token|secret|passw|api-?key|credential|session|signature",
    re.IGNORECASE,
)
#: Fields that hold a URL, which may hold a secret.
_LOCATORS = frozenset({"location", "content-location", "referer"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
# What browsers leave alone in a path and query (WHATWG URL, path and query percent-encode sets).
_URL_SAFE = "/%:@!$&'()*+,;=-._~?[]|^`{}\\\""


class Headers(Mapping[str, str]):
    """An ordered, case-insensitive list of header fields.

    Looking a name up joins repeated fields with ", " (RFC 9110 §5.3); `get_list` keeps them apart.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: HeaderInput = ()) -> None:
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        self._fields = tuple((str(name), str(value)) for name, value in pairs)

    @classmethod
    def of(cls, fields: tuple[tuple[str, str], ...]) -> Self:
        """Of pairs that are known to be plain text, as they are."""
        made = cls.__new__(cls)
        made._fields = fields
        return made

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Every field as it came, in order."""
        return self._fields

    def get_list(self, name: str) -> list[str]:
        """All values of one field, in order."""
        wanted = name.lower()
        return [value for key, value in self._fields if key.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        values = self.get_list(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_list(name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._fields))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._fields})

    def __repr__(self) -> str:
        return f"Headers({[(name, shown_value(name, value)) for name, value in self._fields]!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash(self._fields)


def shown_value(name: str, value: str) -> str:
    """What messages, logs and exports may show of a field: credentials never."""
    if _SECRET.search(name):
        return "***"
    return without_secrets(value) if name.lower() in _LOCATORS else value


def checked_headers(fields: HeaderInput) -> Headers:
    """Return the caller's header fields, or say which one HTTP cannot carry.

    Raises:
        InvalidHeader: a name is not a token (RFC 9110 §5.1), or a value holds a control
            character other than a tab, or cannot be written in Latin-1.
    """
    headers = Headers(fields)
    for name, value in headers.fields:
        if not _TOKEN.fullmatch(name):
            raise InvalidHeader(f"header name {name!r} is not a token (RFC 9110 §5.1)")
        if _FORBIDDEN_IN_VALUE.search(value):
            raise InvalidHeader(f"value of header {name!r} contains a control character")
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise InvalidHeader(
                f"value of header {name!r} has characters outside Latin-1; percent-encode it"
            ) from None
    return headers


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port (RFC 9110 §4.3.1); `host` is ASCII, IPv6 without brackets."""

    scheme: str
    host: str
    port: int
    secure: bool = field(init=False, repr=False, compare=False)
    """Whether TLS protects it."""
    authority: str = field(init=False, repr=False, compare=False)
    """Host and port as the `Host` field and `:authority` write them (default port left out)."""

    def __post_init__(self) -> None:
        """Write once what every request asks for."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.port == _DEFAULT_PORTS[self.scheme]
        object.__setattr__(self, "secure", self.scheme == "https")
        object.__setattr__(self, "authority", host if is_default else f"{host}:{self.port}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Url:
    """A URL split into where to go and what to ask for."""

    origin: Origin
    target: str
    """Path and query, percent-encoded, never empty (origin-form, RFC 9112 §3.2.1)."""
    text: str = field(init=False, repr=False, compare=False)
    """The whole of it."""
    shown: str = field(init=False, repr=False, compare=False)
    """For profiles, messages and logs: a query may hold a secret, as signed URLs do."""

    def __post_init__(self) -> None:
        """Write once what every request asks for."""
        path, mark, _ = self.target.partition("?")
        object.__setattr__(self, "text", f"{self.origin}{self.target}")
        object.__setattr__(self, "shown", f"{self.origin}{path}{mark and '?***'}")

    def __repr__(self) -> str:
        return f"Url({self.shown!r})"

    def __str__(self) -> str:
        return self.text


def parse_url(text: str) -> Url:
    """Parse an absolute http or https URL.

    Raises:
        InvalidUrl: wrong scheme, no host, user-info, a bad port or host, or control characters.
    """
    if not isinstance(text, str):
        raise InvalidUrl(f"url must be a str, not {type(text).__name__}")
    plain = str(text)
    return _split(plain) if "?" in plain else _known(plain)


def _split(text: str) -> Url:
    stripped = text.strip(" ")
    if _FORBIDDEN_IN_URL.search(stripped):
        shown = without_secrets(stripped)
        raise InvalidUrl(f"url {shown!r} contains a space, control character or surrogate")
    address, _, rest = stripped.partition("?")
    url = _parsed(address)
    query = "" if "#" in address else rest.partition("#")[0]
    return Url(url.origin, f"{url.target}?{quote(query, safe=_URL_SAFE)}") if query else url


#: RFC 3986 §3.2.2; some versions of `urlsplit` do not mind what stands beside the brackets.
_BRACKETS = re.compile(r"[^][]*|\[[^][:]*:[^][]*\](:[0-9]*)?")


#: Uploads go to the same few addresses again and again. Queries are not kept: they may be secrets,
#: which `urlsplit` would remember as well, and differ each time where they are signatures.
_known = lru_cache(maxsize=64)(_split)


@lru_cache(maxsize=64)
def _parsed(address: str) -> Url:
    shown = without_secrets(address)
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise InvalidUrl(f"url {shown!r}: the host or the port cannot be read") from None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise InvalidUrl(f"url {shown!r} must start with http:// or https://")
    if "@" in parts.netloc:
        raise InvalidUrl(
            "the url carries a user name or password before '@'; they would end up in logs: "
            "send an Authorization header instead"
        )
    if not parts.hostname:
        raise InvalidUrl(f"url {shown!r} has no host")
    if port == 0:
        raise InvalidUrl(f"url {shown!r}: port 0 cannot be connected to")
    if not _BRACKETS.fullmatch(parts.netloc):
        raise InvalidUrl(f"url {shown!r}: only IPv6 addresses stand in brackets")
    origin = Origin(scheme, ascii_host(parts.hostname), port or _DEFAULT_PORTS[scheme])
    return Url(origin, quote(parts.path or "/", safe=_URL_SAFE))


def without_secrets(text: str) -> str:
    """What may be a URL as messages show it: secrets may stand before an `@` and after a `?`."""
    before, mark, _ = text.partition("?")
    user, at, rest = before.rpartition("@")
    scheme, slashes, _ = user.partition("//")
    shown = f"{scheme}{slashes}***@{rest}" if at and slashes else f"***@{rest}" if at else before
    return f"{shown}?***" if mark else shown


@dataclass(slots=True, kw_only=True)
class RequestHead:
    """Everything a protocol needs to begin a request; pseudo-fields and Host are derived."""

    method: str
    url: Url
    headers: Headers
    """The fields to send, without Host, Content-Length and Transfer-Encoding."""
    content_length: int | None
    """Bytes of the body; 0 without a body; None when not known in advance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """Status and header fields of a response."""

    status: int
    headers: Headers
