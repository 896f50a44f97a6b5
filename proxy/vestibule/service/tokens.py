"""The token endpoint: codes and refresh tokens to keys, and their revocation (RFC 6749 §4.1.3, §6; RFC 7009)."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.crypto import random
from vestibule.crypto.digests import sha256
from vestibule.crypto.sealing import SealBroken, open_under, seal_under
from vestibule.errors import InvalidClient, InvalidGrant, InvalidRequest, UnauthorizedClient, UnsupportedGrantType
from vestibule.model import (
    ClientRecord,
    FamilyRecord,
    GrantRecord,
    KeyKind,
    KeyRecord,
    RefreshRecord,
    Secret,
)
from vestibule.oauth import grants as rules
from vestibule.oauth.credentials import authenticate, read_credentials
from vestibule.oauth.params import Params
from vestibule.oauth.resources import requested_resource
from vestibule.service import connections
from vestibule.service.clients import find_client
from vestibule.service.gateway import Gateway, Route
from vestibule.storage import clients as client_store
from vestibule.storage import codes, grants, keys, refreshes, users

log = structlog.get_logger("vestibule.tokens")
_DAY = 86400


class PolicyRejected(InvalidGrant):
    """The allow rules say no now: the family is revoked, not only this request refused (design decision 19)."""

    def __init__(self, slug: str, family_id: str) -> None:
        super().__init__(slug)
        self.family_id = family_id


class _Session(msgspec.Struct, frozen=True, kw_only=True):
    """A live family with its grant and route, as every issue of keys needs it."""

    family: FamilyRecord
    grant: GrantRecord
    route: Route


async def issue(gateway: Gateway, params: Params, authorization: str | None) -> dict[str, Any]:
    """The body of a successful token response. Raises OAuthErrors."""
    client = await _authenticated(gateway, params, authorization)
    grant_type = params.get("grant_type")
    if grant_type is None:
        raise InvalidRequest("grant_type_missing")
    handler = _GRANT_TYPES.get(grant_type)
    if handler is None:
        raise UnsupportedGrantType("grant_type_unknown")
    if grant_type not in client.grant_types:
        raise UnauthorizedClient("grant_type_not_registered")
    try:
        return await handler(gateway, client, params)
    except PolicyRejected as rejected:
        await _revoke_family(gateway, rejected.family_id, rejected.slug)
        raise


async def revoke(gateway: Gateway, params: Params, authorization: str | None) -> None:
    """RFC 7009: an unknown token is a success; another client's is refused (§2.1) and stays alive.

    A refresh token takes its family along; an access token goes alone. `token_type_hint` is not needed: both kinds are
    looked up by digest.
    """
    client = await _authenticated(gateway, params, authorization)
    token = params.get("token")
    if token is None:
        raise InvalidRequest("token_missing")
    digest, now = sha256(token), gateway.now()
    family: FamilyRecord | None = None
    async with gateway.database.write() as db:
        facts = await keys.find_key_facts(db, digest)
        refresh = await refreshes.find_refresh(db, digest)
        if facts is not None:
            if facts.grant is None or facts.grant.client_id != client.id:
                raise UnauthorizedClient("token_of_other_client")
            await keys.revoke_key(db, facts.key.id, now)
            log.info("access_token_revoked", key=facts.key.id, client_id=client.id)
        elif refresh is not None:
            owner = await grants.find_grant_of_family(db, refresh.family_id)
            if owner is None or owner.client_id != client.id:
                raise UnauthorizedClient("token_of_other_client")
            family = await grants.revoke_family(db, refresh.family_id, "revoked_by_client", now)
            log.info("family_revoked", family=refresh.family_id, client_id=client.id, reason="revoked_by_client")
    await gateway.revocations.catch_up()
    if family is not None and family.connection_id is not None:
        await connections.end_if_unused(gateway, family.connection_id)


async def _authenticated(gateway: Gateway, params: Params, authorization: str | None) -> ClientRecord:
    credentials = read_credentials(authorization, params)
    client = await find_client(gateway, credentials.client_id)
    if client is None:
        raise InvalidClient("client_unknown")
    authenticate(client, credentials, sha256)
    return client


async def _redeem_code(gateway: Gateway, client: ClientRecord, params: Params) -> dict[str, Any]:
    """RFC 6749 §4.1.3. What is refused leaves the code as it was, so a thief without the verifier cannot burn it."""
    code = params.get("code")
    if code is None:
        raise InvalidRequest("code_missing")
    digest, now = sha256(code), gateway.now()
    check = partial(
        rules.check_code,
        client_id=client.id,
        redirect_uri=params.get("redirect_uri"),
        verifier=params.get("code_verifier"),
        resource=requested_resource(params.resources),
        now=now,
    )
    async with gateway.database.write() as db:
        record = await codes.use_code(db, digest, now)
        if record is not None:
            check(record)
            session = await _live_session(gateway, db, record.family_id)
            await _renew_client(gateway, db, client.id)
            return await _issue_keys(gateway, db, session, generation=0)
        replayed = await codes.find_code(db, digest)
    if replayed is None:
        raise InvalidGrant("code_unknown")
    check(msgspec.structs.replace(replayed, expires_at=now + 1))
    # RFC 6749 §4.1.2: a fully valid replay means that the code was stolen or sent twice; what it gave is revoked.
    await _revoke_family(gateway, replayed.family_id, "code_replayed")
    raise InvalidGrant("code_replayed")


async def _refresh(gateway: Gateway, client: ClientRecord, params: Params) -> dict[str, Any]:
    """RFC 6749 §6 with rotation (RFC 9700 §4.14.2) that survives lost answers and races (design decision 17)."""
    text = params.get("refresh_token")
    if text is None:
        raise InvalidRequest("refresh_token_missing")
    digest, now = sha256(text), gateway.now()
    resource = requested_resource(params.resources)
    async with gateway.database.write() as db:
        record = await refreshes.find_refresh(db, digest)
        if record is None:
            raise InvalidGrant("refresh_token_unknown")
        session = await _session(gateway, db, record.family_id)
        if session is None:
            raise InvalidGrant("family_gone")
        rules.check_refresh(
            owner=session.grant.client_id, bound=session.route.resource.url, client_id=client.id, resource=resource
        )
        session = await _live_session(gateway, db, record.family_id)
        permissions = rules.narrow(session.family.permissions, params.get("scope"))
        used = await refreshes.successor_used(db, record)
        outcome = rules.judge_refresh(record, used, now, gateway.lifetimes.refresh_replay)
        if outcome is rules.RefreshOutcome.ROTATE:
            answer = await _rotate(gateway, db, session, record, text, permissions)
            if answer is not None:
                return answer
            record = await refreshes.find_refresh(db, digest) or record  # another replica was faster: repeat its answer
            outcome = rules.RefreshOutcome.REPLAY
        if outcome is rules.RefreshOutcome.REPLAY:
            log.info("refresh_repeated", family=session.family.id, client_id=client.id)
            return _repeat(session, record, text, permissions)
    if outcome is rules.RefreshOutcome.REUSE:
        await _revoke_family(gateway, record.family_id, "refresh_token_reused")
        raise InvalidGrant("refresh_token_reused")
    raise InvalidGrant("refresh_token_expired" if outcome is rules.RefreshOutcome.EXPIRED else "refresh_token_late")


async def _rotate(
    gateway: Gateway,
    db: AsyncConnection,
    session: _Session,
    record: RefreshRecord,
    text: str,
    permissions: tuple[str, ...],
) -> dict[str, Any] | None:
    """None if another process rotated it first. The answer is sealed under the old token before it leaves."""
    now = gateway.now()
    replay_until = now + gateway.lifetimes.refresh_replay
    answer, access, refresh = _new_keys(gateway, session, record.generation + 1, permissions)
    sealed = seal_under(
        text, Secret(msgspec.json.encode(answer).decode()), *_context(session, record, replay_until, permissions)
    )
    moved = await refreshes.use_refresh(db, record.digest, successor_sealed=sealed, replay_until=replay_until, now=now)
    if moved is None:
        return None
    await keys.add_key(db, access)
    await refreshes.add_refresh(db, refresh)
    await _renew_client(gateway, db, session.grant.client_id)
    log.info("keys_refreshed", family=session.family.id, generation=refresh.generation)
    return answer


def _repeat(session: _Session, record: RefreshRecord, text: str, permissions: tuple[str, ...]) -> dict[str, Any]:
    """The same answer again, for the same question only."""
    if record.successor_sealed is None or record.replay_until is None:
        raise InvalidGrant("refresh_token_late")
    try:
        opened = open_under(text, record.successor_sealed, *_context(session, record, record.replay_until, permissions))
    except SealBroken as error:
        raise InvalidGrant("refresh_replay_differs") from error
    answer: dict[str, Any] = msgspec.json.decode(opened.reveal())
    return answer


def _context(
    session: _Session, record: RefreshRecord, replay_until: int, permissions: tuple[str, ...]
) -> tuple[str, ...]:
    """What the sealed answer is bound to, besides the old token itself."""
    return (
        session.grant.id,
        session.grant.client_id,
        session.route.resource.url,
        " ".join(permissions),
        str(record.generation + 1),
        str(replay_until),
    )


async def _renew_client(gateway: Gateway, db: AsyncConnection, client_id: str) -> None:
    """A registration in use lives on."""
    now = gateway.now()
    await client_store.confirm_client(db, client_id, now, now + gateway.registration.confirmed_days * _DAY)


async def _issue_keys(gateway: Gateway, db: AsyncConnection, session: _Session, generation: int) -> dict[str, Any]:
    answer, access, refresh = _new_keys(gateway, session, generation, session.family.permissions)
    await keys.add_key(db, access)
    await refreshes.add_refresh(db, refresh)
    log.info("keys_issued", family=session.family.id, client_id=session.grant.client_id, key=access.id)
    return answer


def _new_keys(
    gateway: Gateway, session: _Session, generation: int, permissions: tuple[str, ...]
) -> tuple[dict[str, Any], KeyRecord, RefreshRecord]:
    """The answer and its two rows; nothing outlives the family."""
    now, family, lifetimes = gateway.now(), session.family, gateway.lifetimes
    access_text = random.key_text(gateway.key_prefix, KeyKind.ACCESS_TOKEN)
    refresh_text = random.key_text(gateway.key_prefix, KeyKind.REFRESH_TOKEN)
    expires_at = min(now + lifetimes.access_token, family.expires_at)
    access = KeyRecord(
        id=random.row_id(),
        digest=sha256(access_text),
        kind=KeyKind.ACCESS_TOKEN,
        name="",
        family_id=family.id,
        service=None,
        route=session.route.id,
        permissions=permissions,
        created_at=now,
        expires_at=expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    refresh = RefreshRecord(
        digest=sha256(refresh_text),
        family_id=family.id,
        generation=generation,
        created_at=now,
        expires_at=min(now + lifetimes.refresh_token, family.expires_at),
        used_at=None,
        successor_sealed=None,
        replay_until=None,
    )
    answer = rules.token_response(
        access_token=access_text, expires_in=expires_at - now, refresh_token=refresh_text, permissions=permissions
    )
    return answer, access, refresh


async def _session(gateway: Gateway, db: AsyncConnection, family_id: str) -> _Session | None:
    """None if the family, its grant or its route is gone from the database or the config."""
    family = await grants.find_family(db, family_id)
    grant = await grants.find_grant(db, family.grant_id) if family else None
    route = gateway.routes.get(grant.route) if grant else None
    if family is None or grant is None or route is None:
        return None
    return _Session(family=family, grant=grant, route=route)


async def _live_session(gateway: Gateway, db: AsyncConnection, family_id: str) -> _Session:
    """Alive, and the policy still says yes: asked at every issue (design decision 19)."""
    session, now = await _session(gateway, db, family_id), gateway.now()
    if session is None or session.grant.revoked_at is not None or session.family.revoked_at is not None:
        raise InvalidGrant("family_revoked")
    if now >= session.family.expires_at:
        raise InvalidGrant("family_expired")
    user = await users.find_user(db, session.grant.user_id)
    if user is None or user.disabled_at is not None:
        raise InvalidGrant("user_disabled")
    if not gateway.signs_in(session.route.id, user.provider):
        raise PolicyRejected("provider_not_on_route", family_id)
    reason = session.route.allow.judge(user.identity())
    if reason is not None:
        raise PolicyRejected(reason, family_id)
    if not session.route.permissions.effective(session.family.permissions):
        raise InvalidGrant("no_permission_left")
    return session


async def _revoke_family(gateway: Gateway, family_id: str, reason: str) -> None:
    async with gateway.database.write() as db:
        family = await grants.revoke_family(db, family_id, reason, gateway.now())
    await gateway.revocations.catch_up()
    if family is not None:
        log.warning("family_revoked", family=family_id, reason=reason)
        if family.connection_id is not None:
            await connections.end_if_unused(gateway, family.connection_id)


_GRANT_TYPES: dict[str, Callable[[Gateway, ClientRecord, Params], Awaitable[dict[str, Any]]]] = {
    "authorization_code": _redeem_code,
    "refresh_token": _refresh,
}
