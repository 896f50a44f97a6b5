"""Authorize and consent: what happens between a client's request and the redirect to the provider.

GET leaves nothing behind on the server: the checked request rides in a signed form field that is bound to a cookie of
this browser, so a foreign site cannot submit its own signed request here (login CSRF, confused deputy). Only approval
makes a login row, and sets the cookie that the callback will ask for.
"""

from collections.abc import Sequence
from typing import NoReturn

import msgspec
import structlog

from vestibule.crypto import random
from vestibule.crypto.digests import b64url, equal, sha256
from vestibule.crypto.jose import BadSignature
from vestibule.errors import (
    AccessDenied,
    BadRequestPage,
    FormExpiredPage,
    InvalidRequest,
    OAuthError,
    ProviderMisconfiguredPage,
    ProviderUnavailablePage,
    ServerError,
    TemporarilyUnavailable,
    UnknownClientPage,
)
from vestibule.model import ClientRecord, ClientSource, LoginRecord, Secret
from vestibule.oauth import authorize as rules
from vestibule.oauth.params import parse_query
from vestibule.provider import wire
from vestibule.provider.flow import ProviderFailed, Step
from vestibule.provider.provider import Provider
from vestibule.service import clients
from vestibule.service.gateway import Gateway, Route, refuse
from vestibule.storage import logins

log = structlog.get_logger("vestibule.authorizations")


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """What the page has to show, and the signed field that brings it back."""

    client: ClientRecord
    request: rules.AuthorizationRequest
    route: Route
    signed: str
    ticked: tuple[str, ...]
    notice: str = ""


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """Where the browser goes next; `cookie` is (login id, secret) when it leaves for a provider."""

    url: str
    cookie: tuple[str, str] | None = None


async def begin(gateway: Gateway, query: bytes, browser: str) -> Consent | Departure:
    """GET authorize. `browser` is the value of the browser's form cookie. Raises FlowRefused."""
    try:
        params = parse_query(query)
    except InvalidRequest as error:
        refuse(BadRequestPage(error.slug, error.detail))
    client_id = params.get("client_id")
    if client_id is None:
        refuse(BadRequestPage("client_id_missing"))
    client = await clients.meet_client(gateway, client_id, params.get("redirect_uri"))
    if client is None:
        refuse(UnknownClientPage("client_unknown"))
    redirect_uri = rules.check_redirect(client, params)
    try:
        request = rules.read_request(client, redirect_uri, params, gateway.resources)
    except OAuthError as error:
        log.info("authorize_refused", reason=error.slug, detail=error.detail, client_id=client.id)
        url = rules.error_url(redirect_uri, params.get("state"), error, gateway.issuer)
        if _may_redirect(client):
            return Departure(url=url)
        # RFC 9700 §4.11.2: nobody vouches for this client yet, so the user decides whether to follow.
        refuse(BadRequestPage(error.slug, error.detail, description=error.public), url, client.name)
    route = gateway.routes[request.route]
    if client.trusted and len(route.config.providers) == 1:
        return await _depart(gateway, request, client, route.config.providers[0], request.permissions)
    return _consent(gateway, client, request, browser, request.permissions)


async def decide(
    gateway: Gateway, *, signed: str, browser: str | None, decision: str, chosen: Sequence[str]
) -> Consent | Departure:
    """POST authorize: the user's answer. `decision` is `deny` or `approve:<provider>`. Raises FlowRefused."""
    request = _open(gateway, signed, browser)
    route = gateway.routes.get(request.route)
    client = await clients.meet_client(gateway, request.client_id, request.redirect_uri)
    if route is None or client is None:
        refuse(UnknownClientPage("client_unknown"))
    if decision == "deny":
        log.info("consent_denied", client_id=client.id, route=route.id)
        return Departure(url=_error_url(gateway, request, AccessDenied("consent_denied")))
    provider_id = decision.removeprefix("approve:")
    if provider_id not in route.config.providers:
        refuse(BadRequestPage("decision_unknown"))
    permissions = tuple(item.id for item in route.permissions.items if item.id in set(chosen))
    if not permissions:
        consent = _consent(gateway, client, request, browser or "", ())
        return msgspec.structs.replace(consent, notice="Choose at least one permission, or cancel.")
    return await _depart(gateway, request, client, provider_id, permissions)


