from __future__ import annotations

import pytest

import trilane
from trilane.api.request_headers import USER_AGENT, request_fields, upload_fields
from trilane.transport.errors import InvalidHeader

TYPE = "multipart/form-data; boundary=x"


def test_defaults() -> None:
    headers = request_fields(None)

    assert dict(headers) == {
        "user-agent": f"trilane/{trilane.__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


def test_the_callers_own_replace_defaults_and_keep_their_order_and_case() -> None:
    headers = request_fields([("X-B", "2"), ("User-Agent", "me"), ("X-A", "1"), ("X-B", "3")])

    assert headers["user-agent"] == "me"
    assert headers.fields[-4:] == (("X-B", "2"), ("User-Agent", "me"), ("X-A", "1"), ("X-B", "3"))
    assert USER_AGENT not in headers.values()


def test_an_upload_has_its_content_type() -> None:
    assert upload_fields({"X-Token": "t"}, TYPE)["content-type"] == TYPE


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer-Encoding", "Connection", "keep-alive", "Expect", "TE"],
)
def test_fields_of_the_engine_are_refused(name: str) -> None:
    with pytest.raises(InvalidHeader, match=name):
        request_fields({name: "x"})


def test_a_content_type_would_lose_the_boundary() -> None:
    with pytest.raises(InvalidHeader, match="boundary"):
        upload_fields({"Content-Type": "multipart/form-data"}, TYPE)
    assert request_fields({"Content-Type": "text/plain"})["content-type"] == "text/plain"


def test_a_referer_is_refused_on_uploads() -> None:
    with pytest.raises(InvalidHeader, match="page"):
        upload_fields({"Referer": "https://example.com/"}, TYPE)


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\x00b"])
def test_injection_is_refused(value: str) -> None:
    with pytest.raises(InvalidHeader):
        upload_fields({"X-A": value}, TYPE)
