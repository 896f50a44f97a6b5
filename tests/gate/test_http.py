"""Forwarding, seen from both ends as bytes: framing, streaming, back-pressure, and every way in which it can break."""

import asyncio
import contextlib
import json
import socket
import time

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gate.running import SECONDS, request
from vestibule.config import RouteConfig, Timeouts
from vestibule.errors import BackendTimeout
from vestibule.gate.http import Backend, RequestBody
from vestibule.policy.routes import ambiguity

MEGABYTE = 1 << 20


def ok(body: bytes, *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in ("Content-Type: text/plain", *lines, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body


def raw(*lines: str, body: bytes = b"") -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


END = b"0\r\n\r\n"


def framing(call) -> dict[bytes, list[bytes]]:
    return {name: call.all(name) for name in (b"content-length", b"transfer-encoding") if call.all(name)}


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT"])
async def test_request_without_a_body_stays_so(gate, backend, method):
    """RFC 9112 §6.3: neither header means no body, and none is invented."""
    assert (await gate.call(method, "/api", key=await gate.key("api"))).status == 200
    assert backend.call.method == method.encode()
    assert framing(backend.call) == {}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY", "PROPFIND"])
@pytest.mark.parametrize("body", [b"", b"x", b"\x00\xff" * 5000], ids=len)
async def test_content_length_is_kept(gate, backend, method, body):
    """A body of known length keeps it, the empty one too; any method may have one (RFC 9110 §9.3.1)."""
    answer = await gate.call(method, "/api", key=await gate.key("api"), body=body)
    assert answer.status == 200
    assert framing(backend.call) == {b"content-length": [str(len(body)).encode()]}
    assert backend.call.body == body


async def test_chunked_upload(gate, backend):
    """RFC 9112 §7.1: unknown length stays unknown; trailers are dropped (identity headers could hide there)."""
    head = request("POST", "/api", "Transfer-Encoding: chunked", key=await gate.key("api"))
    data = chunked(b"one", b"two" * 9000) + b"0\r\nX-User-Id: mallory\r\n\r\n"
    assert (await gate.exchange(head + data, "POST")).status == 200
    assert backend.call.body == b"one" + b"two" * 9000
    assert framing(backend.call) == {b"transfer-encoding": [b"chunked"]}
    assert b"mallory" not in backend.call.head


async def test_empty_chunked_upload(gate, backend):
    """No body is left to frame."""
    head = request("POST", "/api", "Transfer-Encoding: chunked", key=await gate.key("api"))
    assert (await gate.exchange(head + END, "POST")).status == 200
    assert (framing(backend.call), backend.call.body) == ({}, b"")


async def test_connection_cannot_hide_the_length(gate, backend):
    """`Connection: content-length` must not leave a body without framing: the next request would be inside it."""
    lines = ("Connection: content-length, transfer-encoding",)
    key = await gate.key("api")
    assert (await gate.call("POST", "/api", *lines, key=key, body=b"hello")).status == 200
    assert framing(backend.call) == {b"transfer-encoding": [b"chunked"]}
    assert backend.call.body == b"hello"


async def test_upload_is_streamed(gate, backend):
    """The first bytes are at the backend before the last ones have left the client."""
    async with gate.connect() as wire:
        await wire.send(request("PUT", "/api", "Content-Length: 10", key=await gate.key("api")) + b"first")
        call = await backend.next_call()
        await asyncio.sleep(0.05)
        assert call.reader._buffer == b"first"
        await wire.send(b"other")
        assert (await wire.answer()).status == 200
    assert call.body == b"firstother"


async def test_upload_to_a_slow_backend_has_back_pressure(gate, backend):
    """Memory stays bounded: a backend that does not read stops the client, and what waits is in kernel buffers only."""
    size, resume = 48 * MEGABYTE, asyncio.Event()

    async def script(call):
        await resume.wait()
        left = size
        while left:
            left -= len(await call.reader.read(MEGABYTE))
        await call.send(ok(b"done"))

    backend.script = script
    async with gate.connect() as wire:
        await wire.send(request("PUT", "/api", f"Content-Length: {size}", key=await gate.key("api")))
        sent = 0

        async def upload():
            nonlocal sent
            while sent < size:
                await wire.send(bytes(MEGABYTE))
                sent += MEGABYTE

        task = asyncio.create_task(upload())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert 0 < sent < size // 2
        resume.set()
        assert (await wire.answer()).body == b"done"
        await task


async def test_too_large_by_content_length(gate, backend):
    """413 before a byte of the body is read, and nothing is forwarded (gateway checklist: 413 early)."""
    key = await gate.key("small")
    answer = await gate.exchange(request("PUT", "/small", "Content-Length: 1001", key=key), "PUT")
    assert (answer.status, backend.calls) == (413, [])
    assert (await gate.call("PUT", "/small", key=key, body=bytes(1000))).status == 200


async def test_too_large_by_counting(gate, backend):
    """Chunks have no total: the request is broken off at the limit, and never looks complete to the backend."""
    cut = asyncio.Event()

    async def script(call):
        with contextlib.suppress(asyncio.IncompleteReadError, ValueError):
            await call.read_body()
            return
        cut.set()
        raise ConnectionResetError

    backend.script = script
    key = await gate.key("small")
    async with gate.connect() as wire:
        await wire.send(request("PUT", "/small", "Transfer-Encoding: chunked", key=key) + chunked(bytes(600)))
        await backend.next_call()
        await wire.send(chunked(bytes(600)))
        assert (await wire.answer()).status == 413
    await asyncio.wait_for(cut.wait(), SECONDS)


async def test_expect_continue(gate, backend):
    """RFC 9110 §10.1.1: 100 once the request is admitted; a refused one is told so before it sends its body."""
    key = await gate.key("api")
    lines = ("Expect: 100-continue", "Content-Length: 5")
    async with gate.connect() as wire:
        await wire.send(request("PUT", "/api", *lines, key=key))
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(b"hello")
        assert (await wire.answer()).status == 200
    assert b"expect" not in backend.call.names
    for path, more, status in (("/api", None, 401), ("/small", await gate.key("small"), 413)):
        async with gate.connect() as wire:
            await wire.send(request("PUT", path, "Expect: 100-continue", "Content-Length: 5000", key=more))
            assert (await wire.reader.readline()).split()[1] == str(status).encode()
    assert len(backend.calls) == 1


async def test_requests_share_connections(gate, backend, logged):
    """Keep-alive on both sides; a complete answer is not taken for a client that left."""
    key = await gate.key("api")
    async with gate.connect() as wire:
        for number in range(30):
            await wire.send(request("GET", f"/api/{number}", key=key))
            assert (await wire.answer()).status == 200
    assert len({call.peer for call in backend.calls}) == 1
    assert [entry for entry in logged if "reason" in entry] == []


# --- byte for byte ---------------------------------------------------------------------------------------------------

_SEGMENT = st.lists(
    st.one_of(
        st.sampled_from([f"%{number:02X}" for number in range(256)] + [f"%{number:02x}" for number in range(256)]),
        st.sampled_from("abzAZ019-._~!$&'()*+,=:@[]|"),
        st.sampled_from(["%C3%BC", "%e2%82%ac", "%F0%9F%98%80"]),
    ),
    min_size=1,
    max_size=8,
).map("".join)
_PATH = st.lists(_SEGMENT, max_size=4).map(lambda parts: "".join(f"/{part}" for part in parts))
_QUERY = st.text(st.sampled_from("abc=&%2Ff;:/?+@!*'(),[]{}|\\^`\"<>~."), min_size=1, max_size=20)


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(path=_PATH, slash=st.sampled_from(["", "/"]), query=st.one_of(st.none(), _QUERY))
@example(path="/a%20b/%C3%BC", slash="/", query="x=%2F&y=%2f;z==")
@example(path="/A%C3%bc", slash="", query="?")
async def test_what_is_authorised_is_what_is_forwarded(gate, backend, path, slash, query):
    """Design decision 21: target bytes pass unchanged in path and query, or are refused; no third thing happens."""
    backend.forget()
    rest = path + slash + ("" if query is None else f"?{query}")
    answer = await gate.call("GET", f"/api{rest}", key=await gate.key("api"))
    if ambiguity(f"/api{path}{slash}".encode()) is None:
        assert answer.status == 200
        assert backend.call.target == b"/v1" + rest.encode()
    else:
        assert answer.status == 400
        assert backend.calls == []


async def test_bodies_pass_unchanged(gate, backend):
    """Content-Encoding is not touched: compressed stays compressed, both ways."""
    backend.answer(ok(b"\x1f\x8b not gzip", "Content-Encoding: gzip", "Vary: Accept-Encoding", "ETag: W/x"))
    lines = ("Content-Encoding: br", "Accept-Encoding: gzip")
    answer = await gate.call("PUT", "/api", *lines, key=await gate.key("api"), body=b"\x00br")
    assert (backend.call.body, backend.call.all(b"content-encoding")) == (b"\x00br", [b"br"])
    assert backend.call.all(b"accept-encoding") == [b"gzip"]
    assert (answer.body, answer["content-encoding"], answer["etag"]) == (b"\x1f\x8b not gzip", "gzip", "W/x")


async def test_nothing_is_added_to_the_request(gate, backend):
    """No User-Agent, Accept or Accept-Encoding of an HTTP library: the backend sees the client's request."""
    await gate.call("GET", "/pages/x", key=await gate.key("pages"))
    assert backend.call.names == {b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}


# --- answers ---------------------------------------------------------------------------------------------------------


async def test_headers_of_the_answer(gate, backend):
    """Duplicate Set-Cookie kept, our names and reaching headers removed, HTML sandboxed, one Date."""
    backend.answer(
        raw(
            "HTTP/1.1 200 OK",
            "Content-Type: text/html",
            "Set-Cookie: a=1; Path=/",
            "Set-Cookie: vestibule_form=x",
            "Set-Cookie: b=2",
            "Clear-Site-Data: *",
            "Date: Mon, 01 Jan 2024 00:00:00 GMT",
            "Server: backend",
            "Content-Length: 2",
            body=b"hi",
        )
    )
    answer = await gate.call("GET", "/api", key=await gate.key("api"))
    assert answer.all("set-cookie") == ["a=1; Path=/", "b=2"]
    assert answer["content-security-policy"] == "sandbox"
    assert "clear-site-data" not in dict(answer.headers)
    assert answer.all("date") == ["Mon, 01 Jan 2024 00:00:00 GMT"]
    assert answer.all("server") == ["backend"]
    answer = await gate.call("GET", "/pages", key=await gate.key("pages"))
    assert answer["content-security-policy"] == ""


async def test_head(gate, backend):
    """RFC 9110 §9.3.2: the headers of the GET, no body; what the backend framed is told on."""
    for lines in (["Content-Length: 12345"], ["Transfer-Encoding: chunked"], []):
        backend.answer(raw("HTTP/1.1 200 OK", "Content-Type: text/plain", *lines))
        answer = await gate.call("HEAD", "/api", key=await gate.key("api"))
        assert (answer.status, answer.body, answer.whole) == (200, b"", True)
        assert answer["content-length"] == ("12345" if "12345" in str(lines) else "")


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (204, []),
        (204, ["Content-Length: 7"]),
        (205, ["Content-Length: 0"]),
        (304, ["ETag: x"]),
        (304, ["Content-Length: 0"]),
        (304, ["Content-Length: 7"]),
    ],
)
async def test_answers_without_content(gate, backend, logged, status, lines):
    """RFC 9110 §8.6, §15.3.5, §15.4.5: no content, whatever length a 304 tells; the connection goes on."""
    backend.answer(raw(f"HTTP/1.1 {status} x", *lines))
    key = await gate.key("api")
    async with gate.connect() as wire:
        for _ in range(2):
            await wire.send(request("GET", "/api", key=key))
            answer = await wire.answer()
            assert (answer.status, answer.body, answer.whole) == (status, b"", True)
    assert [entry for entry in logged if "reason" in entry or entry["event"] != "request"] == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_passed_not_followed(gate, backend, status):
    """The backend chooses the address: following it would be a request that nobody judged."""
    backend.answer(
        raw(f"HTTP/1.1 {status} x", f"Location: http://127.0.0.1:{backend.port}/secret", "Content-Length: 0")
    )
    answer = await gate.call("GET", "/api", key=await gate.key("api"))
    assert (answer.status, answer["location"]) == (status, f"http://127.0.0.1:{backend.port}/secret")
    assert len(backend.calls) == 1


