"""The built-in development provider: OAuth 2.0 with PKCE, rotation and revocation, and a page of made-up people.

It signs in whoever asks, so it listens on loopback only, and a config that names it on any other public URL is refused.
"""

from typing import Any
from urllib.parse import parse_qs, urlencode

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from msgspec import Struct

from vestibule.crypto import random
from vestibule.crypto.digests import equal, s256
from vestibule.web import pages
from vestibule.web.responses import json_response, page_response, redirect

TOKEN_SECONDS = 3600
_CARRIED: tuple[str, ...] = ("redirect_uri", "state", "code_challenge", "scope")


class Person(Struct, frozen=True, kw_only=True):
    sub: str
    name: str
    email: str
    note: str
    email_verified: bool = True
    groups: tuple[str, ...] = ()


PEOPLE = {
    person.sub: person
    for person in (
        Person(sub="ada", name="Ada Lovelace", email="ada@example.com", note="Engineer", groups=("engineering",)),
        Person(sub="grace", name="Grace Hopper", email="grace@example.com", note="Admin", groups=("admins",)),
        Person(
            sub="mallory",
            name="Mallory",
            email="mallory@example.net",
            note="Address not verified",
            email_verified=False,
        ),
    )
}


class _Code(Struct, frozen=True):
    sub: str
    redirect_uri: str
    challenge: str
    scope: str


class DevelopmentProvider:
    """Codes and tokens live in memory and die with the process."""

    def __init__(self) -> None:
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, str] = {}
        self._refresh: dict[str, _Code] = {}

    def app(self) -> Litestar:
        return Litestar(
            [_authorize, _answer, _token, _userinfo, _revoke],
            state=State({"provider": self}),
            openapi_config=None,
            logging_config=None,
        )

    def approve(self, sub: str, form: dict[str, str]) -> str:
        code = random.token()
        self._codes[code] = _Code(sub, form["redirect_uri"], form["code_challenge"], form.get("scope", ""))
        return code

    def issue(self, form: dict[str, str]) -> dict[str, Any] | None:
        """None: the grant is not good (RFC 6749 §5.2)."""
        if form.get("grant_type") == "refresh_token":
            grant = self._refresh.pop(form.get("refresh_token", ""), None)
        else:
            grant = self._codes.pop(form.get("code", ""), None)
            bound = grant is not None and grant.redirect_uri == form.get("redirect_uri")
            if grant is None or not bound or not equal(s256(form.get("code_verifier", "")), grant.challenge):
                return None
        if grant is None:
            return None
        access, refresh = random.token(), random.token()
        self._access[access], self._refresh[refresh] = grant.sub, grant
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "refresh_token": refresh,
            "scope": grant.scope,
        }

    def person(self, access_token: str) -> Person | None:
        return PEOPLE.get(self._access.get(access_token, ""))

    def revoke(self, token: str) -> None:
        self._access.pop(token, None)
        self._refresh.pop(token, None)


@get("/authorize")
async def _authorize(request: Request[Any, Any, State]) -> Response[bytes]:
    query = _form(request.scope["query_string"])
    if not query.get("redirect_uri", "").startswith("http://") or not query.get("code_challenge"):
        return json_response({"error": "invalid_request"}, 400)
    users = [
        pages.DevUser(id=person.sub, name=person.name, email=person.email, note=person.note)
        for person in PEOPLE.values()
    ]
    hidden = {name: query[name] for name in _CARRIED if name in query}
    scopes = query.get("scope", "").split()
    return page_response(
        pages.render(pages.DevSignInPage(users=users, action="authorize", hidden=hidden, scopes=scopes))
    )


@post("/authorize", status_code=303)
async def _answer(request: Request[Any, Any, State]) -> Response[bytes]:
    form = _form(await request.body())
    answer = {"error": "access_denied"}
    if form.get("user") in PEOPLE:
        answer = {"code": request.app.state.provider.approve(form["user"], form)}
    return redirect(f"{form['redirect_uri']}?{urlencode(answer | {'state': form.get('state', '')})}")


@post("/token", status_code=200)
async def _token(request: Request[Any, Any, State]) -> Response[bytes]:
    tokens = request.app.state.provider.issue(_form(await request.body()))
    return json_response(tokens) if tokens else json_response({"error": "invalid_grant"}, 400)


@get("/userinfo")
async def _userinfo(request: Request[Any, Any, State]) -> Response[bytes]:
    person = request.app.state.provider.person(request.headers.get("authorization", "").removeprefix("Bearer "))
    return json_response(person) if person else json_response({"error": "invalid_token"}, 401)


@post("/revoke", status_code=200)
async def _revoke(request: Request[Any, Any, State]) -> Response[bytes]:
    request.app.state.provider.revoke(_form(await request.body()).get("token", ""))
    return json_response({})


def _form(body: bytes) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(body.decode()).items()}
