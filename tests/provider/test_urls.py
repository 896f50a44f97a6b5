"""Where a provider call may go, and where the next page is."""

import pytest

from vestibule.provider.urls import endpoint_problem, next_page, origin, with_query


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example",
        "https://x.example:8443/a?b=c",
        "http://localhost:1/a",
        "http://127.0.0.1/a",
        "http://[::1]:9/a",
    ],
)
def test_endpoint_may_be_called(url):
    """RFC 6749 §3.1 and §3.2; RFC 8252 §7.3 for loopback."""
    assert endpoint_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example/a",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://2130706433/",
        "https://good.example@evil.example/",
        "https://x.example/#a",
        "https://x.example\\@evil.example/",
        "https://x.example/a b",
        "https://x.example/a\r\nX: y",
        "https://x.exämple/",
        "https:///a",
        "https://[::1",
        "https://x.example:99999/",
        "ftp://x.example/",
        "javascript:alert(1)",
        "//x.example/a",
        "/a",
        "",
    ],
)
def test_attack_endpoint_must_not_be_called(url):
    """Plain http, user information, fragments, backslashes, line breaks: whoever put it there."""
    assert endpoint_problem(url) is not None


def test_query_is_added_to_a_query():
    """RFC 6749 §3.1: the query component of an endpoint is kept."""
    assert with_query("https://x/a", {}) == "https://x/a"
    assert with_query("https://x/a", {"s": "a b&c"}) == "https://x/a?s=a%20b%26c"
    assert with_query("https://x/a?t=1", {"s": "é"}) == "https://x/a?t=1&s=%C3%A9"


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ('<https://x.example/u?page=2>; rel="next"', "https://x.example/u?page=2"),
        (
            '<https://x.example/u?page=1>; rel="prev", <https://x.example/u?page=3>; rel="next"',
            "https://x.example/u?page=3",
        ),
        ("<?page=2>; rel=next", "https://x.example/u?page=2"),
        ('</v>; title="a, b; c"; rel="last next"', "https://x.example/v"),
        ('<https://x.example/u?a=1,2>; REL="Next"', "https://x.example/u?a=1,2"),
        ('<https://x.example/u>; rel="last"', None),
        ('<https://x.example/u>; title="rel=next"', None),
        ('<https://x.example/u>; rel="nextish"', None),
        ("rubbish", None),
        ("", None),
        (None, None),
    ],
)
def test_next_page(link, target):
    """RFC 8288 §3: relations are a list, names ignore case, targets may be relative."""
    assert next_page("https://x.example/u", link) == target


def test_origin_has_its_default_port():
    """RFC 6454 §4."""
    assert origin("https://X.example/a") == origin("https://x.example:443/b")
    assert origin("https://x.example/") != origin("https://x.example:444/")
    assert origin("https://x.example/") != origin("http://x.example/")
