"""A secret in every place that takes one, and everything that can be shown of a program: it is not.

All objects that are reached from a client, its calls, responses and errors are asked for their
`repr` and `str`; so are exports, logs, tracebacks and what the event loops report.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import _lru_cache_wrapper, lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

import trilane
from tests.peers.certificates import Certificates
from tests.peers.process import free_port
from tests.peers.servers import Endpoints
from trilane import DnsOverHttps, uploadFile

SECRET = "S3cr3tPassw0rd"
SECRET_FIELDS = (
    *("Authorization", "Cookie", "Proxy-Authorization", "X-Token", "X-Auth", "X-Api-Key"),
    *("X-Amz-Security-Token", "X-Csrf-Token", "apikey", "X-Session-Id", "Password"),
)
HEADERS = {name: f"{name} {SECRET}" for name in SECRET_FIELDS}
QUERY = f"?X-Amz-Signature={SECRET}"

every_protocol = pytest.mark.parametrize("protocol", ["http/1.1", "h2", "h3"])


@pytest.fixture
def options(certificates: Certificates, tmp_path: Path) -> dict[str, Any]:
    """What a client can be told in confidence."""
    key = load_pem_private_key(certificates.client.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    encryption = BestAvailableEncryption(SECRET.encode())
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return {
        "verify": str(certificates.ca),
        "cert": (str(certificates.client.cert), str(locked), SECRET),
        "quic": trilane.QuicOptions(qlog_dir=str(tmp_path)),
        "http3": True,
    }


def reached(*roots: object) -> Iterator[object]:
    """Everything of ours that the roots hold, directly or not; code and modules hold no secrets."""
    waiting, seen = deque(roots), set[int]()
    while waiting:
        each = waiting.popleft()
        if id(each) in seen or isinstance(each, type | ModuleType | CodeType | FunctionType):
            continue
        seen.add(id(each))
        yield each
        name = type(each).__module__
        if name.startswith("trilane") or isinstance(each, dict | list | tuple | set | frozenset):
            waiting.extend(gc.get_referents(each))


def leaks(*roots: object) -> list[str]:
    """Types of ours, or of exceptions, that tell the secret when they are shown."""
    return [
        type(each).__name__
        for each in reached(*roots)
        if type(each).__module__.startswith("trilane") or isinstance(each, BaseException)
        if SECRET in f"{each!r} {each!s}"
    ]


def kept_by_caches() -> list[str]:
    """Caches in our modules that hold the secret; they outlive every client."""
    modules = [module for name, module in sys.modules.items() if name.startswith("trilane")]
    places = [place for module in modules for place in vars(module).values()]
    caches = [place for place in places if isinstance(place, _lru_cache_wrapper)]
    ours = [cache for cache in caches if cache.__module__.startswith("trilane")]
    assert ours
    return [cache.__name__ for cache in ours if SECRET in str(list(held_by(cache)))]


def held_by(cache: object) -> Iterator[object]:
    """What a cache remembers, as far as it is made of built-in types and named tuples."""
    waiting = deque(gc.get_referents(cache))
    while waiting:
        each = waiting.popleft()
        if isinstance(each, dict | list | tuple):
            waiting.extend(gc.get_referents(each))
        elif isinstance(each, str | bytes):
            yield each


def shown_of(error: BaseException) -> str:
    """A traceback with the causes, and what the error says of itself."""
    return "".join(traceback.format_exception(error)) + repr(error)


def profile_exports(profile: trilane.Profile | None) -> Iterable[str]:
    assert profile is not None
    yield from (str(profile), repr(profile))
    yield json.dumps(profile.seed(), default=str)
    yield json.dumps(asdict(profile), default=str)


def check_logs(caplog: pytest.LogCaptureFixture, folder: Path, qlogs: int | None = None) -> None:
    logged = "\n".join(f"{each.getMessage()} {each.exc_text}" for each in caplog.records)
    assert SECRET not in logged
    found = list(folder.glob("*.qlog"))
    assert qlogs in (None, len(found))
    for path in found:
        assert SECRET not in path.read_text("utf-8"), path


def test_leaks_are_found() -> None:
    class Telling:
        __module__ = "trilane.invented"

        def __init__(self, text: str) -> None:
            self.text = text

        def __repr__(self) -> str:
            return self.text

    assert leaks({"a": [Telling(SECRET)]}) == ["Telling"]
    assert leaks(ValueError(SECRET)) == ["ValueError"]
    assert leaks({"a": SECRET}) == []


def test_what_caches_hold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @lru_cache
    def telling(text: str) -> tuple[bytes]:
        return (text.encode(),)

    telling.__module__ = "trilane.invented"
    monkeypatch.setattr(trilane, "telling", telling, raising=False)
    telling(SECRET)
    assert kept_by_caches() == ["telling"]
    telling.cache_clear()
    assert kept_by_caches() == []


@every_protocol
async def test_an_upload_that_succeeds(
    caddy: Endpoints,
    options: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    protocol: Any,
) -> None:
    seen: list[object] = []
    part = trilane.Part("file", b"x", headers={"X-Token": SECRET})
    with caplog.at_level(logging.DEBUG):
        async with trilane.AsyncClient(**options) as client:
            response = await client.upload(
                caddy.url("https", f"/upload{QUERY}"),
                files=[part],
                form={"password": SECRET},
                headers=HEADERS,
                protocol=protocol,
                on_headers=seen.append,
                on_progress=seen.append,
            )
            assert response.status_code == 200
            # They have all arrived, which is what they were for.
            assert response.text.count(SECRET) >= len(HEADERS) - 1
            held = [type(each).__name__ for each in reached(client)]
            assert {"Engine", "Pool", "TlsOptions"} <= set(held)
            assert leaks(client, response, seen, part) == []
    assert kept_by_caches() == []
    for text in profile_exports(response.profile):
        assert SECRET not in text
    check_logs(caplog, tmp_path, qlogs=int(protocol == "h3"))


@every_protocol
@pytest.mark.parametrize("wrong", ["port", "name server", "redirect", "proxy", "password"])
async def test_an_upload_that_fails(
    caddy: Endpoints,
    options: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    *,
    protocol: Any,
    wrong: str,
) -> None:
    url = f"https://127.0.0.1:{free_port()}/{QUERY}"
    if wrong == "name server":
        url = f"https://one.example/{QUERY}"
        options["resolver"] = DnsOverHttps(f"https://127.0.0.1:{free_port()}/{QUERY}", "GET")
    elif wrong == "redirect":
        location = f"ftp://user:{SECRET}@127.0.0.1/{QUERY}"
        url = caddy.url("https", f"/upload{QUERY}&status=307&location={location}")
    elif wrong == "proxy":
        options["proxy"] = f"socks5://user:{SECRET}@127.0.0.1:{free_port()}"
    elif wrong == "password":
        cert, key, _ = options["cert"]
        options["cert"] = (cert, key, SECRET[:-1] + "!")
    with caplog.at_level(logging.DEBUG):
        async with trilane.AsyncClient(**options) as client:
            with pytest.raises(trilane.TransportError) as caught:
                await client.upload(
                    url, b"x", headers=HEADERS, protocol=protocol, form={"password": SECRET}
                )
            assert leaks(client, caught.value, vars(caught.value)) == []
    assert SECRET[:-1] not in shown_of(caught.value)
    for text in profile_exports(caught.value.profile):
        assert SECRET not in text
    check_logs(caplog, tmp_path)


@pytest.mark.parametrize("works", [True, False])
def test_upload_file(
    caddy: Endpoints,
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    *,
    works: bool,
) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"x")
    failures: list[dict[str, Any]] = []
    with caplog.at_level(logging.DEBUG):
        task = uploadFile(
            {
                "url": caddy.url("https", f"/upload{QUERY}")
                if works
                else f"https://127.0.0.1:{free_port()}/{QUERY}",
                "filePath": str(file),
                "name": "file",
                "formData": {"password": SECRET},
                "header": HEADERS,
                "verify": str(certificates.ca),
                "proxy": "" if works else f"http://user:{SECRET}@127.0.0.1:{free_port()}",
                "fail": failures.append,
            }
        )
        if works:
            assert json.dumps(task.result()["profile"]).count(SECRET) == 0
        else:
            with pytest.raises(trilane.TransportError) as caught:
                task.result()
            assert SECRET not in shown_of(caught.value)
            assert SECRET not in json.dumps(failures, default=str)
    assert leaks(task) == []
    check_logs(caplog, tmp_path)
