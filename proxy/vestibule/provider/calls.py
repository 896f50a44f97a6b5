"""The general call: one type of request for tokens, refresh, revocation and identity, written by `build`, understood by
`read`. Every reply ends in a document or in exactly one kind of failure:

    no reply, 408, 429, 5xx, a rate limit, or an error code that says "later"     unavailable
    an error code that says no (`invalid_grant` …), or 401 to a user's token      refused
    anything else that is not what the definition expects                         misconfigured

The order matters: a provider in trouble sends all sorts of bodies, and only a healthy "no" may end a session.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode, urljoin

import msgspec
from msgspec import Struct

from vestibule.model import Conversation, HttpCall, HttpFailure, HttpReply
from vestibule.provider.definition import Call, Err, IdentityCall, Paginate, Step
from vestibule.provider.flow import Fail, Kind
from vestibule.provider.talk import Talk
from vestibule.provider.template import Names, Template, Unrenderable, text_of
from vestibule.provider.urls import ORIGIN, endpoint_problem, next_page, origin, with_query

MAX_PAGES = 10
_MAX_DETAIL_CHARS = 200
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
"""RFC 9110 §5.5, ASCII only: no CR or LF, whatever a token or a parameter holds."""

CODES: dict[str, Kind] = {
    "invalid_grant": "refused",  # RFC 6749 §5.2
    "access_denied": "refused",  # RFC 6749 §4.1.2.1
    "invalid_token": "refused",  # RFC 6750 §3.1
    "login_required": "refused",  # OIDC Core §3.1.2.6, also from token endpoints
    "interaction_required": "refused",
    "consent_required": "refused",
    "account_selection_required": "refused",
    "server_error": "unavailable",  # RFC 6749 §4.1.2.1
    "temporarily_unavailable": "unavailable",
    "slow_down": "unavailable",  # RFC 8628 §3.5
}
"""What an error code means; a code that is not listed is `misconfigured`."""


def exchange(talk: Talk, call: Call) -> Conversation[Any]:
    """Build, send, read; the document of the reply, null if it has none that can be read."""
    names = talk.names_for(call)
    request = build(talk, call, names)
    return read(call, request, (yield request), names)


SKIPPED = object()
"""Apart from null, which an unreadable reply is: what had to be answered and was not is a failure."""


def step(talk: Talk, call: Step) -> Conversation[Any]:
    """SKIPPED when the call does not apply, or is optional and of no use."""
    if call.when is not None and not call.when.holds(talk.documents):
        return SKIPPED
    paginate = call.paginate if isinstance(call, IdentityCall) else None
    try:
        document = yield from (exchange(talk, call) if paginate is None else pages(talk, call, paginate))
    except Fail as failed:
        if call.optional and failed.event.kind != "unavailable":
            return SKIPPED
        raise
    return SKIPPED if call.optional and document is None else document


def pages(talk: Talk, call: Call, paginate: Paginate) -> Conversation[list[Any]]:
    """All items as one array, of at most `MAX_PAGES` pages.

    A page on another origin is refused: the request carries the user's token.
    """
    names = talk.names_for(call)
    first = request = build(talk, call, names)
    items: list[Any] = []
    for number in range(paginate.first + 1, paginate.first + 1 + MAX_PAGES):
        reply = yield request
        document = read(call, request, reply, names)
        page = paginate.items(document)
        if not isinstance(page, list):
            raise Fail("misconfigured", "page_not_an_array", _line(request, reply))
        items += page
        try:
            url = _next(paginate, request, first, reply, document, number if page else None)
            if url is None:
                break
            foreign = endpoint_problem(url) is not None or origin(url) != origin(first.url)
        except ValueError:
            foreign = True
        if foreign:
            raise Fail("misconfigured", "page_on_another_origin", _line(request, reply))
        request = msgspec.structs.replace(request, url=url)
    return items


def _next(
    paginate: Paginate, request: HttpCall, first: HttpCall, reply: object, document: Any, number: int | None
) -> str | None:
    """The URL of the next page; `number` is its number, if this one was not empty."""
    if paginate.by == "link":
        return next_page(request.url, reply.headers.get("link") if isinstance(reply, HttpReply) else None)
    cursor: Any = number
    if paginate.by == "cursor":
        cursor = paginate.next and paginate.next(document)
    if cursor is None or cursor is False or cursor == "":
        return None
    if paginate.param is None:
        return urljoin(request.url, text_of(cursor))
    return with_query(first.url, {paginate.param: text_of(cursor)})


# --- writing ---------------------------------------------------------------------------------------------------------


def build(talk: Talk, call: Call, names: Names) -> HttpCall:
    headers = texts(call.headers, names)
    body = b""
    content_type = None
    if call.form:
        body, content_type = urlencode(texts(call.form, names)).encode(), "application/x-www-form-urlencoded"
    elif call.json is not None:
        try:
            body, content_type = msgspec.json.encode(call.json.value(names)), "application/json"
        except ValueError:  # lone surrogates
            raise Unrenderable("a value cannot be written as JSON") from None
    elif call.body is not None:
        body = (call.body.text(names) or "").encode()
    if body and content_type and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = content_type
    return HttpCall(
        method=call.method,
        url=with_query(endpoint(call.url, names), texts(call.query, names)),
        headers=header_pairs(headers),
        body=body,
        trusted=_chosen_by_admin(talk, call.url),
    )


def texts(parts: Mapping[str, Template], names: Names) -> dict[str, str]:
    """The parameters that are not null."""
    return {key: text for key, part in parts.items() if (text := part.text(names)) is not None}


def header_pairs(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if broken := [name for name, value in headers.items() if not _HEADER_VALUE.fullmatch(value)]:
        raise Unrenderable(f"the value of {broken[0]} cannot be a header")
    return tuple(headers.items())


def endpoint(template: Template, names: Names) -> str:
    return checked_endpoint(template.text(names), str(template.source))


def checked_endpoint(url: object, shown: str) -> str:
    """`shown` is what the log says, because a URL may hold what a log must not."""
    if not isinstance(url, str):
        raise Fail("misconfigured", "endpoint_unknown", f"{shown} leads to no URL")
    if problem := endpoint_problem(url):
        raise Fail("misconfigured", "endpoint_not_allowed", f"{shown} {problem}")
    return url


def _chosen_by_admin(talk: Talk, url: Template) -> bool:
    """Whether scheme, host and port come from the config, the definition or discovery, not from a reply."""
    known = talk.provider.is_admins
    return all(map(known, url.paths)) or ORIGIN.match(url.leading(talk.names, known)) is not None


# --- reading ---------------------------------------------------------------------------------------------------------


def read(call: Call, request: HttpCall, reply: HttpReply | HttpFailure, names: Names) -> Any:
    """The document of a successful reply; see the module's table for the rest."""
    if isinstance(reply, HttpFailure):
        raise Fail("unavailable", f"provider_{reply.reason}", f"{request!r}: {reply.detail}"[:_MAX_DETAIL_CHARS])
    line = _line(request, reply)
    if reply.status in {408, 429} or reply.status >= 500 or _rate_limited(reply):  # noqa: PLR2004
        raise Fail("unavailable", "provider_unavailable", line)
    document = document_of(reply)
    token_refused = reply.status == 401 and call.auth == "bearer"  # noqa: PLR2004  # RFC 6750 §3.1; else it is our secret
    told = error_of(call.err, document)
    if told and not (token_refused and told.kind == "misconfigured"):  # many put the status into `error`, not a code
        raise Fail(told.kind, told.slug, f"{line}: {_without_secrets(told.words, names)}")
    if token_refused:
        raise Fail("refused", "invalid_token", line)
    if not 200 <= reply.status < 300:  # noqa: PLR2004
        raise Fail("misconfigured", "provider_status", line)
    if call.ok is not None and not call.ok.holds(document):
        words = call.err.description(document) if call.err.description else None
        raise Fail("misconfigured", "provider_not_ok", f"{line}: {_without_secrets(str(words or ''), names)}")
    return document


