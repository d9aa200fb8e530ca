"""How the three platforms name things: one table per dialect.

What differs from the originals, and why, is in the README; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..transport import errors
from ..transport.errors import UsageError
from .error_table import seed_failure
from .listeners import Event
from .progress_meter import Percentage
from .response import Response
from .upload_plan import OPTIONS

UPLOAD_OK = "uploadFile:ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one platform's `uploadFile` takes and gives."""

    aliases: Mapping[str, str]
    """Its names for options that have another name here."""
    ignored: frozenset[str]
    """Options it has that mean nothing here."""
    result_keys: frozenset[str]
    """What `success` gets; all of `seed_success`'s keys unless it has fewer."""
    sent_key: str
    total_key: str
    failure: Callable[[BaseException], Event]
    """What `fail` gets."""

    def known_options(self) -> list[str]:
        """Every key it accepts."""
        return [*OPTIONS, *self.aliases, *self.ignored]

    def seed_options(self, given: Mapping[str, object]) -> dict[str, object]:
        """The options that were given, under the seed's names; None counts as not given."""
        options: dict[str, object] = {}
        for key, value in given.items():
            if value is None or key in self.ignored:
                continue
            if key in self.aliases:
                options.setdefault(self.aliases[key], value)
            else:
                options[key] = value
        return options

    def success(self, response: Response) -> Event:
        """What `success` gets."""
        return {k: v for k, v in seed_success(response).items() if k in self.result_keys}

    def progress(self, at: Percentage) -> Event:
        """What progress listeners get."""
        return {
            "progress": at.percent,
            self.sent_key: at.sent_bytes,
            self.total_key: at.total_bytes,
        }


def seed_success(response: Response) -> Event:
    """The seed's result: what `success` gets, JSON-serialisable; no `profile` when not recorded."""
    result: Event = {
        "data": response.text,
        "statusCode": response.status_code,
        "header": dict(response.headers),
        "cookies": response.cookies,
        "errMsg": UPLOAD_OK,
    }
    if response.profile is not None:
        result["profile"] = response.profile.seed()
    return result


def dialect_named(name: object) -> Dialect:
    """The dialect of that name; `wx` when None.

    Raises:
        UsageError: there is none.
    """
    dialect = DIALECTS.get(name if isinstance(name, str) else "wx" if name is None else "")
    if dialect is None:
        raise UsageError(f"dialect {name!r} is none of {', '.join(map(repr, DIALECTS))}")
    return dialect


# Error code by class; the nearest base class counts (my.uploadFile, "error codes").
ALIPAY_CODES: Mapping[type, int] = MappingProxyType(
    {
        errors.Aborted: 9,
        errors.UsageError: 11,  # invalid parameter
        errors.SourceUnavailable: 11,  # the file does not exist
        errors.InvalidUrl: 20,  # not an https (here: or http) URL
        errors.TransportError: 12,  # the request failed or timed out
    }
)


def _seed_failure(error: BaseException) -> Event:
    return {**seed_failure(error)}


def _alipay_failure(error: BaseException) -> Event:
    code = next((ALIPAY_CODES[kind] for kind in type(error).__mro__ if kind in ALIPAY_CODES), 12)
    return {"error": code, "errorMessage": seed_failure(error)["errMsg"]}


_WX = Dialect(
    aliases={},
    ignored=frozenset(),
    result_keys=frozenset({"data", "statusCode", "header", "cookies", "errMsg", "profile"}),
    sent_key="totalBytesSent",
    total_key="totalBytesExpectedToSend",
    failure=_seed_failure,
)
_MPX = replace(_WX, ignored=frozenset({"usePromise"}))
_ALIPAY = Dialect(
    aliases={"fileName": "name", "headers": "header"},
    ignored=frozenset({"fileType", "hideLoading"}),
    result_keys=frozenset({"data", "statusCode", "header", "profile"}),
    sent_key="totalBytesWritten",
    total_key="totalBytesExpectedToWrite",
    failure=_alipay_failure,
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType({"wx": _WX, "mpx": _MPX, "alipay": _ALIPAY})
