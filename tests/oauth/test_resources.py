"""Which route a request is for (RFC 8707)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.errors import InvalidTarget
from vestibule.oauth.resources import Resource, canonical, find_resource, requested_resource

ISSUES = Resource(route="issues", url="https://gate.example/mcp", permissions=("read", "write"), defaults=("read",))
DEEPER = Resource(route="deeper", url="https://gate.example/mcp/admin", permissions=("all",), defaults=())


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://gate.example/mcp", "https://gate.example/mcp"),
        ("HTTPS://Gate.Example/mcp", "https://gate.example/mcp"),
        ("https://gate.example:443/mcp", "https://gate.example/mcp"),
        ("https://gate.example/mcp/", "https://gate.example/mcp"),
        ("https://gate.example/", "https://gate.example"),
        ("https://gate.example", "https://gate.example"),
        ("http://127.0.0.1:8000/mcp", "http://127.0.0.1:8000/mcp"),
        ("http://gate.example:80/mcp", "http://gate.example/mcp"),
        ("http://[::1]:8000/mcp", "http://[::1]:8000/mcp"),
        ("https://gate.example/MCP", "https://gate.example/MCP"),
        ("https://gate.example/mcp//", "https://gate.example/mcp/"),
        ("https://gate.example/mcp#x", None),
        ("https://gate.example/mcp#", None),
        ("https://gate.example/mcp?x=1", None),
        ("https://gate.example/mcp?", None),
        ("https://gate.example@evil.example/mcp", None),
        ("https://gate.example/a/../mcp", None),
        ("https://gate.example/%2e%2e/mcp", None),
        ("https:/gate.example/mcp", None),
        ("//gate.example/mcp", None),
        ("/mcp", None),
        ("urn:example:mcp", None),
        ("ftp://gate.example/mcp", None),
        ("https://gate.example:99999/mcp", None),
        ("https://gate.example:0/mcp", None),
        ("", None),
    ],
)
def test_canonical(uri, expected):
    """RFC 3986 §6.2.2 and §6.2.3 for what is normalised; RFC 8707 §2 for what is refused."""
    assert canonical(uri) == expected


@pytest.mark.parametrize(
    ("resources", "requested", "route"),
    [
        ([ISSUES], (), "issues"),
        ([ISSUES], ("https://gate.example/mcp",), "issues"),
        ([ISSUES], ("https://gate.example/mcp/",), "issues"),
        ([ISSUES], ("https://gate.example/mcp", "https://GATE.example/mcp/"), "issues"),
        ([ISSUES, DEEPER], ("https://gate.example/mcp/admin",), "deeper"),
        ([ISSUES, DEEPER], (), "resource_missing"),
        ([], (), "resource_missing"),
        ([ISSUES], ("https://gate.example",), "resource_unknown"),
        ([ISSUES], ("https://gate.example/mcp/admin",), "resource_unknown"),
        ([ISSUES], ("https://other.example/mcp",), "resource_unknown"),
        ([ISSUES], ("http://gate.example/mcp",), "resource_unknown"),
        ([ISSUES, DEEPER], ("https://gate.example/mcp", "https://gate.example/mcp/admin"), "resource_several"),
        ([ISSUES], ("https://gate.example/mcp", "nonsense"), "resource_several"),
        ([ISSUES], ("https://gate.example/mcp#a",), "resource_malformed"),
    ],
)
def test_find_resource(resources, requested, route):
    """RFC 8707 §2: exactly one, exactly equal; omitted only where one exists."""
    try:
        assert find_resource(resources, requested).route == route
    except InvalidTarget as refused:
        assert refused.slug == route  # noqa: PT017  # the table names the outcome, value or refusal


def test_token_request_without_resource_names_none():
    """RFC 8707 §2.2: optional there, since the grant is bound already."""
    assert requested_resource(()) is None


@given(st.text(max_size=80))
def test_canonical_is_total_and_idempotent_up_to_one_slash(uri):
    """Any text gives None or a canonical URI, which is its own canonical form unless it ends in a slash."""
    once = canonical(uri)
    if once is not None and not once.endswith("/"):
        assert canonical(once) == once