@pytest.mark.parametrize("status", ["200 OK", "201", "299 Fine", "400 x", "401 x", "418 x", "500 x", "599 x"])
async def test_status_passes(gate, backend, status):
    """The backend's own errors are its own; its challenge is passed too."""
    backend.answer(raw(f"HTTP/1.1 {status}", 'WWW-Authenticate: Basic realm="b"', "Content-Length: 0"))
    answer = await gate.call("GET", "/api", key=await gate.key("api"))
    assert (answer.status, answer["www-authenticate"]) == (int(status[:3]), 'Basic realm="b"')


async def test_backend_cookies_are_not_stored(gate, backend):
    """A cookie jar in the gate would give one user's session to the next."""
    backend.answer(ok(b"", "Set-Cookie: session=ada"))
    for _ in range(2):
        assert (await gate.call("GET", "/api", key=await gate.key("api")))["set-cookie"] == "session=ada"
    assert b"cookie" not in backend.calls[1].names


async def test_informational_answers_are_skipped(gate, backend):
    """RFC 9110 §15.2: the final answer counts."""
    backend.answer(raw("HTTP/1.1 100 Continue") + raw("HTTP/1.1 103 Early Hints", "Link: </x>") + ok(b"final"))
    answer = await gate.call("GET", "/api", key=await gate.key("api"))
    assert (answer.status, answer.body, answer["link"]) == (200, b"final", "")


