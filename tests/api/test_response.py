from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from trilane.api.response import Response, response_of
from trilane.transport.call import Outcome
from trilane.transport.config import HttpVersion
from trilane.transport.message import Headers, ResponseHead, parse_url
from trilane.transport.profile.profile import fold
from trilane.transport.profile.recorder import Recorder


def response(
    body: bytes = b"", status: int = 200, version: HttpVersion = HttpVersion.HTTP1, **fields: str
) -> Response:
    headers = Headers([(name.replace("_", "-"), value) for name, value in fields.items()])
    outcome = Outcome(
        head=ResponseHead(status=status, headers=headers),
        body=body,
        trailers=Headers(),
        url=parse_url("https://example.com/a"),
        version=version,
    )
    return response_of(outcome, None)


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (HttpVersion.HTTP1, "HTTP/1.1"),
        (HttpVersion.HTTP2, "HTTP/2"),
        (HttpVersion.HTTP3, "HTTP/3"),
    ],
)
def test_versions_have_httpxs_names(version: HttpVersion, name: str) -> None:
    assert response(version=version).http_version == name


@pytest.mark.parametrize(
    ("status", "success"), [(199, False), (200, True), (299, True), (300, False)]
)
def test_success_is_2xx(status: int, *, success: bool) -> None:
    assert response(status=status).is_success is success


def test_text_and_json() -> None:
    got = response('\ufeff{"name": "文件"}'.encode(), content_type="application/json")

    assert got.text == '{"name": "文件"}'
    assert got.json() == {"name": "文件"}
    with pytest.raises(ValueError, match="Expecting value"):
        response(b"<html>").json()


def test_cookies_are_kept_apart() -> None:
    headers = Headers([("Set-Cookie", "a=1, b"), ("x", "y"), ("set-cookie", "c=2")])
    outcome = Outcome(
        head=ResponseHead(status=200, headers=headers),
        body=b"",
        trailers=Headers(),
        url=parse_url("http://example.com/"),
        version=HttpVersion.HTTP1,
    )

    assert response_of(outcome, None).cookies == ["a=1, b", "c=2"]


def test_the_profile_is_that_of_the_record() -> None:
    recorder = Recorder(iter(range(10)).__next__)
    recorder.begin_leg("https://example.com/a")
    outcome = Outcome(
        head=ResponseHead(status=200, headers=Headers()),
        body=b"",
        trailers=Headers(),
        url=parse_url("https://example.com/a"),
        version=HttpVersion.HTTP1,
    )
    given = response_of(outcome, recorder)
    assert given.profile == fold(recorder)
    assert response_of(outcome, None).profile is None


def test_it_is_a_frozen_dataclass() -> None:
    got = response(b"body", 201)

    changed = replace(got, status_code=404, content=b"other")
    assert (changed.status_code, changed.content, changed.url) == (404, b"other", got.url)
    assert replace(changed, status_code=201, content=b"body") == got
    assert {field.name: getattr(got, field.name) for field in fields(got)} == vars(got)
    with pytest.raises(FrozenInstanceError):
        got.status_code = 200  # type: ignore[misc]
