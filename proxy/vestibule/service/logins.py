"""The callback: from the provider's redirect to an authorization code of ours.

Each move of the login's step is the guard of its part: whoever moves it acts, everybody else is a replay. A failure in
the middle leaves a failed login and nothing else; grant, family, connection and code are made in one transaction.
"""

from collections.abc import Mapping
from typing import NoReturn

import msgspec
import structlog

from vestibule.crypto import random
from vestibule.crypto.digests import equal, sha256
from vestibule.errors import (
    AccessDenied,
    NotAllowedPage,
    OAuthError,
    OtherBrowserPage,
    PageError,
    ProviderDeniedPage,
    ProviderMisconfiguredPage,
    ProviderUnavailablePage,
    ServerError,
    StateExpiredPage,
    StateReplayedPage,
    TemporarilyUnavailable,
    UnknownClientPage,
)
from vestibule.model import (
    ClientRecord,
    CodeRecord,
    FamilyRecord,
    LoginRecord,
    Tokens,
)
from vestibule.oauth import authorize as rules
from vestibule.oauth.clients import redirect_matches
from vestibule.provider import wire
from vestibule.provider.flow import (
    CodeReturned,
    Denied,
    Event,
    Identified,
    ProviderFailed,
    Step,
    TokensReceived,
    step_after,
)
from vestibule.provider.provider import Provider
from vestibule.service import callbacks, clients, connections
from vestibule.service.gateway import FlowRefused, Gateway, refuse
from vestibule.storage import clients as client_store
from vestibule.storage import codes, grants, logins, users

log = structlog.get_logger("vestibule.logins")
_DAY = 86400


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Where the browser goes with its code, and the login whose cookie has served."""

    url: str
    login_id: str


class _Login(msgspec.Struct, frozen=True, kw_only=True):
    """A login that this browser may complete, with what it is about."""

    record: LoginRecord
    request: rules.AuthorizationRequest
    client: ClientRecord
    provider: Provider


async def complete(
    gateway: Gateway, provider_id: str, params: Mapping[str, str], cookies: Mapping[str, str]
) -> Arrival:
    """`cookies` maps login ids to secrets. Raises FlowRefused, always with a page that says what happened."""
    provider, params = callbacks.arrived(gateway, provider_id, params)
    login = await _admit(gateway, provider, params, cookies)
    returned = wire.read_callback(provider, params)
    held = await _move(gateway, login, Step.AT_PROVIDER, returned)  # from here on this request alone owns the login
    try:
        if not isinstance(returned, CodeReturned):
            _refuse_event(gateway, login, returned)
        received = await _redeem(gateway, login, returned)
        held = await _move(gateway, login, held, received)
        if not isinstance(received, TokensReceived):
            _refuse_event(gateway, login, received)
        identified = await gateway.outbound.converse(
            wire.identify(
                provider,
                received.tokens,
                nonce=login.record.nonce,
                callback=returned.callback,
                now=gateway.now(),
                uuid=random.token(16),
            )
        )
        if not isinstance(identified, Identified):
            held = await _move(gateway, login, held, identified)
            _refuse_event(gateway, login, identified)
        url = await _grant(gateway, login, held, identified, received.tokens)
    except FlowRefused as refused:
        await _fail(gateway, login.record, held, refused.error.slug)
        raise
    except Exception:
        await _fail(gateway, login.record, held, "internal")
        raise
    return Arrival(url=url, login_id=login.record.id)


async def _admit(gateway: Gateway, provider: Provider, params: Mapping[str, str], cookies: Mapping[str, str]) -> _Login:
    """State signed, unexpired, unused, of this browser's flow; client and redirect URI still registered."""
    claims = callbacks.state_claims(gateway, provider, params)
    now = gateway.now()
    async with gateway.database.read() as db:
        record = await logins.find_login(db, str(claims.get("l", "")))
    if record is None or now >= claims["exp"]:
        refuse(StateExpiredPage("state_expired"))
    if record.step != Step.AT_PROVIDER.value:
        refuse(StateReplayedPage("state_replayed"))
    if not equal(sha256(cookies.get(record.id, "")), record.cookie_digest):
        refuse(OtherBrowserPage("login_of_other_browser"))  # CVE-2026-27124
    request = msgspec.convert(record.request, rules.AuthorizationRequest)
    client = await clients.find_client(gateway, record.request["client_id"])
    registered = client and any(redirect_matches(uri, request.redirect_uri) for uri in client.redirect_uris)
    if client is None or not registered or request.route not in gateway.routes:
        refuse(UnknownClientPage("client_unknown"))
    return _Login(record=record, request=request, client=client, provider=provider)


async def _redeem(gateway: Gateway, login: _Login, returned: CodeReturned) -> TokensReceived | ProviderFailed:
    record, provider = login.record, login.provider
    verifier = gateway.sealer.open(record.verifier_sealed, "login", record.id) if record.verifier_sealed else None
    return await gateway.outbound.converse(
        wire.redeem(
            provider,
            code=returned.code,
            callback=returned.callback,
            redirect_uri=gateway.callback_url(provider.id),
            verifier=verifier.reveal() if verifier else None,
            scopes=record.scopes,
            now=gateway.now(),
            uuid=random.token(16),
        )
    )