async def test_answer_of_http_1_0(gate, backend):
    """RFC 9112 §6.3: the end of the connection is the end of the body, so it is a clean one."""

    async def script(call):
        await call.read_body()
        await call.send(raw("HTTP/1.0 200 OK", "Content-Type: text/plain", body=b"all of it"))
        call.writer.close()
        raise ConnectionResetError

    backend.script = script
    answer = await gate.call("GET", "/api", key=await gate.key("api"))
    assert (answer.body, answer.whole) == (b"all of it", True)


async def test_events_arrive_one_by_one(gate, backend):
    """Server-sent events are flushed each: none waits for the next, in either direction of time."""
    step = asyncio.Event()

    async def script(call):
        await call.read_body()
        await call.stream("Content-Type: text/event-stream")
        for number in range(5):
            await call.chunk(b"data: %d\n\n" % number)
            await step.wait()
            step.clear()
        await call.send(END)

    backend.script = script
    async with gate.connect() as wire:
        await wire.send(request("GET", "/api/sse", key=await gate.key("api")))
        assert (await wire.head())["content-type"] == "text/event-stream"
        for number in range(5):
            assert await wire.data() == b"data: %d\n\n" % number
            step.set()
        assert await wire.data() is None


async def test_headers_arrive_before_the_first_event(gate, backend):
    """A stream that has nothing to say yet is open nevertheless (MCP: GET streams)."""

    async def script(call):
        await call.stream("Content-Type: text/event-stream")
        await call.watch()

    backend.script = script
    async with gate.connect() as wire:
        await wire.send(request("GET", "/api/sse", key=await gate.key("api")))
        assert (await wire.head()).status == 200


