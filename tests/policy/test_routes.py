"""Routes, by whole segments of the raw path; every spelling that two readers could take differently is refused."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vestibule.policy.routes import RESERVED, RouteTable, ambiguity, is_reserved, shadows_reserved

ROUTES = RouteTable([("/mcp", "mcp"), ("/api", "api"), ("/api/admin", "admin"), ("/a/b/c/", "deep")])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/mcp", ("mcp", b"")),
        (b"/mcp/", ("mcp", b"/")),
        (b"/mcp/x", ("mcp", b"/x")),
        (b"/mcp//x", ("mcp", b"//x")),
        (b"/api/users/7", ("api", b"/users/7")),
        (b"/a/b/c", ("deep", b"")),
        (b"/a/b/c/d", ("deep", b"/d")),
        (b"/a/b", None),
        (b"/", None),
        (b"", None),
        (b"mcp", None),
        (b"//mcp", None),
        (b"/MCP", None),
        (b"http://other/mcp", None),
    ],
)
def test_whole_segments_of_the_raw_path(path, found):
    """Design decisions 10 and 21: the value, and the rest that is forwarded byte for byte."""
    assert ROUTES.match(path) == found


@pytest.mark.parametrize("path", [b"/mcpfoo", b"/mcp%2Fadmin", b"/mcp%2fadmin", b"/mcp;x", b"/mcp.", b"/mcp%00"])
def test_attack_path_that_only_starts_like_a_route(path):
    """What a framework's mount would let through: `/mcpfoo` and `/mcp%2Fadmin` are not under `/mcp`."""
    assert ROUTES.match(path) is None


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/api/admin", ("admin", b"")),
        (b"/api/admin/keys", ("admin", b"/keys")),
        (b"/api/administrator", ("api", b"/administrator")),
        (b"/api/x/admin", ("api", b"/x/admin")),
    ],
)
def test_attack_key_of_api_on_api_admin(path, found):
    """Nested routes: the longest match alone decides, so a key bound to `/api` meets the route `/api/admin`."""
    assert ROUTES.match(path) == found


@pytest.mark.parametrize("path", [b"/api/%61dmin", b"/%61pi/admin", b"/api/adm%69n/keys"])
def test_attack_encoded_letters_slip_into_the_parent_route(path):
    """RFC 3986 §6.2.2.2: `%61` is `a` to the backend, so the parent's key would reach what the child protects."""
    assert ambiguity(path) == "path_encoded_unreserved"


def test_root_route_takes_the_rest():
    """A route at `/` is the shortest of all; the rest is then the whole path."""
    table = RouteTable([("/", "root"), ("/mcp", "mcp")])
    assert table.match(b"/") == ("root", b"/")
    assert table.match(b"/other/x") == ("root", b"/other/x")
    assert table.match(b"/mcp/x") == ("mcp", b"/x")
    assert table.match(b"*") is None


@pytest.mark.parametrize("paths", [["/a", "/a/"], ["/a", "/a"], ["/a//b"], ["/a/../b"], ["a"], [""], ["/a%41"]])
def test_route_table_refuses(paths):
    """A table in which two routes collide, or a path that no unambiguous request can reach, is a config error."""
    with pytest.raises(ValueError, match="route"):
        RouteTable([(path, None) for path in paths])


def test_empty_table_matches_nothing():
    """Fail closed: unknown route, 404."""
    assert RouteTable[str]([]).match(b"/") is None


def test_long_hostile_path_is_not_walked():
    """The search starts where the longest route could end, so this takes no time at all."""
    assert ROUTES.match(b"/mcp" + b"/x" * 1_000_000) is not None


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "ab", "."]), max_size=4).map("/".join), unique=True),
    st.lists(st.sampled_from(["a", "b", "ab", "", "%61"]), max_size=6).map("/".join),
)
def test_match_equals_a_linear_scan(prefixes, path):
    """The dictionary walk finds what trying every route finds."""
    routes = ["/" + prefix for prefix in prefixes if "." not in prefix]
    raw = f"/{path}"
    fitting = [route for route in routes if (raw + "/").startswith(route.removesuffix("/") + "/")]
    longest = max(fitting, key=len, default=None)
    found = RouteTable((route, route) for route in routes).match(raw.encode())
    assert found == (longest and (longest, raw[len(longest.removesuffix("/")) :].encode()))


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/mcp",
        b"/mcp/",
        b"/a/b.c/.d/..e/...",
        b"/v1/users/@me:batch/x=y,z/(1)/it's!$&*+",
        b"/list[0]|x",
        b"/a%20b",
        b"/caf%C3%A9/%E4%B8%96",
        b"/100%25",
        b"/%3Fq%23f%40%5B",
    ],
)
def test_plain_paths_pass(path):
    """Escapes are fine where every reader sees the same segments after decoding."""
    assert ambiguity(path) is None


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        (b"", "path_not_absolute"),
        (b"*", "path_not_absolute"),
        (b"mcp/x", "path_not_absolute"),
        (b"/caf\xc3\xa9", "path_not_ascii"),
        (b"/\xff", "path_not_ascii"),
        (b"/a\x00b", "path_control_character"),
        (b"/a%00b", "path_control_character"),
        (b"/a\r\nHost: x", "path_control_character"),
        (b"/a%0d%0aX: y", "path_control_character"),
        (b"/a%1Fb", "path_control_character"),
        (b"/a%7f", "path_control_character"),
        (b"/a%", "path_invalid_escape"),
        (b"/a%2", "path_invalid_escape"),
        (b"/a%zz", "path_invalid_escape"),
        (b"/a%u002e", "path_invalid_escape"),
        (b"/a b", "path_invalid_character"),
        (b"/a?b", "path_invalid_character"),
        (b"/a#b", "path_invalid_character"),
        (b'/"<>', "path_invalid_character"),
        (b"/%ff", "path_not_utf8"),
    ],
)
def test_ambiguous_paths_are_refused(path, slug):
    """Design decision 21; RFC 3986 §3.3 for what a path may contain."""
    assert ambiguity(path) == slug