async def _depart(
    gateway: Gateway,
    request: rules.AuthorizationRequest,
    client: ClientRecord,
    provider_id: str,
    permissions: tuple[str, ...],
) -> Departure:
    """Make the login and send the browser to the provider."""
    provider, now = gateway.providers[provider_id], gateway.now()
    wanted = gateway.routes[request.route].permissions.provider_scopes(permissions, provider_id)
    login_id, secret = random.row_id(), random.token()
    verifier = Secret(random.token(48)) if provider.pkce else None
    login = LoginRecord(
        id=login_id,
        step=Step.AT_PROVIDER.value,
        provider=provider_id,
        cookie_digest=sha256(secret),
        request=msgspec.to_builtins(request),
        permissions=permissions,
        nonce=random.token(),
        verifier_sealed=gateway.sealer.seal(verifier, "login", login_id) if verifier else None,
        scopes=provider.scopes_for(wanted),
        created_at=now,
        expires_at=now + gateway.lifetimes.login,
    )
    started = await gateway.outbound.converse(
        wire.start(
            provider,
            redirect_uri=gateway.callback_url(provider_id),
            state=gateway.state.sign({"l": login_id, "p": provider_id}, expires_at=login.expires_at),
            nonce=login.nonce,
            scopes=login.scopes,
            verifier=verifier.reveal() if verifier else None,
            now=now,
            uuid=random.token(16),
        )
    )
    if isinstance(started, ProviderFailed):
        _provider_failed(gateway, started, provider, request, client)
    async with gateway.database.write() as db:
        if client.source is ClientSource.CIMD:
            await clients.remember(gateway, db, client)
        await logins.add_login(db, login)
    log.info("login_started", login=login_id, provider=provider_id, client_id=client.id, route=request.route)
    return Departure(url=started.url, cookie=(login_id, secret))


def _provider_failed(
    gateway: Gateway,
    failed: ProviderFailed,
    provider: Provider,
    request: rules.AuthorizationRequest,
    client: ClientRecord,
) -> NoReturn:
    log.warning("provider_failed", provider=provider.id, kind=failed.kind, reason=failed.slug, detail=failed.detail)
    later = failed.kind == "unavailable"
    page = ProviderUnavailablePage if later else ProviderMisconfiguredPage
    told = TemporarilyUnavailable(failed.slug) if later else ServerError(failed.slug)
    refuse(page(failed.slug, failed.detail), _error_url(gateway, request, told), client.name)


def _consent(
    gateway: Gateway,
    client: ClientRecord,
    request: rules.AuthorizationRequest,
    browser: str,
    ticked: tuple[str, ...],
) -> Consent:
    signed = gateway.forms.sign(
        {"r": msgspec.to_builtins(request), "b": _fingerprint(browser)},
        expires_at=gateway.now() + gateway.lifetimes.login,
    )
    route = gateway.routes[request.route]
    return Consent(client=client, request=request, route=route, signed=signed, ticked=ticked)


def _open(gateway: Gateway, signed: str, browser: str | None) -> rules.AuthorizationRequest:
    """The request that this browser was shown; anything else is refused without saying which."""
    try:
        claims = gateway.forms.open(signed).claims
        request = msgspec.convert(claims["r"], rules.AuthorizationRequest)
    except (BadSignature, msgspec.ValidationError, KeyError):
        refuse(FormExpiredPage("form_invalid"))
    if gateway.now() >= claims["exp"]:
        refuse(FormExpiredPage("form_expired"), _error_url(gateway, request, AccessDenied("form_expired")))
    if browser is None or not equal(_fingerprint(browser), str(claims.get("b", ""))):
        refuse(FormExpiredPage("form_of_other_browser"))
    return request


def _may_redirect(client: ClientRecord) -> bool:
    """Errors go to the client by themselves only if the operator or a user vouched for it."""
    return client.source is ClientSource.CONFIGURED or client.confirmed_at is not None


def _error_url(gateway: Gateway, request: rules.AuthorizationRequest, error: OAuthError) -> str:
    return rules.error_url(request.redirect_uri, request.state, error, gateway.issuer)


def _fingerprint(browser: str) -> str:
    return b64url(sha256(browser))
