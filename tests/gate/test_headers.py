"""Which headers cross the gate: tables of what goes in and what comes out, in order."""

import pytest

from vestibule.gate.headers import folded, get_all, to_backend, to_client, without_our_cookies

IDENTITY = frozenset({b"x-user-id", b"x-groups"})


def pairs(*lines: str) -> list[tuple[bytes, bytes]]:
    """`name: value` lines as ASGI gives them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, _, value in (x.partition(": ") for x in lines)]


def forwarded(*lines: str) -> list[tuple[bytes, bytes]]:
    return to_backend(pairs(*lines), identity=IDENTITY, added=[])


def answered(*lines: str, sandbox: bool = True, cors: tuple[str, ...] = ()) -> list[tuple[bytes, bytes]]:
    return to_client(pairs(*lines), sandbox_html=sandbox, cors=pairs(*cors))


# --- towards the backend ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "accept: text/event-stream",
        "content-type: application/json",
        "content-encoding: br",
        "content-length: 12",
        "mcp-session-id: 1",
        "mcp-protocol-version: 2026-07-28",
        "mcp-method: tools/call",
        "mcp-param-region: eu",
        "last-event-id: 7",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "origin: https://app.example.com",
        "user-agent: curl",
        "x-api-version: 2",
        "x-empty: ",
        "x-latin: caf\xe9",
    ],
)
def test_ordinary_headers_pass(line):
    """A proxy leaves alone what it has no reason to touch (RFC 9110 §7.7); value bytes included."""
    assert forwarded(line) == pairs(line)


@pytest.mark.parametrize(
    "line",
    [
        "connection: keep-alive",
        "keep-alive: timeout=5",
        "proxy-authenticate: Basic",
        "proxy-authorization: Basic eA==",
        "proxy-connection: keep-alive",
        "te: trailers",
        "trailer: x-user-id",
        "transfer-encoding: chunked",
        "transfer_encoding: chunked",
        "upgrade: h2c",
        "http2-settings: AAMAAABk",
    ],
)
def test_hop_by_hop_headers_end_here(line):
    """RFC 9110 §7.6.1, and what upgrades to HTTP/2 use (RFC 7540 §3.2.1); a CGI reads `_` as `-`."""
    assert forwarded(line) == []


@pytest.mark.parametrize("value", ["x-trace", "X-Trace", "close, x-trace", " , x-trace ,"])
def test_connection_names_more_hop_by_hop_headers(value):
    """RFC 9110 §7.6.1: an intermediary removes what `Connection` names, in any case, and the field itself."""
    assert forwarded("x-a: 1", f"connection: {value}", "x-trace: 1", "x-b: 2") == pairs("x-a: 1", "x-b: 2")


def test_attack_connection_names_identity_header():
    """CVE-2025-48865: what `Connection` names is removed before identity is set, so it cannot remove the gate's own."""
    added = pairs("x-user-id: ours")
    headers = pairs("connection: x-user-id, host, content-length", "x-user-id: theirs", "content-length: 3")
    assert to_backend(headers, identity=IDENTITY, added=added) == added


@pytest.mark.parametrize(
    "name", ["x-user-id", "x_user_id", "x.user.id", "x-user_id", "X-User-Id", "X_USER.ID", "x_groups", "x.groups"]
)
def test_attack_identity_header_alias(name):
    """CVE-2025-64484, CVE-2026-88011: backends that read `_` or `.` as `-` would believe the client's own header."""
    assert to_backend(pairs(f"{name}: mallory"), identity=IDENTITY, added=pairs("x-user-id: ada")) == pairs(
        "x-user-id: ada"
    )


@pytest.mark.parametrize(
    "name",
    [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x_http_method_override",
        "x-original-url",
        "x-original-uri",
        "x-original-method",
        "x-rewrite-url",
        "x.rewrite.url",
    ],
)
def test_attack_override_and_rewrite_headers(name):
    """They make a framework see another request than the one that was judged."""
    assert forwarded(f"{name}: DELETE") == []


