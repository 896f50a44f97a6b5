"""MCP routes behind the gate: judged by the body, forwarded as it came; what is forbidden never reaches the backend."""

import json

import pytest

LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
BATCH_ERROR = "not_permitted"


def call(tool: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}).encode()


@pytest.mark.parametrize(
    "body",
    [
        LIST,
        b' {"jsonrpc" : "2.0",\n\t"id":1,"method":"initialize","params":{"x":[1.0e5,"\\u00fc\xc3\xbc"]}}\r\n',
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"a":1},"name":"get_\\u0061"}}',
        b"[" + LIST + b"," + call("get_x") + b"]",
    ],
    ids=repr,
)
async def test_body_is_forwarded_byte_for_byte(gate, backend, body):
    """Design decision 9: the parse decides, the original bytes go on, with their length."""
    answer = await gate.call("POST", "/mcp", "Content-Type: application/json", key=await gate.key("mcp"), body=body)
    assert answer.status == 200
    assert backend.call.body == body
    assert backend.call.all(b"content-length") == [str(len(body)).encode()]
    assert backend.call.target == b"/mcp"


async def test_chunked_call(gate, backend):
    """Collected for judging, then streamed on with the framing that it had."""
    head = f"POST /mcp HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {await gate.key('mcp')}\r\n"
    parts = b"".join(b"1\r\n%c\r\n" % byte for byte in LIST)
    answer = await gate.exchange(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n", "POST")
    assert answer.status == 200
    assert backend.call.body == LIST
    assert backend.call.all(b"transfer-encoding") == [b"chunked"]


async def test_headers_of_the_transport_pass(gate, backend):
    """Protocol §17: every era's headers, untouched, and the session id of the answer."""
    backend.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nMcp-Session-Id: 7\r\nContent-Length: 0\r\n\r\n")
    lines = {
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "get_x",
        "Mcp-Session-Id": "s",
        "Last-Event-ID": "3",
        "Mcp-Param-Region": "eu",
        "Accept": "application/json, text/event-stream",
    }
    key = await gate.key("mcp")
    answer = await gate.call(
        "POST", "/mcp", *(f"{name}: {value}" for name, value in lines.items()), key=key, body=call("get_x")
    )
    assert (answer.status, answer["mcp-session-id"]) == (200, "7")
    assert {name: backend.call.all(name.lower().encode()) for name in lines} == {
        name: [value.encode()] for name, value in lines.items()
    }


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_streams_and_sessions(gate, backend, method):
    """Protocol §17: GET streams and DELETE of sessions up to 2025-11-25 need any permission of the route."""
    assert (await gate.call(method, "/mcp", "Mcp-Session-Id: s", key=await gate.key("mcp"))).status == 200
    assert backend.call.method == method.encode()


async def test_forbidden_tool(gate, backend):
    """403 `insufficient_scope` names what is needed with what is held; the backend hears nothing."""
    key = await gate.key("mcp", "read")
    answer = await gate.call("POST", "/mcp", key=key, body=call("put_x"))
    assert (answer.status, backend.calls) == (403, [])
    assert 'error="insufficient_scope"' in answer["www-authenticate"]
    assert 'scope="read write"' in answer["www-authenticate"]
    assert (await gate.call("POST", "/mcp", key=await gate.key("mcp", "write"), body=call("put_x"))).status == 200


async def test_tool_that_no_permission_names(gate, backend):
    """Nothing to step up to, so no challenge."""
    answer = await gate.call("POST", "/mcp", key=await gate.key("mcp", "read", "write"), body=call("delete_x"))
    assert (answer.status, answer["www-authenticate"], backend.calls) == (403, "", [])


async def test_attack_forbidden_call_in_a_batch(gate, backend):
    """Every call of a batch is judged."""
    body = b"[" + LIST + b"," + call("get_x") + b"," + call("put_x") + b"]"
    assert (await gate.call("POST", "/mcp", key=await gate.key("mcp", "read"), body=body)).status == 403
    assert backend.calls == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'"tools/call"',
        b"[]",
        b"\xef\xbb\xbf" + LIST,
        LIST.decode().encode("utf-16"),
        b'{"jsonrpc":"2.0","id":1}',
        b'{"method":"tools/list","method":"tools/call","params":{"name":"put_x"}}',
        b'{"method":"tools/call","params":{"name":"get_x","name":"put_x"}}',
        b'{"method":"tools/call","params":{"name":"get_x","Name":"put_x"}}',
        b'{"method":"tools/call","params":{"name":"get_x"},"Params":{"name":"put_x"}}',
        b'{"method":"tools/call","params":{"name":["put_x"]}}',
        b'{"method":"Tools/Call","params":{"name":"put_x"}}',
        LIST + LIST,
        b"method=tools/call&name=put_x",
    ],
    ids=repr,
)
async def test_attack_body_that_two_parsers_read_differently(gate, backend, body):
    """GHSA-4gph: duplicate and case-variant keys, other encodings, anything malformed: refused, not resolved."""
    answer = await gate.call("POST", "/mcp", key=await gate.key("mcp", "read", "write"), body=body)
    assert answer.status == 400
    assert backend.calls == []