async def test_download_to_a_slow_client_has_back_pressure(gate, backend):
    """A client that does not read stops the backend."""
    size, sent = 48 * MEGABYTE, 0

    async def script(call):
        nonlocal sent
        await call.send(raw("HTTP/1.1 200 OK", "Content-Type: a/b", f"Content-Length: {size}"))
        while sent < size:
            await call.send(bytes(MEGABYTE))
            sent += MEGABYTE

    backend.script = script
    async with gate.connect() as wire:
        wire.writer.transport.pause_reading()
        await wire.send(request("GET", "/api", key=await gate.key("api")))
        await backend.next_call()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert 0 < sent < size // 2
        wire.writer.transport.resume_reading()
        answer = await wire.answer()
    assert (len(answer.body), answer.whole) == (size, True)


# --- backends that fail ----------------------------------------------------------------------------------------------


async def test_backend_refuses(gate):
    """502 with a stable slug and nothing about the inside."""
    answer = await gate.call("GET", "/down", key=await gate.key("down"))
    assert (answer.status, json.loads(answer.body)["error"]) == (502, "backend_unreachable")
    assert b"127.0.0.1" not in answer.body


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nX-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\x01c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000,
    ],
    ids=lambda sent: repr(sent[:60]),
)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_backend_breaks_before_its_headers(gate, backend, sent, how):
    """502: what is no answer is not passed on, in part either."""

    async def script(call):
        await call.read_body()
        await call.send(sent)
        if how == "reset":
            await asyncio.sleep(0.01)
            call.reset()
        raise ConnectionResetError

    backend.script = script
    answer = await gate.call("GET", "/api", key=await gate.key("api"))
    assert (answer.status, answer.whole) == (502, True)
    assert json.loads(answer.body)["error"] in {"backend_broke_off", "backend_answer_malformed"}
    assert len(backend.calls) == 1


