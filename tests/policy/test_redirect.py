"""What a redirect asks for (Fetch, HTTP-redirect fetch)."""

from __future__ import annotations

import pytest

from trilane.transport.errors import RedirectError
from trilane.transport.message import Headers, ResponseHead, parse_url
from trilane.transport.policy.redirect import redirection

URL = parse_url("https://a.example/dir/up?x=1")
HEADERS = Headers(
    {"Authorization": "t", "Cookie": "c", "Content-Type": "multipart/form-data", "X-Own": "1"}
)


def head(status: int, location: str | None) -> ResponseHead:
    fields = {} if location is None else {"Location": location}
    return ResponseHead(status=status, headers=Headers(fields))


@pytest.mark.parametrize(
    ("status", "method", "expected_method", "keeps_body"),
    [
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (303, "POST", "GET", False),
        (307, "POST", "POST", True),
        (308, "POST", "POST", True),
        (301, "PUT", "PUT", True),
        (302, "PUT", "PUT", True),
        (303, "PUT", "GET", False),
        (303, "HEAD", "HEAD", True),
    ],
)
def test_method_and_body(status: int, method: str, expected_method: str, keeps_body: bool) -> None:
    step = redirection(method, URL, HEADERS, head(status, "next"))

    assert step is not None
    assert (step.method, step.keeps_body) == (expected_method, keeps_body)
    assert str(step.url) == "https://a.example/dir/next"
    assert ("content-type" in step.headers) is keeps_body


@pytest.mark.parametrize(
    ("location", "kept"),
    [("/same", True), ("https://a.example:443/x", True), ("https://b.example/", False)],
)
def test_credentials_stay_with_their_origin(location: str, kept: bool) -> None:
    step = redirection("POST", URL, HEADERS, head(307, location))

    assert step is not None
    assert ("authorization" in step.headers, "cookie" in step.headers) == (kept, kept)
    assert step.headers["x-own"] == "1"


@pytest.mark.parametrize(("status", "location"), [(200, "/x"), (307, None), (304, "/x")])
def test_other_responses_are_no_redirects(status: int, location: str | None) -> None:
    assert redirection("POST", URL, HEADERS, head(status, location)) is None


@pytest.mark.parametrize(
    "location",
    [
        "ftp://a.example/",
        "https://u:p@a.example/",
        "http:// /",
        "http://[::1/",
        "//a\u2100b/",
        f"https://{'1' * 5000}/",
        f"https://a:{'1' * 5000}/",
    ],
)
def test_a_target_that_cannot_be_dialled_is_an_error(location: str) -> None:
    with pytest.raises(RedirectError):
        redirection("POST", URL, HEADERS, head(307, location))


def test_leaving_https_is_refused_unless_allowed() -> None:
    to_http = head(307, "http://a.example/")
    with pytest.raises(RedirectError, match="refused"):
        redirection("POST", URL, HEADERS, to_http)

    step = redirection("POST", URL, HEADERS, to_http, may_leave_https=True)
    assert step is not None
    assert str(step.url) == "http://a.example/"
    # It is another origin.
    assert "authorization" not in step.headers