@pytest.mark.parametrize(
    "line",
    [
        "Content-Type: application/json; charset=utf-7",
        'Content-Type: application/json; charset="UTF-16"',
        "Content-Type: application/json; charset=latin1; charset=utf-8",
        "Content-Encoding: gzip",
        "Content-Encoding: identity, gzip",
    ],
)
async def test_attack_body_in_another_encoding(gate, backend, line):
    """A backend that honours the header would decode another message than the one that was judged, in UTF-7 even from
    the same ASCII bytes.
    """
    answer = await gate.call("POST", "/mcp", line, key=await gate.key("mcp"), body=call("get_+ACI-"))
    assert (answer.status, backend.calls) == (400, [])


@pytest.mark.parametrize(
    "line", ["Content-Type: application/json; charset=utf-8", 'content-type: application/json;Charset="UTF-8"']
)
async def test_utf_8_may_be_named(gate, backend, line):
    """RFC 8259 §8.1: it is what JSON is in anyway."""
    assert (await gate.call("POST", "/mcp", line, key=await gate.key("mcp"), body=LIST)).status == 200


@pytest.mark.parametrize(
    "lines",
    [
        ["Mcp-Method: tools/list"],
        ["Mcp-Method: TOOLS/CALL"],
        ["Mcp-Method: tools/call", "Mcp-Name: put_x"],
        ["Mcp-Method: tools/call", "Mcp-Method: tools/call"],
        ["Mcp-Name: get_x", "Mcp-Name: put_x"],
    ],
    ids=str,
)
async def test_attack_headers_and_body_disagree(gate, backend, lines):
    """MCP 2026-07-28, Server Validation: a backend that goes by the headers would do what was not judged."""
    key = await gate.key("mcp")
    lines = ["MCP-Protocol-Version: 2026-07-28", *lines]
    assert (await gate.call("POST", "/mcp", *lines, key=key, body=call("get_x"))).status == 400
    assert backend.calls == []


async def test_attack_another_method_with_a_call(gate, backend):
    """Only MCP-shaped requests gated? No: PUT, PATCH and an overridden method are judged as what they are."""
    key = await gate.key("mcp", "read")
    for method in ("PUT", "PATCH", "OPTIONS"):
        assert (await gate.call(method, "/mcp", key=key, body=call("put_x"))).status == 403
    assert (await gate.call("GET", "/mcp", "X-HTTP-Method-Override: POST", key=key, body=call("put_x"))).status == 200
    assert b"x-http-method-override" not in backend.call.names


async def test_call_that_is_too_large_to_judge(gate, backend):
    """An unbounded parse is an attack: 413 beyond 4 MB, though the route would let larger bodies through."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":"' + b"a" * (4 << 20) + b'"}}'
    answer = await gate.call("POST", "/mcp", key=await gate.key("mcp"), body=body)
    assert (answer.status, backend.calls) == (413, [])


async def test_no_key_no_judgement(gate, backend):
    """The key comes first: a stranger learns nothing from how a body is refused."""
    for body in (b"{", LIST):
        answer = await gate.call("POST", "/mcp", body=body)
        assert (answer.status, answer["www-authenticate"].startswith("Bearer scope=")) == (401, True)
    assert backend.calls == []