async def _grant(gateway: Gateway, login: _Login, held: Step, identified: Identified, tokens: Tokens) -> str:
    """Ask the policy; then user, connection, grant, family and code in one transaction. Returns the client's URL."""
    request, identity, now = login.request, identified.identity, gateway.now()
    route = gateway.routes[request.route]
    reason = route.allow.judge(identity)
    if reason is not None:
        log.warning("policy_rejected", reason=reason, route=route.id, provider=identity.provider, sub=identity.subject)
        error = AccessDenied(reason)
        who = identity.email or identity.login or identity.name or identity.subject
        page = NotAllowedPage(
            reason, description=f"You signed in as {who}, which is not on the list for this resource."
        )
        refuse(page, _error_url(gateway, request, error), login.client.name)
    permissions = tuple(item for item in login.record.permissions if item in route.permissions.ids)
    if not permissions:
        refuse(NotAllowedPage("no_permission_left"), _error_url(gateway, request, AccessDenied("no_permission_left")))
    code = random.token()
    async with gateway.database.write() as db:
        if not await logins.advance_login(db, login.record.id, held.value, step_after(held, identified).value):
            refuse(StateReplayedPage("state_replayed"))
        user = await users.save_user(db, random.row_id(), identity, now)
        if user.disabled_at is not None:
            refuse(NotAllowedPage("user_disabled"), _error_url(gateway, request, AccessDenied("user_disabled")))
        connection = await connections.keep(gateway, db, user.id, login.provider, login.record.scopes, tokens)
        grant = await grants.open_grant(
            db, random.row_id(), user_id=user.id, client_id=login.client.id, route=route.id, now=now
        )
        family = FamilyRecord(
            id=random.row_id(),
            grant_id=grant.id,
            connection_id=connection.id if connection else None,
            permissions=permissions,
            created_at=now,
            expires_at=now + gateway.lifetimes.session,
            revoked_at=None,
            revoked_reason=None,
        )
        await grants.add_family(db, family)
        await codes.add_code(
            db,
            CodeRecord(
                digest=sha256(code),
                family_id=family.id,
                client_id=login.client.id,
                redirect_uri=request.redirect_uri,
                challenge=request.challenge,
                resource=request.resource,
                expires_at=now + gateway.lifetimes.authorization_code,
                used_at=None,
            ),
        )
        lives_until = now + gateway.registration.confirmed_days * _DAY
        await client_store.confirm_client(db, login.client.id, now, lives_until)
    log.info(
        "login_completed",
        login=login.record.id,
        user=user.id,
        client_id=login.client.id,
        route=route.id,
        grant=grant.id,
        family=family.id,
        permissions=permissions,
    )
    return rules.success_url(request, code, gateway.issuer)


async def _move(gateway: Gateway, login: _Login, step: Step, event: Event) -> Step:
    """The table decides, the database guards."""
    following = step_after(step, event)
    async with gateway.database.write() as db:
        moved = await logins.advance_login(db, login.record.id, step.value, following.value)
    if not moved:
        refuse(StateReplayedPage("state_replayed"))
    return following


async def _fail(gateway: Gateway, record: LoginRecord, held: Step, slug: str) -> None:
    """Leave the reason on a login that did not get through, from the step that this request holds and no other."""
    async with gateway.database.write() as db:
        await logins.advance_login(db, record.id, held.value, Step.FAILED.value, slug)


def _refuse_event(gateway: Gateway, login: _Login, event: Event) -> NoReturn:
    """Show a provider's refusal as what it is (protocol order: before anything of ours is made)."""
    request, client = login.request, login.client
    page: PageError
    error: OAuthError
    if isinstance(event, Denied):
        page, error = ProviderDeniedPage(f"provider_{event.error}", event.description), AccessDenied("provider_denied")
    elif isinstance(event, ProviderFailed) and event.kind == "unavailable":
        page, error = ProviderUnavailablePage(event.slug, event.detail), TemporarilyUnavailable(event.slug)
    elif isinstance(event, ProviderFailed) and event.kind == "refused":
        page, error = ProviderDeniedPage(event.slug, event.detail), AccessDenied(event.slug)
    else:
        detail = event.detail if isinstance(event, ProviderFailed) else "unexpected event"
        slug = event.slug if isinstance(event, ProviderFailed) else "unexpected_event"
        page, error = ProviderMisconfiguredPage(slug, detail), ServerError(slug)
    refuse(page, _error_url(gateway, request, error), client.name)


def _error_url(gateway: Gateway, request: rules.AuthorizationRequest, error: OAuthError) -> str:
    return rules.error_url(request.redirect_uri, request.state, error, gateway.issuer)
