"""Permissions against requests: the semantics as tables, then the ways around them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.config import Match, McpMatch, PermissionConfig
from vestibule.policy.mcp import McpCall
from vestibule.policy.permissions import ALLOWED, DENIED, Missing, RequestFacts, compile_permissions


def permissions(**matches):
    return compile_permissions({name: PermissionConfig(title=name, match=match) for name, match in matches.items()})


def mcp(tools=(), methods=(), **conditions):
    return Match(mcp=McpMatch(tools=tools, methods=methods), **conditions)


def tool(name):
    return McpCall("tools/call", name)


def other(method):
    return McpCall(method, None)


ISSUES = permissions(
    read=mcp(tools=("get_*", "list_*", "search_issues"), methods=("resources/read",)),
    write=mcp(tools=("*",), methods=("*",)),
)
API = permissions(
    read=Match(methods=("GET",)),
    write=Match(methods=("POST", "PUT"), paths=("/items/**",)),
    admin=Match(paths=("/admin/**",)),
)
READ, WRITE = frozenset({"read"}), frozenset({"write"})
NOBODY = frozenset()


def post(calls, path=""):
    return RequestFacts("POST", path, tuple(calls))


# --- what a route offers ---------------------------------------------------------------------------------------------


def test_route_without_permissions_has_full_access():
    """Design decision 9: one permission that covers the route, so that every key still names what it may do."""
    everything = compile_permissions({})
    assert [(item.id, item.title, item.default) for item in everything.items] == [("access", "Full access", True)]
    assert everything.defaults == ("access",)
    assert not everything.is_mcp
    assert everything.judge(RequestFacts("PATCH", "/x", None), frozenset({"access"})) is ALLOWED
    assert everything.judge(RequestFacts("GET", "", None), NOBODY) == Missing(("access",))


def test_defaults_and_scopes():
    """What a client without a scope parameter is offered, and what a provider is asked for."""
    compiled = compile_permissions(
        {
            "read": PermissionConfig(title="R", default=True, scopes={"github": ("read:org", "user")}),
            "write": PermissionConfig(title="W", description="d", scopes={"github": ("repo", "user"), "x": ("w",)}),
        }
    )
    assert compiled.ids == {"read", "write"}
    assert compiled.defaults == ("read",)
    assert compiled.items[1].description == "d"
    assert compiled.provider_scopes(("write", "read"), "github") == ("read:org", "user", "repo")
    assert compiled.provider_scopes(("write", "gone"), "github") == ("repo", "user")
    assert compiled.provider_scopes(("read",), "x") == ()
    assert API.defaults == ("read", "write", "admin")


def test_effective_is_granted_and_configured():
    """Design decision 9: a permission that was removed is gone, a new one is never added to an old grant."""
    assert API.effective(["read", "removed"]) == {"read"}
    assert API.effective([]) == frozenset()


# --- plain HTTP ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "granted", "verdict"),
    [
        ("GET", "/items/1", {"read"}, ALLOWED),
        ("HEAD", "/items/1", {"read"}, ALLOWED),
        ("GET", "", {"read"}, ALLOWED),
        ("POST", "/items/1", {"write"}, ALLOWED),
        ("PUT", "/items", {"write"}, ALLOWED),
        ("POST", "/items/1", {"read"}, Missing(("write",))),
        ("GET", "/items/1", {"write"}, Missing(("read",))),
        ("POST", "/other", {"read", "write"}, DENIED),
        ("DELETE", "/items/1", {"read", "write"}, DENIED),
        ("DELETE", "/admin/users/7", {"read", "write"}, Missing(("admin",))),
        ("DELETE", "/admin", {"admin"}, ALLOWED),
        ("DELETE", "/administrator", {"admin"}, DENIED),
        ("GET", "/admin/users", {"read"}, ALLOWED),
        ("get", "/items/1", {"read"}, DENIED),
        ("OPTIONS", "/items/1", {"read", "write"}, DENIED),
        ("GET", "/items/1", set(), Missing(("read",))),
        ("GET", "/items/1", {"removed"}, Missing(("read",))),
        ("DELETE", "/items/1", set(), DENIED),
    ],
)
def test_methods_and_paths(method, path, granted, verdict):
    """All conditions of a permission hold or it does not count; the first configured one that would is asked for."""
    assert API.judge(RequestFacts(method, path, None), frozenset(granted)) == verdict


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/a", "/a", True),
        ("/a", "/a/", True),
        ("/a/", "/a", True),
        ("/a", "/a/b", False),
        ("/a", "/ab", False),
        ("/a", "/A", False),
        ("/", "", True),
        ("/", "/", True),
        ("/", "/a", False),
        ("/*", "/a", True),
        ("/*", "", False),
        ("/*", "/a/b", False),
        ("/*/b", "/a/b", True),
        ("/*/b", "/b", False),
        ("/v*/x", "/v1/x", True),
        ("/v*/x", "/v/x", True),
        ("/v*/x", "/v1/2/x", False),
        ("/a*b*c", "/aXbYc", True),
        ("/a*b*c", "/aXcYb", False),
        ("/a*b*b", "/ab", False),
        ("/*.json", "/x.json", True),
        ("/*.json", "/xjson", False),
        ("/**", "/any/thing", True),
        ("/admin/**", "/admin", True),
        ("/admin/**", "/admin/", True),
        ("/admin/**", "/admin/a/b", True),
        ("/admin/**", "/adminx", False),
        ("/**/edit", "/edit", True),
        ("/**/edit", "/a/b/edit", True),
        ("/**/edit", "/a/b/edit/c", False),
        ("/**/edit", "/a/bedit", False),
        ("/a/**/b/**/c", "/a/b/c", True),
        ("/a/**/b/**/c", "/a/x/b/y/z/c", True),
        ("/a/**/b/**/c", "/a/bx/y/b/c", True),
        ("/a/**/b/**/c", "/a/c/b", False),
        ("/**/x/**", "/p/x/q", True),
        ("/**/x/**", "/p/xx/q", False),
        ("/**/x*/y/**", "/xa/b/xc/y", True),
        ("/a.b", "/aXb", False),
        ("/a(b)|c+", "/a(b)|c+", True),
        ("/a%20b", "/a%20b", True),
        ("/@me", "/%40me", True),
        ("/a%2A", "/a%2a", True),
        ("/a%2A", "/ab", False),
        ("/caf%C3%A9", "/caf%c3%a9", True),
    ],
)
def test_path_patterns(pattern, path, matches):
    """`*` stays within a segment, `**` is any number of whole segments; escapes are compared decoded."""
    compiled = permissions(one=Match(paths=(pattern,)))
    verdict = compiled.judge(RequestFacts("GET", path, None), frozenset({"one"}))
    assert verdict == (ALLOWED if matches else DENIED)


@pytest.mark.parametrize(
    "path",
    [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..;/admin",
        "/public//x",
        "/public/a%2fb",
        "/public/\x00",
        "/public/caf\xe9",
        "/public/\ud800",
        "/public/%2561",
        "public/x",
    ],
)
def test_attack_ambiguous_path_never_meets_a_path_condition(path):
    """A route that forwards ambiguous paths must not let `/public/../admin` count as public."""
    compiled = permissions(one=Match(paths=("/public/**",)))
    assert compiled.judge(RequestFacts("GET", path, None), frozenset({"one"})) is DENIED


# --- MCP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "granted", "verdict"),
    [
        ([tool("get_issue")], READ, ALLOWED),
        ([tool("search_issues")], READ, ALLOWED),
        ([tool("search_issues_all")], READ, Missing(("write",))),
        ([tool("delete_issue")], READ, Missing(("write",))),
        ([tool("forget_issue")], READ, Missing(("write",))),
        ([tool("GET_issue")], READ, Missing(("write",))),
        ([tool("delete_issue")], WRITE, ALLOWED),
        ([other("resources/read")], READ, ALLOWED),
        ([other("prompts/get")], READ, Missing(("write",))),
        ([other("prompts/get")], WRITE, ALLOWED),
        ([tool("get_issue")], NOBODY, Missing(("read",))),
        ([tool("delete_issue")], NOBODY, Missing(("write",))),
        ([tool("get_issue")], frozenset({"removed"}), Missing(("read",))),
    ],
)
def test_calls_decide(calls, granted, verdict):
    """Design decision 9: tools/call by the tool patterns, other methods by the method patterns."""
    assert ISSUES.is_mcp
    assert ISSUES.judge(post(calls), granted) == verdict


@pytest.mark.parametrize(
    "method",
    [
        "initialize",
        "ping",
        "server/discover",
        "notifications/initialized",
        "notifications/x/y",
        "tools/list",
        "resources/templates/list",
        "",
    ],
)
def test_what_every_client_does_first_needs_any_permission(method):
    """`initialize`, `ping`, notifications, lists, responses: without them no client gets as far as asking for more."""
    only = permissions(read=mcp(tools=("get",)), write=mcp(tools=("put",)))
    for granted in (READ, WRITE):
        assert only.judge(post([other(method)]), granted) is ALLOWED
    assert only.judge(post([other(method)]), NOBODY) == Missing(("read",))


@pytest.mark.parametrize("method", ["logging/setLevel", "pings", "initialize/x", "list", "notification", "Ping"])
def test_other_methods_need_a_pattern(method):
    """No configured permission names it: denied, and no step-up would help."""
    only = permissions(read=mcp(tools=("*",)))
    assert only.judge(post([other(method)]), READ) is DENIED


@pytest.mark.parametrize(
    ("calls", "granted", "verdict"),
    [
        ([tool("get_a"), tool("list_b"), other("ping")], READ, ALLOWED),
        ([tool("get_a"), tool("drop")], READ, Missing(("read", "write"))),
        ([tool("drop"), tool("get_a")], READ, Missing(("read", "write"))),
        ([tool("get_a"), tool("drop")], WRITE, ALLOWED),
        ([other("ping"), tool("drop")], READ, Missing(("write",))),
        ([other("ping"), tool("drop")], NOBODY, Missing(("write",))),
    ],
)
def test_attack_forbidden_call_hidden_in_a_batch(calls, granted, verdict):
    """Every call must be covered; one challenge names all that the batch needs (RFC 6750 §3.1)."""
    assert ISSUES.judge(post(calls), granted) == verdict


def test_batch_with_a_call_that_nothing_covers():
    """No step-up for what cannot be obtained, or the client would loop."""
    only = permissions(read=mcp(tools=("get",)), write=mcp(tools=("put",)))
    assert only.judge(post([tool("get"), tool("put"), tool("other")]), READ) is DENIED
    assert only.judge(post([other("ping"), tool("other")]), NOBODY) is DENIED


@pytest.mark.parametrize("calls", [None, ()])
def test_post_without_parsed_calls_is_denied(calls):
    """Fail closed: a caller that forgot to parse the body gets nothing through."""
    assert ISSUES.judge(RequestFacts("POST", "", calls), READ | WRITE) is DENIED


@pytest.mark.parametrize(
    ("method", "granted", "verdict"),
    [
        ("GET", READ, ALLOWED),
        ("HEAD", READ, ALLOWED),
        ("DELETE", WRITE, ALLOWED),
        ("GET", NOBODY, Missing(("read",))),
        ("DELETE", frozenset({"removed"}), Missing(("read",))),
        ("PUT", READ | WRITE, DENIED),
        ("PATCH", READ | WRITE, DENIED),
        ("post", READ | WRITE, DENIED),
        ("get", READ | WRITE, DENIED),
    ],
)
def test_transport_of_sessions(method, granted, verdict):
    """MCP ≤ 2025-11-25: GET opens a stream, DELETE ends a session; other methods are not MCP."""
    assert ISSUES.judge(RequestFacts(method, "", None), granted) == verdict


def test_permission_without_mcp_condition_on_an_mcp_route():
    """It covers calls as its other conditions say, and alone decides about methods that MCP does not use."""
    mixed = permissions(read=mcp(tools=("get",)), full=Match(), puts=Match(methods=("PUT",)))
    full, puts = frozenset({"full"}), frozenset({"puts"})
    assert mixed.judge(post([tool("drop")]), full) is ALLOWED
    assert mixed.judge(post([tool("drop")]), READ) == Missing(("full",))
    assert mixed.judge(post([tool("get")]), puts) == Missing(("read",))
    assert mixed.judge(RequestFacts("PUT", "", None), puts) is ALLOWED
    assert mixed.judge(RequestFacts("PUT", "", None), READ) == Missing(("full",))


def test_all_conditions_of_an_mcp_permission_hold():
    """`methods`, `paths` and `mcp` are all-of, also for the calls that need any permission."""
    scoped = permissions(read=mcp(tools=("*",), paths=("/one",)))
    assert scoped.judge(post([tool("x")], "/one"), READ) is ALLOWED
    assert scoped.judge(post([tool("x")], "/two"), READ) is DENIED
    assert scoped.judge(post([other("ping")], "/one"), READ) is ALLOWED
    assert scoped.judge(post([other("ping")], "/two"), READ) is DENIED
    assert scoped.judge(RequestFacts("GET", "/two", None), READ) is DENIED


@pytest.mark.parametrize(
    ("request_facts", "verdict"),
    [
        (post([other("ping")], "/admin/reset"), Missing(("admin",))),
        (post([tool("get_a")], "/admin/reset"), Missing(("admin",))),
        (post([other("tools/list"), other("")], "/admin"), Missing(("admin",))),
        (RequestFacts("GET", "/admin/secrets", None), Missing(("admin",))),
        (RequestFacts("DELETE", "/admin/users", None), Missing(("admin",))),
        (RequestFacts("GET", "/%61dmin/secrets", None), DENIED),
        (RequestFacts("GET", "/x/../admin/secrets", None), DENIED),
        (post([tool("get_a")], "/mcp"), ALLOWED),
        (RequestFacts("GET", "/mcp", None), ALLOWED),
    ],
)
def test_attack_mcp_shaped_request_to_a_plain_address(request_facts, verdict):
    """Only MCP-shaped requests gated: a `ping` in the body must not open an address with a permission of its own."""
    mixed = permissions(read=mcp(tools=("get_*",)), admin=Match(paths=("/admin/**",)))
    assert mixed.judge(request_facts, READ) == verdict


def test_address_named_by_both_kinds_is_an_mcp_endpoint():
    """A permission for all of `/mcp` beside one for some of its tools: the calls decide."""
    both = permissions(
        read=mcp(tools=("get",), paths=("/mcp",)), full=Match(paths=("/mcp",)), all=Match(paths=("/**",))
    )
    assert both.judge(post([tool("get")], "/mcp"), READ) is ALLOWED
    assert both.judge(post([tool("put")], "/mcp"), READ) == Missing(("full",))
    assert both.judge(post([tool("put")], "/mcp"), frozenset({"full"})) is ALLOWED


def test_courtesy_asks_for_a_default_permission():
    """A client that only wants to connect is not sent to ask for the widest permission because it comes first."""
    compiled = compile_permissions(
        {
            "admin": PermissionConfig(title="a", match=mcp(tools=("*",))),
            "read": PermissionConfig(title="r", default=True, match=mcp(tools=("get",))),
        }
    )
    assert compiled.judge(post([other("initialize")]), NOBODY) == Missing(("read",))
    assert compiled.judge(RequestFacts("GET", "", None), NOBODY) == Missing(("read",))


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("get_*", "get_", True),
        ("get_*", "get_a\u00e9 b", True),
        ("get_*", "xget_a", False),
        ("*_get", "a_get", True),
        ("*_get", "a_get_b", False),
        ("a*b*c", "abbc", True),
        ("a*b*c", "acb", False),
        ("a*a", "a", False),
        ("**", "x", True),
        ("get.x", "getXx", False),
        ("get?", "getx", False),
        ("[a-z]", "a", False),
        ("a|b", "a", False),
    ],
)
def test_tool_patterns(pattern, name, matches):
    """`*` is any run of characters, nothing else is special, and the whole name has to match."""
    compiled = permissions(one=mcp(tools=(pattern,)))
    assert compiled.judge(post([tool(name)]), frozenset({"one"})) == (ALLOWED if matches else DENIED)


def test_attack_pattern_that_backtracks():
    """Many gaps against a long hostile name or path stay linear."""
    names = permissions(one=mcp(tools=("*a*a*a*a*a*a*a*a*b",)))
    assert names.judge(post([tool("a" * 50_000)]), frozenset({"one"})) is DENIED
    paths = permissions(one=Match(paths=("/**/a/**/a/**/a/**/a/**/b",)))
    assert paths.judge(RequestFacts("GET", "/a" * 20_000, None), frozenset({"one"})) is DENIED


def test_many_grant_sets_do_not_grow_without_bound():
    """The cache of compiled grants is bounded."""
    for number in range(2000):
        assert ISSUES.judge(post([tool("get_a")]), frozenset({"read", f"old{number}"})) is ALLOWED
    assert len(ISSUES._held) <= 256


@pytest.mark.parametrize(
    "match",
    [
        Match(methods=()),
        Match(methods=("get",)),
        Match(methods=("GET ",)),
        Match(methods=("*",)),
        Match(methods=("GET",), mcp=McpMatch(tools=("*",))),
        Match(paths=()),
        Match(paths=("",)),
        Match(paths=("admin",)),
        Match(paths=("/a/../b",)),
        Match(paths=("/a//b",)),
        Match(paths=("/a%2fb",)),
        Match(paths=("/a**",)),
        Match(paths=("/**a/b",)),
        Match(paths=("/a b",)),
        Match(paths=("/café",)),
        mcp(tools=("",)),
        mcp(methods=("a", "")),
    ],
)
def test_conditions_that_could_never_match_are_config_errors(match):
    """Shown when the config loads, with the permission's name."""
    with pytest.raises(ValueError, match=r"^bad\.match"):
        permissions(bad=match)


