"""What an MCP request asks for: its JSON-RPC calls, read so strictly that no other reader can find different ones.

MCP is POST only, so method and path say nothing; the JSON-RPC method and the tool name decide. The body is always
parsed, for every protocol version: headers may be checked against it but never replace it, because an older backend
ignores them. A gateway and a backend with different JSON parsers are one parser differential apart from a bypass
(GHSA-4gph: Go matches keys in any case and keeps the last), so everything that parsers are known to disagree about is
refused, not resolved: duplicate keys, keys in another case or in look-alike characters, NaN, byte order marks, control
characters in names.

The standard library's decoder with a pairs hook was chosen over msgspec: msgspec decodes 1 KB in 2 µs but keeps the
last of duplicate keys, and finding those separately made it slower (14 µs) than one pass that sees every pair (7 µs).
"""

import base64
import binascii
import json
import re
import unicodedata
from typing import Any, NoReturn

from msgspec import Struct

from vestibule.errors import BadRequest

MAX_BATCH = 100
"""Batches existed in protocol 2025-03-26 only; nobody needs many calls in one."""
MAX_BRACKETS = 100_000
MAX_COMMAS = 200_000
"""Counted before a body is decoded: millions of empty objects would hold up everybody else for a second. Long arguments
(source code, tables) have many of their own, so there is room."""
MAX_DEPTH = 64
MAX_NAME_CHARACTERS = 256
"""The specification asks tool names to stay within 128."""
HEADERS_SINCE = "2026-07-28"
"""The protocol version that introduced `Mcp-Method` and `Mcp-Name` and obliges servers to compare them."""


class McpCall(Struct, frozen=True):
    """One JSON-RPC message. `method` is "" for a response; `tool` is set for tools/call only."""

    method: str
    tool: str | None


class McpHeaders(Struct, frozen=True):
    """Values of `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name`, None when not sent."""

    protocol_version: str | None
    method: str | None
    name: str | None


