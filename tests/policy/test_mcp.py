"""The strict reading of MCP bodies: one meaning for every parser, or a refusal."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.errors import BadRequest
from vestibule.policy.mcp import MAX_BATCH, MAX_DEPTH, McpCall, McpHeaders, parse_calls

NONE = McpHeaders(None, None, None)


def call(tool="get_issue", **extra):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}, **extra}


def refused(body, headers=NONE):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BadRequest) as refusal:
        parse_calls(raw, headers)
    return refusal.value.slug


def parsed(body, headers=NONE):
    return parse_calls(json.dumps(body).encode(), headers)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (call(), McpCall("tools/call", "get_issue")),
        (call("größe.lesen"), McpCall("tools/call", "größe.lesen")),
        ({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}, McpCall("initialize", None)),
        ({"jsonrpc": "2.0", "id": "a", "method": "ping"}, McpCall("ping", None)),
        ({"jsonrpc": "2.0", "method": "notifications/initialized"}, McpCall("notifications/initialized", None)),
        ({"jsonrpc": "2.0", "id": 2, "method": "prompts/get", "params": {"name": "p"}}, McpCall("prompts/get", None)),
        ({"jsonrpc": "2.0", "id": 2, "method": "x/y", "params": [1, 2]}, McpCall("x/y", None)),
        ({"jsonrpc": "2.0", "id": 3, "result": {}}, McpCall("", None)),
        ({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "m"}}, McpCall("", None)),
    ],
)
def test_messages(message, expected):
    """JSON-RPC 2.0 §4, §5: requests, notifications and responses."""
    assert parsed(message) == (expected,)


def test_whitespace_around_the_document():
    """RFC 8259 §2."""
    assert parse_calls(b' \r\n\t{"jsonrpc":"2.0","id":1,"method":"ping"}\n', NONE) == (McpCall("ping", None),)


def test_batch_keeps_order():
    """Protocol 2025-03-26: an array of messages, each judged for itself."""
    assert parsed([call("a"), {"jsonrpc": "2.0", "method": "ping", "id": 2}, call("b")]) == (
        McpCall("tools/call", "a"),
        McpCall("ping", None),
        McpCall("tools/call", "b"),
    )


@pytest.mark.parametrize("size", [0, MAX_BATCH + 1])
def test_batch_size_is_bounded(size):
    """JSON-RPC 2.0 §6: an empty array is invalid; a huge one is an attack."""
    assert refused([call()] * size) == "mcp_batch_size"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ping",
        b"1",
        b'"tools/call"',
        b"null",
        b"[1]",
        b"[[]]",
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"},null]',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}{}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping",}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"} // comment',
        b"{'method':'ping'}",
        b'{"jsonrpc":"2.0","id":01,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping\n"}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
    ],
)
def test_malformed_bodies(body):
    """RFC 8259 and JSON-RPC 2.0: anything else is not forwarded."""
    assert refused(body) == "mcp_body_malformed"


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
        '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
        '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16-le"),
        '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-32"),
        b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}',
        b'{"jsonrpc":"2.0","id":"\xc0\xae","method":"ping"}',
        b"\x1f\x8b\x08\x00",
    ],
    ids=["bom", "utf-16", "utf-16-le", "utf-32", "latin-1", "overlong", "gzip"],
)
def test_attack_other_encodings(body):
    """RFC 8259 §8.1: UTF-8 without a byte order mark, so that nobody guesses."""
    assert refused(body) == "mcp_body_malformed"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_not_a_number_is_not_json(number):
    """RFC 8259 §6."""
    assert refused(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + number + b"}}") == "mcp_body_malformed"


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"drop"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get","name":"drop"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get"},"params":{"name":"drop"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get","n\\u0061me":"drop"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get","arguments":{"a":[{"b":1,"b":2}]}}}',
    ],
    ids=["method", "name", "params", "escaped", "deep"],
)
def test_attack_duplicate_json_keys(body):
    """GHSA-4gph, RFC 8259 §4: the first for one parser, the last for another; refused at any depth."""
    assert refused(body) == "mcp_duplicate_key"


@pytest.mark.parametrize(
    "key",
    [
        "Method",
        "METHOD",
        "Params",
        "Id",
        "JSONRPC",
        "Result",
        "name ",
        "Name",
        "\uff4dethod",  # fullwidth m: NFKC
        "method\u0000",  # ends at NUL in C
        "\u0000method",
        "met\u200bhod",  # zero-width space
        "param\u017f",  # long s: one fold class with s, in Go too
        "re\u017fult",
        "\u0131d",  # dotless i: equalsIgnoreCase in Java
        "\u0130d",  # dotted capital I
        "m\u00e9thod",  # accent-insensitive collations
        "method\ud800",  # lone surrogate, dropped by some decoders
    ],
)
def test_attack_lookalike_json_keys(key):
    """GHSA-4gph: a key in another case or in characters that fold to it is one key to Go, Java or C, two to Python."""
    assert refused(call(**{key: "tools/list"})) == "mcp_lookalike_key"


@pytest.mark.parametrize("key", ["Name", "NAME", "\uff4eame", "na\u0301me", "Uri", "URI", "name\u0000x", "n\u00e2me"])
def test_attack_lookalike_keys_in_params(key):
    """The tool name is read from params, so the same holds there."""
    body = call()
    body["params"][key] = "delete_everything"
    assert refused(body) == "mcp_lookalike_key"


def test_attack_lookalike_key_makes_a_response_of_a_request():
    """`Method` beside `result` would be a harmless response here and a call at a lenient backend."""
    body = {"jsonrpc": "2.0", "id": 1, "result": {}, "Method": "tools/call", "params": {"name": "drop"}}
    assert refused(body) == "mcp_lookalike_key"


def test_other_keys_are_the_backends_affair():
    """Arguments of a tool may be named as they like, and unknown members are left alone."""
    body = call(extra=1, größe=2)
    body["params"] |= {"arguments": {"Name": 1, "name": 2, "ID": 3}, "_meta": {"Method": 4}, "task": {}, "_id": 5}
    assert parsed(body) == (McpCall("tools/call", "get_issue"),)


@pytest.mark.parametrize(
    "method", [None, 1, ["tools/call"], {}, "", "tools/call ", "tools\u0000call", "tools/c\u0430ll", "x" * 257]
)
def test_method_is_a_short_ascii_word(method):
    """JSON-RPC 2.0 §4: a string; MCP's are all visible ASCII."""
    assert refused(call() | {"method": method}) == "mcp_method_malformed"