@pytest.mark.parametrize(
    "path",
    [
        b"/mcp/../admin",
        b"/mcp/..",
        b"/..",
        b"/./mcp",
        b"/mcp/.",
        b"/mcp/%2e%2e/admin",
        b"/mcp/%2E./admin",
        b"/mcp/.%2e",
        b"/mcp/%2e/x",
    ],
)
def test_attack_path_traversal(path):
    """CVE-2026-32871, CVE-2026-33494: dot segments, also encoded, also at the end."""
    assert ambiguity(path) == "path_dot_segment"


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        (b"/mcp%2Fadmin", "path_encoded_slash"),
        (b"/mcp%2fadmin", "path_encoded_slash"),
        (b"/mcp/..%2fadmin", "path_encoded_slash"),
        (b"/mcp\\admin", "path_backslash"),
        (b"/mcp%5Cadmin", "path_backslash"),
        (b"/mcp/..%5cadmin", "path_backslash"),
    ],
)
def test_attack_encoded_slash_and_backslash(path, slug):
    """A backend that decodes before it splits sees another segment."""
    assert ambiguity(path) == slug


@pytest.mark.parametrize("path", [b"/%252e%252e/admin", b"/mcp%252Fadmin", b"/%25%35%43", b"/a%2525", b"/%25632e"])
def test_attack_double_encoding(path):
    """A backend that decodes twice sees `..` or `/`."""
    assert ambiguity(path) in {"path_double_encoding", "path_encoded_unreserved"}


@pytest.mark.parametrize("path", [b"/mcp/..;/admin", b"/admin;x=1", b"/;a/b", b"/admin%3bx", b"/admin%3Bx"])
def test_attack_path_parameters(path):
    """Servlet containers cut `;…` out of each segment before they route: `/..;/` is `/../` to them."""
    assert ambiguity(path) == "path_parameter"


@pytest.mark.parametrize("path", [b"//", b"//admin", b"/mcp//admin", b"/mcp//", b"//evil.example/x"])
def test_attack_empty_segments(path):
    """Some backends merge slashes, some read `//host`."""
    assert ambiguity(path) == "path_empty_segment"


@pytest.mark.parametrize("path", [b"/%c0%ae%c0%ae/admin", b"/x%c0%afadmin", b"/%e0%80%af", b"/%ed%a0%80"])
def test_attack_overlong_utf8(path):
    """RFC 3629 §10: lax decoders read overlong forms as `.` and `/`."""
    assert ambiguity(path) == "path_not_utf8"


PIECES = st.sampled_from(
    [*"/.%;\\az09AF~_- ?#[|", "..", "//", "%2e", "%2F", "%25", "%5c", "%41", "%20", "%c3%a9", "%c0%ae", "%00"]
)


@given(st.lists(PIECES, max_size=12).map(lambda pieces: "/" + "".join(pieces)))
@example("/a%2525%32%65")
def test_accepted_paths_decode_to_themselves_segment_wise(text):
    """Whatever is accepted has the same segments before and after decoding, once or twice; none is empty or dotted."""
    raw = text.encode()
    if ambiguity(raw) is not None:
        return
    decoded = unquote_to_bytes(raw)
    segments = raw.split(b"/")
    assert decoded.split(b"/") == [unquote_to_bytes(segment) for segment in segments]
    assert unquote_to_bytes(decoded) == decoded
    assert not {b".", b".."} & set(decoded.split(b"/"))
    assert b"" not in segments[1:-1]
    assert not set(decoded) & set(b"\\;\x00\x7f")
    assert decoded.decode().isprintable()


@pytest.mark.parametrize(
    ("path", "reserved"),
    [
        (b"/oauth", True),
        (b"/oauth/", True),
        (b"/oauth/token", True),
        (b"/.well-known/oauth-protected-resource/mcp", True),
        (b"/health", True),
        (b"/account/keys", True),
        (b"/auth/nginx", True),
        (b"/oauthx", False),
        (b"/healthz", False),
        (b"/authorize", False),
        (b"/x/oauth", False),
        (b"/", False),
        (b"", False),
    ],
)
def test_reserved_paths(path, reserved):
    """Design decision 10: our own paths come first, by whole segments."""
    assert is_reserved(path) is reserved


def test_reserved_paths_are_single_segments():
    """What the look-up by first segment relies on."""
    assert all(path.count("/") == 1 for path in RESERVED)


@pytest.mark.parametrize(
    ("path", "reserved"),
    [
        ("/oauth", "/oauth"),
        ("/oauth/", "/oauth"),
        ("/oauth/mcp", "/oauth"),
        ("/.well-known/x", "/.well-known"),
        ("/auth", "/auth"),
        ("/", None),
        ("/mcp", None),
        ("/oauthx", None),
        ("/healthz/oauth", None),
    ],
)
def test_routes_that_shadow_a_reserved_path(path, reserved):
    """A config error, except `/`: reserved paths come before it anyway."""
    assert shadows_reserved(path) == reserved
