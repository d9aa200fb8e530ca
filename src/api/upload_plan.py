"""The options of `uploadFile`: which there are, what each must be, and what they ask for.

Two kinds of mistakes are told apart. What could leave the caller without an answer is raised at
once: an unknown key (`sucess`), a callback that cannot be called, an unknown dialect. A wrong value
arrives like any other failure, through `fail` and `complete` and by waiting for the task, in the
words of WeChat's base library: `parameter.filePath should be String instead of Undefined;`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType
from typing import cast

from ..transport.config import AddressRule, Preference, Timeouts
from ..transport.errors import UsageError
from ..transport.form import FormValue
from .calls import UploadOptions
from .client_options import (
    CertInput,
    ConnectOptions,
    ProtocolInput,
    VerifyInput,
    engine_options,
    preference_of,
)
from .delivery import Callbacks
from .listeners import Listener
from .name_options import ResolveInput, ResolverInput, asks_over_https
from .quiet import refuse_coroutines

DEFAULT_TIMEOUT_MS = 60_000


class Kind(StrEnum):
    """What a value must be, by the names JavaScript has for it."""

    STRING = "String"
    NUMBER = "Number"
    BOOLEAN = "Boolean"
    OBJECT = "Object"
    FUNCTION = "Function"
    ARRAY = "Array"
    UNDEFINED = "Undefined"
    #: Python's own types; checked where they are used.
    ANY = "Any"


# The first that fits; bool stands before int, which it is a kind of.
_KINDS: tuple[tuple[type | tuple[type, ...], Kind], ...] = (
    (type(None), Kind.UNDEFINED),
    (str, Kind.STRING),
    (bool, Kind.BOOLEAN),
    ((int, float), Kind.NUMBER),
    (Mapping, Kind.OBJECT),
    ((list, tuple), Kind.ARRAY),
)
_REQUIRED = frozenset({"url", "filePath", "name"})
_CALLBACKS = ("success", "fail", "complete")

OPTIONS: Mapping[str, Kind] = MappingProxyType(
    {
        # the seed's
        "url": Kind.STRING,
        "filePath": Kind.STRING,
        "name": Kind.STRING,
        "header": Kind.OBJECT,
        "formData": Kind.OBJECT,
        "timeout": Kind.NUMBER,
        "enableProfile": Kind.BOOLEAN,
        "enableHttp2": Kind.BOOLEAN,
        "enableQuic": Kind.BOOLEAN,
        "success": Kind.FUNCTION,
        "fail": Kind.FUNCTION,
        "complete": Kind.FUNCTION,
        # trilane's own
        "verify": Kind.ANY,
        "cert": Kind.ANY,
        "proxy": Kind.ANY,
        "protocol": Kind.STRING,
        "allowAddress": Kind.FUNCTION,
        "fileName": Kind.STRING,
        "fileType": Kind.STRING,
        "dialect": Kind.STRING,
        "useHighPerformanceMode": Kind.BOOLEAN,
        "enableHttpDNS": Kind.BOOLEAN,
        "resolver": Kind.ANY,
        "resolve": Kind.OBJECT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPlan:
    """What one call of `uploadFile` asks for; what may hold a secret is not shown."""

    url: str = field(repr=False)
    file: str | os.PathLike[str]
    options: UploadOptions = field(repr=False)
    connect: ConnectOptions = field(repr=False)


def check_keys(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a key that has no meaning, and guess what was meant.

    Raises:
        UsageError: there is one.
    """
    known = list(known)
    for key in given:
        if key not in known:
            guess = get_close_matches(str(key), known, 1)
            hint = f"; did you mean {guess[0]!r}?" if guess else ""
            raise UsageError(f"uploadFile has no option {key!r}{hint}")