@pytest.mark.parametrize("method", ["Tools/Call", "TOOLS/CALL", "tools/Call"])
def test_attack_tools_call_in_another_case(method):
    """Otherwise a permission for other methods, `methods: ["*"]`, would open tools at a lenient backend."""
    assert refused(call() | {"method": method}) == "mcp_method_malformed"


@pytest.mark.parametrize("extra", [{"result": {}}, {"error": {}}, {"result": None}])
def test_attack_request_and_response_at_once(extra):
    """JSON-RPC 2.0 §5: what is both could be either to the backend."""
    assert refused(call(**extra)) == "mcp_method_malformed"
    assert refused({"jsonrpc": "2.0", "id": 1, "method": None, **extra}) == "mcp_method_malformed"


@pytest.mark.parametrize(
    "params",
    [None, [], ["get_issue"], "get_issue", {}, {"name": None}, {"name": 7}, {"name": ""}, {"name": ["a"]}]
    + [{"name": name} for name in ("a\u0000b", "a\nb", "a\u200bb", "\ud800", "x" * 257)],
)
def test_tool_needs_a_printable_name(params):
    """MCP tools/call: params.name is a string; controls and invisible characters have no place in it."""
    assert refused(call() | {"params": params}) == "mcp_tool_malformed"


def test_tools_call_without_params():
    """No name, nothing to judge."""
    assert refused({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}) == "mcp_tool_malformed"


def nested(depth, opening=b"[", closing=b"]"):
    """A request whose params nest to `depth` containers in all, the request included."""
    inner = opening * (depth - 2) + closing * (depth - 2)
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + (inner or b"0") + b"}}"


def test_depth_is_bounded():
    """Deep nesting exhausts recursive parsers, ours and the backend's."""
    assert parse_calls(nested(MAX_DEPTH), NONE) == (McpCall("ping", None),)
    assert refused(nested(MAX_DEPTH + 1)) == "mcp_too_deep"
    assert refused(nested(100_000)) == "mcp_too_deep"
    assert refused(b"[" * 100_000) == "mcp_too_deep"