async def test_backend_stalls_before_its_headers(gate, backend):
    """504 after `first_byte`, and the backend's connection is closed then."""

    async def script(call):
        await call.read_body()
        await call.watch()

    backend.script = script
    started = time.monotonic()
    answer = await gate.call("POST", "/hasty", key=await gate.key("hasty"), body=b"x")
    assert (answer.status, json.loads(answer.body)["error"]) == (504, "backend_timeout")
    assert 0.2 <= time.monotonic() - started < 0.5
    await asyncio.wait_for(backend.call.gone.wait(), SECONDS)


async def test_slow_first_byte_within_its_limit(gate, backend):
    """`first_byte` and `idle` are separate: a tool that works for long is not idle (idle is 0.2 s here)."""

    async def script(call):
        await asyncio.sleep(0.3)
        await call.send(ok(b"late"))

    backend.script = script
    assert (await gate.call("GET", "/patient", key=await gate.key("patient"))).body == b"late"


async def test_long_upload_is_no_slow_backend(gate, backend):
    """The clock of `first_byte` (0.2 s here) starts when the request is complete."""
    async with gate.connect() as wire:
        await wire.send(request("PUT", "/hasty", "Content-Length: 4", key=await gate.key("hasty")))
        for _ in range(4):
            await asyncio.sleep(0.08)
            await wire.send(b"x")
        assert (await wire.answer()).status == 200


async def test_backend_goes_silent_inside_its_answer(gate, backend):
    """`idle` inside a response: broken off, not ended."""

    async def script(call):
        await call.stream("Content-Type: text/event-stream")
        await call.chunk(b"data: 1\n\n")
        await call.watch()

    backend.script = script
    async with gate.connect() as wire:
        await wire.send(request("GET", "/hasty", key=await gate.key("hasty")))
        answer = await wire.answer()
    assert (answer.status, answer.body, answer.whole) == (200, b"data: 1\n\n", False)
    await asyncio.wait_for(backend.call.gone.wait(), SECONDS)