NAMES = st.text("ab*", max_size=6)


@given(NAMES.filter(bool), st.text("ab", min_size=1, max_size=8))
def test_wildcards_equal_the_textbook(pattern, name):
    """The linear matcher agrees with a plain recursive one."""

    def textbook(pattern, name):
        if not pattern:
            return not name
        if pattern[0] == "*":
            return any(textbook(pattern[1:], name[start:]) for start in range(len(name) + 1))
        return bool(name) and name[0] == pattern[0] and textbook(pattern[1:], name[1:])

    compiled = permissions(one=mcp(tools=(pattern,)))
    allowed = compiled.judge(post([tool(name)]), frozenset({"one"})) is ALLOWED
    assert allowed == textbook(pattern, name)


SEGMENTS = st.sampled_from(["a", "b", "ab", "*", "a*", "**"])


@given(st.lists(SEGMENTS, min_size=1, max_size=5), st.lists(st.sampled_from(["a", "b", "ab"]), max_size=6))
def test_path_wildcards_equal_the_textbook(pattern, path):
    """The same for whole segments."""

    def textbook(pattern, path):
        if not pattern:
            return not path
        if pattern[0] == "**":
            return any(textbook(pattern[1:], path[start:]) for start in range(len(path) + 1))
        head = pattern[0]
        fits = bool(path) and (path[0].startswith(head[:-1]) if head.endswith("*") else path[0] == head)
        return fits and textbook(pattern[1:], path[1:])

    compiled = permissions(one=Match(paths=("/" + "/".join(pattern),)))
    facts = RequestFacts("GET", "".join("/" + segment for segment in path), None)
    assert (compiled.judge(facts, frozenset({"one"})) is ALLOWED) == textbook(pattern, path)