def read_callbacks(given: Mapping[str, object]) -> Callbacks:
    """The functions among the options.

    Raises:
        UsageError: one cannot be called, or would have to be awaited.
    """
    for key in _CALLBACKS:
        if key in given and not callable(given[key]):
            raise UsageError(_complaint(key, Kind.FUNCTION, given[key]))
        refuse_coroutines(given.get(key))
    success, fail, complete = (cast("Listener | None", given.get(key)) for key in _CALLBACKS)
    return Callbacks(success=success, fail=fail, complete=complete)


def read_plan(given: Mapping[str, object]) -> UploadPlan:
    """Check the values and say what they ask for.

    Raises:
        UsageError: a value is missing, or is not what it must be.
    """
    complaints = [
        _complaint(key, kind, given.get(key))
        for key, kind in OPTIONS.items()
        if (key in given or key in _REQUIRED) and not _fits(given.get(key), key, kind)
    ]
    if complaints:
        raise UsageError("".join(complaints))
    return UploadPlan(
        url=cast("str", given["url"]),
        file=cast("str", given["filePath"]),
        options=_upload_options(given),
        connect=_connect_options(given),
    )


def _connect_options(given: Mapping[str, object]) -> ConnectOptions:
    options = ConnectOptions(
        verify=cast("VerifyInput", given.get("verify", True)),
        cert=cast("CertInput | None", given.get("cert")),
        proxy=cast("str | None", given.get("proxy")),
        resolver=_resolver(given),
        resolve=cast("ResolveInput", given.get("resolve")),
    )
    if "allowAddress" in given:
        options["allow_address"] = cast("AddressRule", given["allowAddress"])
    engine_options(options)  # what it refuses is refused here
    return options


def _resolver(given: Mapping[str, object]) -> ResolverInput:
    """`enableHttpDNS` says whether the name server in `resolver` is used; it has no default one."""
    resolver = cast("ResolverInput", given.get("resolver"))
    over_https = asks_over_https(resolver)
    wanted = given.get("enableHttpDNS", over_https)
    if wanted and not over_https:
        raise UsageError(
            "enableHttpDNS needs a name server: give its URL, resolver='https://.../dns-query'"
        )
    return None if over_https and not wanted else resolver


def _upload_options(given: Mapping[str, object]) -> UploadOptions:
    flags = Preference(
        http2=bool(given.get("enableHttp2", False)), http3=bool(given.get("enableQuic", False))
    )
    return UploadOptions(
        name=cast("str", given["name"]),
        # Copies: the caller may go on to change its own.
        form=dict(cast("Mapping[str, FormValue]", given.get("formData", {}))),
        headers=dict(cast("Mapping[str, str]", given.get("header", {}))),
        filename=cast("str | None", given.get("fileName")),
        content_type=cast("str | None", given.get("fileType")),
        protocol=preference_of(cast("ProtocolInput", given.get("protocol", "auto")), flags),
        timeout=_timeouts(cast("float", given.get("timeout", DEFAULT_TIMEOUT_MS))),
        high_performance=bool(given.get("useHighPerformanceMode", True)),
        profile=bool(given.get("enableProfile", True)),
    )


def _timeouts(timeout_ms: float) -> Timeouts:
    if not timeout_ms > 0:
        raise UsageError(f"parameter.timeout should be greater than 0 instead of {timeout_ms};")
    return Timeouts(total_s=timeout_ms / 1000)


def _fits(value: object, key: str, kind: Kind) -> bool:
    if key == "filePath" and isinstance(value, os.PathLike):
        return True
    return kind is Kind.ANY or _kind_of(value) == kind


def _complaint(key: str, kind: Kind, value: object) -> str:
    return f"parameter.{key} should be {kind} instead of {_kind_of(value)};"


def _kind_of(value: object) -> str:
    """JavaScript's name for its type, or Python's where JavaScript has no such thing."""
    for types, kind in _KINDS:
        if isinstance(value, types):
            return kind
    return Kind.FUNCTION if callable(value) else type(value).__name__