async def test_backend_does_not_accept(backend):
    """`connect` → 504: a full backlog answers no SYN."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        config = RouteConfig(
            id="x",
            path="/",
            backend=f"http://127.0.0.1:{listener.getsockname()[1]}",
            providers=("a",),
            timeouts=Timeouts(connect=1),
        )
        target = Backend(config)

        async def receive():
            return {"type": "http.request"}

        body = RequestBody(receive, 1, [])
        await body.start()
        with pytest.raises(BackendTimeout) as caught:
            await target.send("GET", b"", b"", [(b"host", target.host)], body)
        assert caught.value.slug == "backend_connect_timeout"
        await target.close()


@pytest.mark.parametrize(
    "sent",
    [
        raw("HTTP/1.1 200 OK", "Content-Type: a/b", "Content-Length: 10", body=b"hello"),
        raw("HTTP/1.1 200 OK", "Content-Type: a/b", "Content-Length: 10"),
        raw("HTTP/1.1 200 OK", "Content-Type: a/b", "Transfer-Encoding: chunked", body=chunked(b"hello")),
        raw("HTTP/1.1 200 OK", "Content-Type: a/b", "Transfer-Encoding: chunked", body=b"a\r\nhello"),
        raw("HTTP/1.1 200 OK", "Content-Type: a/b", "Transfer-Encoding: chunked", body=chunked(b"hello") + b"zz\r\n"),
        raw("HTTP/1.1 200 OK", "Content-Type: a/b", "Transfer-Encoding: chunked", body=chunked(b"hello") + b"0\r\n"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_attack_cut_answer_passes_for_a_whole_one(gate, backend, logged, sent, how):
    """Gateway checklist: a backend that dies after its headers aborts the connection; the client never sees an end."""

    async def script(call):
        await call.read_body()
        await call.send(sent)
        await asyncio.sleep(0.01)
        if how == "reset":
            call.reset()
        raise ConnectionResetError

    backend.script = script
    answer = await gate.call("GET", "/api", key=await gate.key("api"))
    assert (answer.status, answer.whole) == (200, False)
    assert answer.body in (b"", b"hello")
    assert logged[-1]["reason"] == "backend_broke_off"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_attack_bytes_after_the_answer(gate, backend, method):
    """Response queue poisoning: what a backend sends beyond its Content-Length, or after the head of a HEAD, must not
    become the answer to the next request, which may be another user's.
    """
    extra = ok(b"of the one before")

    async def script(call):
        await call.read_body()
        await call.send(ok(b"") if method == "HEAD" else ok(b"hello"), extra if len(backend.calls) == 1 else b"")

    backend.script = script
    key = await gate.key("api")
    first = await gate.call(method, "/api/1", key=key)
    assert (first.status, first.whole) == (200, True)
    second = await gate.call("GET", "/api/2", key=key)
    assert second.body != b"of the one before"
    assert (second.status, [call.target for call in backend.calls]) == (200, [b"/v1/1", b"/v1/2"])
    assert backend.calls[0].peer != backend.calls[1].peer


async def test_attack_length_beside_chunks(gate, backend):
    """RFC 9112 §6.3: chunks win, and the length that they overrule is not told on."""
    backend.answer(
        raw("HTTP/1.1 200 OK", "Content-Type: a/b", "Content-Length: 3", "Transfer-Encoding: chunked")
        + chunked(b"hello")
        + END
    )
    answer = await gate.call("GET", "/api", key=await gate.key("api"))
    assert (answer.body, answer.whole, answer["content-length"]) == (b"hello", True, "")


@pytest.mark.parametrize(("lingers", "status"), [(True, 403), (False, 502)])
async def test_early_answer_while_uploading(gate, backend, lingers, status):
    """RFC 9112 §9.6: a backend that answers before it has read all, and lingers, is heard; the kernel throws away the
    answer of one that just closes, so that is a clear 502 and no hang.
    """

    async def script(call):
        await call.send(raw("HTTP/1.1 403 No", "Content-Length: 2", "Connection: close", body=b"no"))
        while lingers and await call.reader.read(MEGABYTE):
            pass
        raise ConnectionResetError

    backend.script = script
    async with gate.connect() as wire:
        await wire.send(request("PUT", "/api", f"Content-Length: {8 * MEGABYTE}", key=await gate.key("api")))

        async def upload():
            with contextlib.suppress(ConnectionError):
                for _ in range(8):
                    await wire.send(bytes(MEGABYTE))

        task = asyncio.create_task(upload())
        answer = await wire.answer("PUT")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (answer.status, answer.whole) == (status, True)


# --- clients that leave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the answer", "inside the answer", "inside the request", "behind a full pipe"])
async def test_client_that_leaves_cancels_the_backend_request(gate, backend, logged, when):
    """Gateway checklist: at once, wherever the exchange is; and a client that hangs up is no error of ours."""

    async def script(call):
        if when != "inside the request":
            await call.read_body()
        if when == "inside the answer":
            await call.stream("Content-Type: text/event-stream")
            await call.chunk(b"data: 1\n\n")
        if when == "behind a full pipe":
            await call.stream("Content-Type: a/b")
            with contextlib.suppress(ConnectionError):
                while True:
                    await call.chunk(bytes(MEGABYTE))
            call.gone.set()
            return
        await call.watch()

    backend.script = script
    length = 10 if when == "inside the request" else 1
    async with gate.connect() as wire:
        if when == "behind a full pipe":
            wire.writer.transport.pause_reading()
        await wire.send(request("POST", "/api", f"Content-Length: {length}", key=await gate.key("api")) + b"x")
        call = await backend.next_call()
        if when == "inside the answer":
            await wire.head()
            await wire.data()
        await asyncio.sleep(0.05)
        wire.writer.transport.abort()
    started = time.monotonic()
    await asyncio.wait_for(call.gone.wait(), SECONDS)
    assert time.monotonic() - started < 0.5
    await asyncio.sleep(0.05)
    assert logged[-1]["event"] == "request"
    assert logged[-1]["reason"] == "client_gone"
    assert all(entry["log_level"] == "info" for entry in logged)


async def test_client_that_leaves_is_no_error(gate, backend, caplog):
    """The server's own log stays quiet, too: otherwise every closed tab is a traceback."""
    async with gate.connect() as wire:
        await wire.send(request("POST", "/api", "Content-Length: 10", key=await gate.key("api")) + b"x")
        await backend.next_call()
        wire.writer.transport.abort()
    async with gate.connect() as wire:
        await wire.send(request("POST", "/mcp", "Content-Length: 10", key=await gate.key("mcp")) + b"x")
        await asyncio.sleep(0.05)
        wire.writer.transport.abort()
    await asyncio.sleep(0.1)
    assert [record.getMessage() for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []


@pytest.mark.parametrize("how", ["key", "family", "expiry"])
async def test_attack_stream_outlives_its_key(gate, backend, logged, how):
    """Design decision 16: open streams end at revocation, broken and not clean; streams of other keys go on."""

    async def script(call):
        await call.stream("Content-Type: text/event-stream")
        await call.chunk(b"data: 1\n\n")
        await call.watch()

    backend.script = script
    key, other = await gate.key("api", seconds=1 if how == "expiry" else 60), await gate.key("api")
    async with gate.connect() as wire, gate.connect() as bystander:
        for stream, text in ((wire, key), (bystander, other)):
            await stream.send(request("GET", "/api/sse", key=text))
            assert (await stream.head()).status == 200
            assert await stream.data() == b"data: 1\n\n"
        if how != "expiry":
            await gate.revoke(key, family=how == "family")
        with pytest.raises(h11.RemoteProtocolError):
            await asyncio.wait_for(wire.data(), 3)
        gone = [call.gone for call in backend.calls]
        await asyncio.wait_for(gone[0].wait(), SECONDS)
        assert not gone[1].is_set()
        reasons = [entry["reason"] for entry in logged if "reason" in entry]
        assert reasons == ["key_expired" if how == "expiry" else "key_revoked"]
    await asyncio.wait_for(gone[1].wait(), SECONDS)
    await asyncio.sleep(0.01)


async def test_gateway_serves_on_after_all_that(gate, backend):
    """No connection and no task of a broken exchange is left in the way."""
    key = await gate.key("api")
    answers = await asyncio.gather(*(gate.call("GET", "/api", key=key) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
