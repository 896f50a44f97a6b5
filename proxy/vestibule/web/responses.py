"""Answers of the control plane, and how each kind of refusal is shown: a page for people, JSON for programs."""

from typing import Any

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import SkipValidation
from sqlalchemy.exc import SQLAlchemyError

from vestibule.errors import OAuthError, PageError, ServerError, TemporarilyUnavailable
from vestibule.service.gateway import FlowRefused, Gateway
from vestibule.web import pages

log = structlog.get_logger("vestibule.web")
Asgi = Request[Any, Any, State]
Wired = NamedDependency[SkipValidation[Gateway]]
"""What `app` built, handed on as it is: validating it would go through all that it holds, at every request."""
_NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_BASIC = {"www-authenticate": 'Basic realm="vestibule", charset="UTF-8"'}


def redirect(url: str, *cookies: Cookie) -> Response[bytes]:
    """303, never 307: a form's body must not follow (RFC 9700 §4.12)."""
    headers = _NO_STORE | {"location": url, "referrer-policy": "no-referrer"}
    return Response(b"", status_code=303, headers=headers, cookies=list(cookies), media_type=MediaType.TEXT)


def page_response(page: pages.Page, *cookies: Cookie) -> Response[bytes]:
    headers = {name: value for name, value in page.headers if name != "content-type"}
    return Response(
        page.html, status_code=page.status, headers=headers, cookies=list(cookies), media_type=MediaType.HTML
    )


def json_response(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(
        msgspec.json.encode(document),
        status_code=status,
        headers=_NO_STORE | (headers or {}),
        media_type=MediaType.JSON,
    )


def oauth_refused(request: Asgi, error: OAuthError) -> Response[bytes]:
    """RFC 6749 §5.2, with the trace id as an extension member."""
    log.info("oauth_refused", error=error.code, reason=error.slug, detail=error.detail)
    headers: dict[str, str] = {}
    if error.status == 401 and request.headers.get("authorization", "").lower().startswith("basic "):  # noqa: PLR2004
        headers |= _BASIC  # §5.2: the scheme that the client used
    if isinstance(error, TemporarilyUnavailable):
        headers["retry-after"] = str(error.retry_after_seconds)
    document = {"error": error.code, "error_description": error.public, "trace_id": trace_id(request)}
    return json_response(document, error.status, headers)


def flow_refused(request: Asgi, refused: FlowRefused) -> Response[bytes]:
    """A page for a browser; for a program that asked for JSON, what a client can act on (mcp-remote does)."""
    error = refused.error
    log.warning("flow_refused", reason=error.slug, detail=error.detail)
    return _page(request, error, refused.return_url, refused.client_name)


def page_refused(request: Asgi, error: PageError) -> Response[bytes]:
    """A page error that knows of no way back."""
    return flow_refused(request, FlowRefused(error))


def http_refused(request: Asgi, error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses: unknown path, wrong method, body too large."""
    log.info("http_refused", reason=f"http_{error.status_code}")
    document = {"error": "not_found" if error.status_code == 404 else "invalid_request", "trace_id": trace_id(request)}  # noqa: PLR2004
    return json_response(document, error.status_code, dict(error.headers or {}))


def database_busy(request: Asgi, error: SQLAlchemyError) -> Response[bytes]:
    """Locked or unreachable: clients keep their tokens and try again."""
    log.error("database_unavailable", exc_info=error)
    if _is_browser(request):
        page = PageError("database_unavailable", description=DatabaseBusy.description)
        return page_response(pages.render(_error_page(request, page, DatabaseBusy.status)))
    return oauth_refused(request, DatabaseBusy("database_unavailable"))


class DatabaseBusy(TemporarilyUnavailable):
    description = "The gateway is busy right now. Try again shortly."


def failed(request: Asgi, error: Exception) -> Response[bytes]:
    """A bug of ours: the traceback goes to the log, the trace id to the client, and nothing else."""
    log.error("internal_error", exc_info=error)
    if _is_browser(request):
        page = PageError("internal", description="Something went wrong here. It has been logged.")
        return page_response(pages.render(_error_page(request, page, 500)))
    return oauth_refused(request, ServerError("internal"))


def _is_browser(request: Asgi) -> bool:
    return "text/html" in request.headers.get("accept", "")


def trace_id(request: Asgi) -> str:
    return str(request.scope.get("state", {}).get("trace_id", ""))


def _page(request: Asgi, error: PageError, return_url: str | None, client_name: str | None) -> Response[bytes]:
    accepts = request.headers.get("accept", "")
    if "application/json" in accepts and "text/html" not in accepts:
        code = getattr(error, "code", "invalid_request" if error.status < 500 else "server_error")  # noqa: PLR2004
        document = {"error": code, "error_description": error.public, "trace_id": trace_id(request)}
        return json_response(document, error.status)
    return page_response(pages.render(_error_page(request, error, error.status, return_url, client_name)))


def _error_page(
    request: Asgi, error: PageError, status: int, return_url: str | None = None, client_name: str | None = None
) -> pages.ErrorPage:
    return pages.ErrorPage(
        status=status,
        title=error.title,
        description=error.public,
        advice=error.advice,
        trace_id=trace_id(request),
        return_url=return_url,
        return_label=f"Back to {client_name or 'the application'}" if return_url else None,
    )
