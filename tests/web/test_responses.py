"""What is answered when nothing else answers: health, unknown addresses, and failures of our own."""

import json
import re

import pytest
from sqlalchemy.exc import OperationalError

from vestibule.service import authorizations, clients, tokens
from web.browser import HTML, JSON, authorize_url

FORM = "application/x-www-form-urlencoded"


async def test_health(site):
    """It says that the process serves; no database is asked."""
    answer = await site.call("GET", "/health")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})
    assert answer["cache-control"] == "no-store"
    head = await site.call("HEAD", "/health")
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("path", ["/oauth", "/oauth/nothing", "/account/x", "/auth", "/health/x", "/oauth/%00"])
async def test_unknown_address(site, path):
    """404 as JSON with a trace id; a reserved path is never a route's."""
    answer = await site.call("GET", path)
    assert answer.status == 404
    assert json.loads(answer.body) == {"error": "not_found", "trace_id": answer["x-trace-id"]}


async def test_trace_id_is_the_callers(site):
    """W3C Trace Context: one id follows a request through proxies, log, header and error."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = await site.call("GET", "/oauth/nothing", f"traceparent: 00-{trace}-00f067aa0ba902b7-01")
    assert answer["x-trace-id"] == json.loads(answer.body)["trace_id"] == trace


async def test_unexpected_exception_as_a_page(browser, monkeypatch, logged):
    """The traceback is in the log, the trace id on the page, and nothing else of it."""

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(authorizations, "begin", broken)
    response = await browser.get(authorize_url("portal"), **HTML)
    assert (response.status_code, response.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert response.headers["x-trace-id"] in response.text
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert not re.search(r"secret detail|RuntimeError|Traceback|\.py", response.text)
    assert [entry["event"] for entry in logged] == ["internal_error", "request"]
    assert logged[0]["exc_info"].args == ("secret detail",)
    assert {entry["trace_id"] for entry in logged} == {response.headers["x-trace-id"]}


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/register"])
async def test_unexpected_exception_as_json(browser, monkeypatch, logged, path):
    """RFC 6749 §5.2 in form; readable across origins; no traceback."""

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(tokens, "issue", broken)
    monkeypatch.setattr(clients, "register", broken)
    kind = "application/json" if path.endswith("register") else FORM
    response = await browser.post(path, b"a=b", content_type=kind, **JSON)
    assert response.status_code == 500
    document = response.json()
    assert document["error"] == "server_error"
    assert document["trace_id"] == response.headers["x-trace-id"]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["access-control-allow-origin"] == "*"
    assert "secret detail" not in response.text


async def test_database_that_is_busy(browser, monkeypatch, logged):
    """Protocol §9: trouble that may pass is 503 with Retry-After, so that clients keep their tokens."""

    async def locked(*_: object, **__: object) -> None:
        raise OperationalError("UPDATE secret", {}, Exception("database is locked"))

    monkeypatch.setattr(tokens, "issue", locked)
    response = await browser.post("/oauth/token", b"a=b", **JSON)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert response.headers["retry-after"]
    assert "UPDATE" not in response.text
    monkeypatch.setattr(authorizations, "begin", locked)
    page = await browser.get(authorize_url("portal"), **HTML)
    assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