@pytest.mark.parametrize(
    "name",
    [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-uri",
        "x-forwarded-user",
        "x-forwarded-prefix",
        "x_forwarded_user",
        "x-real-ip",
        "true-client-ip",
        "x-client-ip",
    ],
)
def test_attack_claims_of_proxies(name):
    """CVE-2025-64484, CVE-2026-40575, CVE-2026-48061: only the gate says who connected and to which address."""
    assert forwarded(f"{name}: evil") == []


@pytest.mark.parametrize("name", ["authorization", "host", "expect", "proxy"])
def test_never_forwarded(name):
    """The client's key ends here (MCP, token passthrough); `Proxy` becomes HTTP_PROXY in a CGI (CVE-2016-5385)."""
    assert forwarded(f"{name}: x") == []


def test_order_case_and_duplicates_are_kept():
    """RFC 9110 §5.3: the order of fields with the same name has a meaning; ours come last."""
    lines = ("x-b: 1", "accept: a", "x-a: 2", "x-b: 3", "accept: b")
    assert to_backend(pairs(*lines), identity=IDENTITY, added=pairs("x-user-id: 7")) == pairs(*lines, "x-user-id: 7")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a=1; b=2", "a=1; b=2"),
        ("__Host-vestibule_form=x; a=1", "a=1"),
        ("a=1; __Host-vestibule_login_abc=x; b=2", "a=1; b=2"),
        ("vestibule_form=x;a=1", "a=1"),
        ("a=vestibule_form; b=__Host-vestibule_form", "a=vestibule_form; b=__Host-vestibule_form"),
        (' a="x y";b', 'a="x y"; b'),
        ("__Host-vestibule_form=x", None),
        ("vestibule_form=x; vestibule_login_1=y", None),
        ("", None),
    ],
)
def test_our_cookies_stay_here(sent, kept):
    """Design decision 5: the pages share an origin with backends, whose cookies go on and ours do not."""
    assert forwarded(f"cookie: {sent}") == ([] if kept is None else pairs(f"cookie: {kept}"))
    assert without_our_cookies(sent.encode()) == (kept or "").encode()


# --- towards the client ----------------------------------------------------------------------------------------------


def test_answer_keeps_order_case_and_duplicates():
    """Set-Cookie cannot be joined with commas (RFC 9110 §5.3); names keep the backend's case."""
    lines = ("Set-Cookie: a=1", "X-B: 1", "Set-Cookie: b=2; Path=/", "Content-Encoding: gzip", "set-cookie: a=3")
    assert answered("Content-Type: application/json", *lines) == pairs("Content-Type: application/json", *lines)


@pytest.mark.parametrize(
    "line",
    [
        "Connection: close",
        "Keep-Alive: timeout=5",
        "Transfer-Encoding: chunked",
        "Trailer: X-Sum",
        "Upgrade: h2c",
        "Proxy-Authenticate: Basic",
    ],
)
def test_hop_by_hop_headers_of_the_answer(line):
    """RFC 9110 §7.6.1."""
    assert answered("Content-Type: text/plain", line) == pairs("Content-Type: text/plain")


def test_connection_names_headers_of_the_answer():
    """RFC 9110 §7.6.1, in the backend's case."""
    assert answered("Connection: X-Hop", "x-hop: 1", "Content-Type: a/b") == pairs("Content-Type: a/b")


@pytest.mark.parametrize("line", ["Service-Worker-Allowed: /", "Clear-Site-Data: *", "clear-site-data: cookies"])
def test_attack_backend_reaches_for_our_pages(line):
    """Design decision 5: a worker or a wipe of the whole origin would take our pages along."""
    assert answered("Content-Type: a/b", line) == pairs("Content-Type: a/b")