def document_of(reply: HttpReply) -> Any:
    """By content type, then by look: JSON sent as text/html is common. Null if it is neither JSON nor a form."""
    media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = reply.body.strip()
    try:
        if media_type.endswith("json") or body[:1] in {b"{", b"["}:
            return msgspec.json.decode(body)
        if media_type in {"application/x-www-form-urlencoded", "text/plain"} and b"=" in body:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=64)
            return dict(pairs) if len(dict(pairs)) == len(pairs) else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return None


def _rate_limited(reply: HttpReply) -> bool:
    """Some answer 403 to too many requests; GitHub does (docs.github.com "Rate limits for the REST API")."""
    limited = "retry-after" in reply.headers or reply.headers.get("x-ratelimit-remaining") == "0"
    return reply.status == 403 and limited  # noqa: PLR2004


def _line(request: HttpCall, reply: HttpReply | HttpFailure) -> str:
    return f"{request!r} answered {reply!r}"[:_MAX_DETAIL_CHARS]


class Told(Struct, frozen=True):
    """An error in the provider's own words, which may hold anything."""

    kind: Kind
    slug: str
    code: str
    description: str

    @property
    def words(self) -> str:
        return f"{self.code} {self.description}".strip()


def error_of(err: Err, document: Any) -> Told | None:
    """None if there is no error in it."""
    error = err.code(document)
    if error in (None, "", False):
        return None
    code, description = (
        str(value) if isinstance(value, str | int) else ""
        for value in (error, err.description and err.description(document))
    )
    kind, slug = CODES.get(code, "misconfigured"), code if code in CODES else "provider_error"
    if code in err.refused:
        kind, slug = "refused", "provider_refused"
    elif code in err.unavailable:
        kind, slug = "unavailable", "provider_unavailable"
    return Told(kind, slug, code, description)


def _without_secrets(text: str, names: Names) -> str:
    """Some repeat the token that they refuse, so what we sent or know is blotted out, however it is written."""
    client = names.get("client", {})
    known = [client.get(name) for name in ("secret", "jwt", "basic")]
    known += [names.get(name) for name in ("code", "verifier", "refresh_token", "access_token")]
    known += _tokens_in([names.get("t"), names.get("x")])
    forms = {form for secret in known if secret for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    for form in sorted(forms, key=len, reverse=True):  # one may begin with another
        text = text.replace(form, "***")
    return clean(text)[:_MAX_DETAIL_CHARS]


def _tokens_in(documents: list[Any]) -> Iterator[str]:
    """By the names of their fields: `id_token`, `bot.accessToken` …"""
    waiting = documents
    while waiting:
        document = waiting.pop()
        if isinstance(document, dict):
            yield from (v for k, v in document.items() if isinstance(v, str) and str(k).lower().endswith("token"))
            waiting.extend(document.values())
        elif isinstance(document, list):
            waiting.extend(document)


def clean(text: str) -> str:
    """RFC 6749 §4.1.2.1 allows visible ASCII and spaces, without quote and backslash."""
    return re.sub(r"[^\x20\x21\x23-\x5b\x5d-\x7e]", " ", text[:2000])
