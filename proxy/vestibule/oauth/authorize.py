"""The authorization request, in two phases, because the first decides where an error of the second may be sent.

Until client and redirect URI are known to be good, nothing is redirected (RFC 6749 §4.1.2.1, RFC 9700 §4.11):
`check_redirect` raises a page. From then on every refusal is an OAuthError for `error_url`. Neither has side effects:
clients prefetch the endpoint.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlencode

from msgspec import Struct

from vestibule.errors import (
    BadRedirectPage,
    ConsentRequired,
    InvalidRequest,
    InvalidScope,
    OAuthError,
    UnauthorizedClient,
    UnsupportedResponseType,
)
from vestibule.model import ClientRecord
from vestibule.oauth.clients import is_loopback, redirect_matches, redirect_problem
from vestibule.oauth.params import STANDARD_SCOPES, Params, parse_scope
from vestibule.oauth.resources import Resource, find_resource

MAX_STATE_BYTES = 2048

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class AuthorizationRequest(Struct, frozen=True, kw_only=True):
    """A request that passed every rule; plain JSON types, since it rides in a signed field until consent."""

    client_id: str
    redirect_uri: str
    state: str | None
    challenge: str
    route: str
    resource: str
    permissions: tuple[str, ...]
    """Requested and existing, in the route's order."""


def check_redirect(client: ClientRecord, params: Params) -> str:
    """The redirect URI of this request, registered for this client (RFC 6749 §3.1.2.3, CVE-2025-4143)."""
    given = params.get("redirect_uri")
    if given is None:
        if len(client.redirect_uris) != 1 or is_loopback(client.redirect_uris[0]):
            raise BadRedirectPage("redirect_uri_missing")  # on loopback the port is not known from the registration
        given = client.redirect_uris[0]
    elif not any(redirect_matches(registered, given) for registered in client.redirect_uris):
        raise BadRedirectPage("redirect_uri_unregistered")
    problem = redirect_problem(given)
    if problem is not None:  # whatever was registered, and by whom
        raise BadRedirectPage("redirect_uri_unacceptable", problem)
    return given


def read_request(
    client: ClientRecord, redirect_uri: str, params: Params, resources: Sequence[Resource]
) -> AuthorizationRequest:
    """RFC 6749 §4.1.1 with PKCE (RFC 7636) and resource (RFC 8707). `redirect_uri` is from `check_redirect`."""
    response_type, state = params.get("response_type"), params.get("state")
    method, challenge = params.get("code_challenge_method"), params.get("code_challenge")
    for broken, refusal, slug in (
        ("request" in params, InvalidRequest, "request_object"),  # RFC 9101: would override what is checked here
        ("request_uri" in params, InvalidRequest, "request_object"),
        (response_type is None, InvalidRequest, "response_type_missing"),
        (response_type != "code", UnsupportedResponseType, "response_type"),  # OAuth 2.1 §10: no implicit grant
        (params.get("response_mode", "query") != "query", InvalidRequest, "response_mode"),
        ("authorization_code" not in client.grant_types, UnauthorizedClient, "grant_type_unregistered"),
        (state is not None and len(state.encode()) > MAX_STATE_BYTES, InvalidRequest, "state_too_long"),
        (challenge is None, InvalidRequest, "pkce_missing"),  # RFC 9700 §2.1.1, for every client
        (method is None, InvalidRequest, "pkce_plain"),  # RFC 7636 §4.3: a missing method means plain
        (method != "S256", InvalidRequest, "pkce_method"),  # §4.4.1; never read as plain
        ("none" in params.get("prompt", "").split(" "), ConsentRequired, "prompt_none"),
    ):
        if broken:
            raise refusal(slug)
    if challenge is None or not _CHALLENGE.fullmatch(challenge):  # §4.2: SHA-256 in base64url
        raise InvalidRequest("pkce_challenge")
    resource = find_resource(resources, params.resources)
    return AuthorizationRequest(
        client_id=client.id,
        redirect_uri=redirect_uri,
        state=state,
        challenge=challenge,
        route=resource.route,
        resource=resource.url,
        permissions=_permissions(resource, params.get("scope")),
    )


def _permissions(resource: Resource, scope: str | None) -> tuple[str, ...]:
    """RFC 6749 §3.3: the server may ignore part of the scope, so unknown names are dropped, but not all of them:
    defaults in place of what a client named would give it something that it did not ask for.
    """
    requested = frozenset(parse_scope(scope))
    known = tuple(permission for permission in resource.permissions if permission in requested)
    if known:
        return known
    if requested <= STANDARD_SCOPES:
        return resource.defaults
    raise InvalidScope("scope_unknown")


def response_url(redirect_uri: str, **params: str | None) -> str:
    """Parameters added to the query that is there (RFC 6749 §3.1.2), which is kept; None ones are left out."""
    added = urlencode({name: value for name, value in params.items() if value is not None})
    if redirect_uri.endswith(("?", "&")):
        return redirect_uri + added
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{added}"


def success_url(request: AuthorizationRequest, code: str, issuer: str) -> str:
    """RFC 6749 §4.1.2, with `iss` against mix-up (RFC 9207 §2)."""
    return response_url(request.redirect_uri, code=code, state=request.state, iss=issuer)


def error_url(redirect_uri: str, state: str | None, error: OAuthError, issuer: str) -> str:
    """RFC 6749 §4.1.2.1, with `iss` (RFC 9207 §2). A state beyond the limit is not repeated: it is what was refused."""
    repeated = state if state is not None and len(state.encode()) <= MAX_STATE_BYTES else None
    return response_url(redirect_uri, error=error.code, error_description=error.public, state=repeated, iss=issuer)