@pytest.mark.parametrize(
    "value",
    [
        "__Host-vestibule_form=x",
        "__Host-vestibule_login_1=x; Path=/; Secure",
        "vestibule_form=x; Path=/",
        " vestibule_form=x",
        "=__Host-vestibule_form=x",
        "=vestibule_form=x",
        "= vestibule_form=x",
        "vestibule_form",
    ],
)
def test_attack_backend_sets_our_cookies(value):
    """Login CSRF by a backend; a browser sends a nameless cookie `=name=x` back as `name=x` (RFC 6265bis §5.8.3)."""
    assert answered("Content-Type: a/b", f"Set-Cookie: {value}", "Set-Cookie: other=vestibule_form") == pairs(
        "Content-Type: a/b", "Set-Cookie: other=vestibule_form"
    )


@pytest.mark.parametrize(
    "kind",
    [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        " text/html ;x=y",
        "application/xhtml+xml",
        "image/svg+xml",
        "text/xml",
        "application/xml",
        "application/atom+xml",
        "text/xsl",
        "text/plain, text/html",
        "unknown/unknown",
        "*/*",
        "html",
        "",
        "multipart/x-mixed-replace; boundary=x",
    ],
)
def test_attack_page_of_the_backend_acts_in_our_origin(kind):
    """Design decision 5: whatever a browser may render as a document, XML and what it sniffs included (MIME Sniffing
    §7), gets an origin of its own; a policy that the backend sent does not replace the sandbox.
    """
    lines = (f"Content-Type: {kind}", "Content-Security-Policy: sandbox allow-same-origin allow-scripts")
    assert answered(*lines) == pairs(f"Content-Type: {kind}", "content-security-policy: sandbox")


def test_attack_answer_without_a_type_is_sniffed():
    """MIME Sniffing §7: a browser that is told no type looks into the body, and may find HTML."""
    assert answered("X-A: 1") == pairs("X-A: 1", "content-security-policy: sandbox")


@pytest.mark.parametrize(
    "kind",
    ["application/json", "text/event-stream", "text/plain; charset=utf-8", "application/octet-stream", "image/png"],
)
def test_no_sandbox_for_what_is_no_document(kind):
    """Only documents are limited; a policy that the backend set stays."""
    lines = (f"Content-Type: {kind}", "Content-Security-Policy: default-src 'none'")
    assert answered(*lines) == pairs(*lines)


def test_no_sandbox_where_the_route_allows_html():
    """`allow_html: true`: the operator trusts this backend's pages."""
    lines = ("Content-Type: text/html", "Content-Security-Policy: default-src 'self'")
    assert answered(*lines, sandbox=False) == pairs(*lines)


def test_the_routes_decision_about_origins_replaces_the_backends():
    """Two Access-Control-Allow-Origin values make a browser refuse both (Fetch §3.2.5)."""
    own = ("access-control-allow-origin: https://app.example.com", "vary: Origin")
    backends = ("Access-Control-Allow-Origin: *", "Access-Control-Allow-Credentials: true", "Vary: Accept")
    assert answered("Content-Type: a/b", *backends, cors=own) == pairs("Content-Type: a/b", "Vary: Accept", *own)
    assert answered("Content-Type: a/b", *backends) == pairs("Content-Type: a/b", *backends)


def test_attack_length_beside_chunks():
    """RFC 9112 §6.3: Transfer-Encoding overrides Content-Length, and who forwards the message removes the length."""
    lines = ("Content-Length: 5", "Transfer-Encoding: chunked", "Content-Type: a/b")
    assert answered(*lines) == pairs("Content-Type: a/b")


# --- small parts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "same"), [(b"X_User.Id", b"x-user-id"), (b"a", b"a"), (b"__", b"--")])
def test_folded(name, same):
    """A name as the most lenient backend reads it."""
    assert folded(name) == same


def test_get_all():
    """Every value in order, an empty one too."""
    assert get_all(pairs("a: 1", "b: 2", "a: "), b"a") == [b"1", b""]