GRANTS = st.frozensets(st.sampled_from(["read", "write", "admin", "removed"]))


@given(
    st.sampled_from(["GET", "POST", "DELETE", "PUT"]),
    st.sampled_from(["", "/items/1", "/admin", "/admin/x", "/../admin"]),
    st.lists(st.sampled_from([tool("get_a"), tool("drop"), other("ping"), other("x")]), min_size=1, max_size=3),
    GRANTS,
)
def test_step_up_helps_and_more_permissions_never_hurt(method, path, calls, granted):
    """What a challenge asks for lets the same request through, alone or added; and nothing passes without any."""
    facts = RequestFacts(method, path, tuple(calls))
    mixed = permissions(read=mcp(tools=("get_*",)), write=mcp(tools=("*",)), admin=Match(paths=("/admin/**",)))
    for route in (ISSUES, API, mixed):
        verdict = route.judge(facts, granted)
        if isinstance(verdict, Missing):
            assert route.judge(facts, frozenset(verdict.permissions)) is ALLOWED
            assert route.judge(facts, granted | frozenset(verdict.permissions)) is ALLOWED
        if verdict is ALLOWED:
            assert route.effective(granted)
            assert route.judge(facts, route.ids) is ALLOWED
        if verdict is DENIED:
            assert route.judge(facts, route.ids) is DENIED