def test_many_containers_are_not_depth():
    """A wide document is fine: only nesting is bounded."""
    body = call()
    body["params"]["arguments"] = {"rows": [{"cells": ["{[" * 50]} for _ in range(200)]}
    assert parsed(body) == (McpCall("tools/call", "get_issue"),)


def modern(method="tools/call", name="get_issue", version="2026-07-28"):
    return McpHeaders(version, method, name)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (call(), "get_issue"),
        (call(), None),
        (call("Größe"), "=?base64?" + base64.b64encode("Größe".encode()).decode() + "?="),
        (call("=?base64?literal?="), "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        (call() | {"method": "prompts/get"}, "get_issue"),
        (call() | {"method": "resources/read", "params": {"uri": "file:///a"}}, "file:///a"),
        (call() | {"method": "resources/subscribe", "params": {"uri": "file:///a"}}, "anything"),
    ],
)
def test_equal_headers_pass(message, name):
    """MCP 2026-07-28, Standard Request Headers, Value Encoding: from params.name or params.uri, perhaps in base64."""
    assert parsed(message, modern(message["method"], name))


@pytest.mark.parametrize(
    "headers",
    [
        modern(method="tools/list"),
        modern(method="Tools/Call"),
        modern(method=""),
        modern(name="get_other"),
        modern(name="Get_issue"),
        modern(name=""),
        modern(name="get_issue\u00ff"),
        modern(method=None, name="get_other"),
        modern(name="=?base64?!!!?="),
        modern(name="=?base64?/w==?="),
        modern(name="=?base64?Z2V0X2lzc3Vl"),
        modern(name="=?BASE64?Z2V0X2lzc3Vl?="),
        modern(version="2027-01-01", name="get_other"),
        modern(version="draft", name="get_other"),
        modern(version="", name="get_other"),
        modern(version="2025-11-25 ", name="get_other"),
    ],
)
def test_attack_headers_that_say_something_else(headers):
    """MCP 2026-07-28, Server Validation: else one component decides by the header and another runs the body."""
    assert refused(call(), headers) == "mcp_header_mismatch"


def test_attack_non_canonical_base64_in_a_header():
    """Trailing bits that decode alike: `Zx==` and `Zw==` are both `g` to lax decoders."""
    assert parsed(call("g"), modern(name="=?base64?Zw==?="))
    assert refused(call("g"), modern(name="=?base64?Zx==?=")) == "mcp_header_mismatch"


@pytest.mark.parametrize("member", [{"name": "a"}, {"uri": 7}, {}, []])
def test_header_without_its_source_in_the_body(member):
    """`Mcp-Name` on resources/read has to equal params.uri, which is not there."""
    assert refused(call() | {"method": "resources/read", "params": member}, modern("resources/read", "a"))


@pytest.mark.parametrize("version", [None, "2025-03-26", "2025-06-18", "2025-11-25"])
def test_older_versions_ignore_the_headers(version):
    """Such a backend never reads them, so they prove nothing; the body alone is judged."""
    assert parsed(call("drop"), modern("ping", "get_issue", version)) == (McpCall("tools/call", "drop"),)


def test_headers_on_a_batch():
    """MCP 2026-07-28: the body is a single message, so headers that describe one cannot fit an array."""
    assert refused([call()], modern()) == "mcp_header_mismatch"
    assert parsed([call()], modern(None, None)) == (McpCall("tools/call", "get_issue"),)
    assert parsed([call()], modern(version="2025-03-26")) == (McpCall("tools/call", "get_issue"),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_never_fails_in_another_way(body):
    """Whatever is sent: calls or BadRequest. An exception of another kind would be a 500."""
    with contextlib.suppress(BadRequest):
        assert parse_calls(body, NONE)


@given(JSON, st.sampled_from(["get", "drop"]))
def test_accepted_calls_mean_the_same_to_a_case_insensitive_reader(arguments, tool):
    """The name found is the one that a reader ignoring case, keeping the first or keeping the last, finds."""
    params = {"name": tool, "arguments": arguments}
    if isinstance(arguments, dict):
        params |= {key: value for key, value in arguments.items() if key != "name"}
    try:
        (found,) = parsed(call() | {"params": params})
    except BadRequest:
        return
    assert {value for key, value in params.items() if key.casefold() == "name"} == {found.tool}