_PROTECTED = frozenset({"jsonrpc", "id", "method", "params", "result", "error", "name", "uri"})
_NAME_MEMBER = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Where the value of `Mcp-Name` comes from (MCP 2026-07-28, streamable HTTP, Standard Request Headers)."""

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_METHOD = re.compile(rf"[!-~]{{1,{MAX_NAME_CHARACTERS}}}")
_SENTINEL = re.compile(r"=\?base64\?(.*)\?=")


def parse_calls(body: bytes, headers: McpHeaders) -> tuple[McpCall, ...]:
    """The calls of an MCP POST (JSON-RPC 2.0 §4-§6, RFC 8259 §4), or BadRequest. The body is forwarded as it came."""
    document = _decode(body)
    if isinstance(document, dict):
        call = _call(document)
        if _headers_count(headers):
            _check_headers(call, document, headers)
        return (call,)
    if not isinstance(document, list):
        raise BadRequest("mcp_body_malformed", "neither an object nor an array")
    if not 1 <= len(document) <= MAX_BATCH:
        raise BadRequest("mcp_batch_size", f"{len(document)} messages")
    if _headers_count(headers):
        raise BadRequest("mcp_header_mismatch", "headers of one message on a batch")
    return tuple(map(_call, document))


# --- strict JSON -----------------------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 8259 §4: names SHOULD be unique, and what a parser does when they are not is unpredictable."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadRequest("mcp_duplicate_key")
    return members


def _constant(name: str) -> NoReturn:
    raise BadRequest("mcp_body_malformed", f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _decode(body: bytes) -> Any:
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > MAX_BRACKETS or body.count(b",") > MAX_COMMAS:
        raise BadRequest("mcp_body_too_complex")
    try:
        # UTF-8 only (RFC 8259 §8.1): json.loads would also guess UTF-16 and UTF-32. A byte order mark fails as a value.
        document = _decoder.decode(body.decode())
    except RecursionError:
        raise BadRequest("mcp_too_deep") from None
    except ValueError as error:
        raise BadRequest("mcp_body_malformed", type(error).__name__) from None
    if brackets > MAX_DEPTH:
        _check_depth(document)
    return document


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    if any(isinstance(node, dict | list) for node in level):
        raise BadRequest("mcp_too_deep")


# --- one message -----------------------------------------------------------------------------------------------------


def _call(message: Any) -> McpCall:
    if not isinstance(message, dict):
        raise BadRequest("mcp_body_malformed", "a message is not an object")
    _check_keys(message)
    params = message.get("params")
    if isinstance(params, dict):
        _check_keys(params)
    is_response = "result" in message or "error" in message
    if "method" not in message:
        if is_response and "id" in message:
            return McpCall("", None)
        raise BadRequest("mcp_body_malformed", "neither a request nor a response")
    method = message["method"]
    if is_response or not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise BadRequest("mcp_method_malformed")
    if method != "tools/call":
        if method.lower() == "tools/call":
            # A lenient backend would run a tool where `methods` patterns, not `tools` patterns, had been asked.
            raise BadRequest("mcp_method_malformed", "tools/call in another case")
        return McpCall(method, None)
    tool = params.get("name") if isinstance(params, dict) else None
    if not isinstance(tool, str) or not 1 <= len(tool) <= MAX_NAME_CHARACTERS or not tool.isprintable():
        raise BadRequest("mcp_tool_malformed")
    return McpCall(method, tool)


def _check_keys(members: dict[str, Any]) -> None:
    """GHSA-4gph: `Name` beside `name` is one key to Go, two to Python.

    Unprintable keys are refused outright: C strings end at NUL, and some decoders drop format characters or surrogates.
    """
    for key in members:
        if key not in _PROTECTED and (not key.isprintable() or _fold(key) in _PROTECTED):
            raise BadRequest("mcp_lookalike_key")


def _fold(key: str) -> str:
    """The key as the most lenient reader would see it: compatibility forms, accents and case removed.

    Upper case first: the dotless i (U+0131) is an `i` to Java's equalsIgnoreCase, but not to casefold alone.
    """
    if key.isascii():
        return key.strip().lower()
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", key).upper().casefold())
    return "".join(char for char in folded if not unicodedata.combining(char)).strip()


# --- headers ---------------------------------------------------------------------------------------------------------


def _headers_count(headers: McpHeaders) -> bool:
    """Only with a version that obliges the backend to compare them; one that is not a date is unknown, thus strict."""
    if headers.method is None and headers.name is None:
        return False
    version = headers.protocol_version
    return version is not None and not (_VERSION.fullmatch(version) and version < HEADERS_SINCE)


def _check_headers(call: McpCall, message: dict[str, Any], headers: McpHeaders) -> None:
    """MCP 2026-07-28, streamable HTTP, Server Validation: header values MUST equal the body's; values keep their case.

    A missing header is the backend's to refuse: nothing here was decided by it. `Mcp-Name` on methods for which the
    specification names no source has nothing to equal and is not judged.
    """
    if headers.method is not None and headers.method != call.method:
        raise BadRequest("mcp_header_mismatch", "Mcp-Method")
    member = _NAME_MEMBER.get(call.method)
    if headers.name is not None and member is not None:
        params = message.get("params")
        expected = params.get(member) if isinstance(params, dict) else None
        if not isinstance(expected, str) or _header_value(headers.name) != expected:
            raise BadRequest("mcp_header_mismatch", "Mcp-Name")


def _header_value(value: str) -> str | None:
    """MCP 2026-07-28, Value Encoding: `=?base64?...?=` in the standard alphabet over UTF-8; None if malformed."""
    encoded = _SENTINEL.fullmatch(value)
    if encoded is None:
        return value if value.isascii() else None
    try:
        decoded = base64.b64decode(encoded[1], validate=True)
        # Non-canonical forms decode alike but compare differently elsewhere, so only the canonical one counts.
        return decoded.decode() if base64.b64encode(decoded).decode() == encoded[1] else None
    except (binascii.Error, ValueError):
        return None
