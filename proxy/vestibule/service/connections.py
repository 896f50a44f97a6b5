"""The provider's tokens: kept sealed, refreshed once however many ask, revoked with the last family that uses them.

A refresh is single-flight in this process and leased in the database across processes. A provider that cannot be
reached keeps the session; one that refuses ends the connection and all families that share it (design decision 17).
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TypedDict

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.crypto import random
from vestibule.crypto.digests import sha256
from vestibule.crypto.sealing import SealBroken
from vestibule.model import ConnectionRecord, Secret, Tokens
from vestibule.provider import wire
from vestibule.provider.flow import ProviderFailed, TokensReceived
from vestibule.provider.provider import Provider
from vestibule.service.gateway import Gateway
from vestibule.storage import connections as store
from vestibule.storage import grants

log = structlog.get_logger("vestibule.connections")
LEASE_SECONDS = 30
"""How long a crashed owner blocks others, and how long they wait. Longer where a refresh takes several calls."""
_CALL_SECONDS = 10
"""The longest that `outbound` gives one call."""
QUIET_SECONDS = 15
"""How long a provider that did not answer is not asked again for the same connection."""
_WAIT_SECONDS = 0.2


class Ended(Struct, frozen=True):
    """The provider refuses to go on; the keys that depended on it are dead."""

    reason: str


class Unreachable(Struct, frozen=True):
    """May pass; the old token stays until its end."""

    reason: str


async def keep(
    gateway: Gateway,
    db: AsyncConnection,
    user_id: str,
    provider: Provider,
    scopes: Iterable[str],
    tokens: Tokens,
) -> ConnectionRecord | None:
    """Seal a sign-in's tokens into the live connection of this user and scope set, inside the caller's transaction."""
    if tokens.access_token is None:
        return None
    scopes = tuple(sorted(scopes))
    scopes_hash = sha256("\n".join((provider.id, *scopes)))
    live = await store.find_live_connection(db, user_id, scopes_hash)
    connection_id = live.id if live else random.row_id()
    record = ConnectionRecord(
        id=connection_id,
        user_id=user_id,
        provider=provider.id,
        scopes=scopes,
        **_sealed(gateway, provider.id, connection_id, tokens),
        expires_at=tokens.expires_at,
        version=1,
        lease_owner=None,
        lease_until=0,
        ended_at=None,
        ended_reason=None,
    )
    return await store.save_connection(db, record, scopes_hash, gateway.now())


def access_token(gateway: Gateway, connection: ConnectionRecord) -> Secret:
    """Raises SealBroken when the row was moved, or the sealing key is gone from the config."""
    return gateway.sealer.open(connection.access_sealed, "access", connection.provider, connection.id)


def kept(gateway: Gateway, connection: ConnectionRecord) -> Mapping[str, str]:
    """What the callback or a reply said that later requests need. Raises SealBroken."""
    if connection.kept_sealed is None:
        return {}
    text = gateway.sealer.open(connection.kept_sealed, "kept", connection.provider, connection.id)
    return msgspec.json.decode(text.reveal(), type=dict[str, str])


def _tokens(gateway: Gateway, connection: ConnectionRecord) -> Tokens:
    """Raises SealBroken."""
    sealed = connection.refresh_sealed
    return Tokens(
        access_token=access_token(gateway, connection),
        refresh_token=gateway.sealer.open(sealed, "refresh", connection.provider, connection.id) if sealed else None,
        kept=kept(gateway, connection),
    )


def due(gateway: Gateway, connection: ConnectionRecord, now: int) -> bool:
    """True from two minutes before the end (`refresh.early` of the definition): no request meets an expired token.

    Tokens that live no longer than that are refreshed at half of their life. What cannot be refreshed is used up.
    """
    if connection.expires_at is None:
        return False
    provider = gateway.providers.get(connection.provider)
    renewable = provider is not None and (connection.refresh_sealed is not None or not provider.needs_refresh_token)
    early = provider.refresh_early if provider is not None and renewable else 0
    life = connection.expires_at - connection.refreshed_at
    return now >= connection.expires_at - (early if life > early else life // 2)


class Refresher:
    """Refreshes connections, one flight each; a provider in trouble is left alone for a while."""

    def __init__(self) -> None:
        self._flights: dict[tuple[str, int], asyncio.Task[ConnectionRecord | Ended | Unreachable]] = {}
        self._quiet_until: dict[str, int] = {}

    async def refresh(
        self, gateway: Gateway, connection: ConnectionRecord, patience: float | None = None
    ) -> ConnectionRecord | Ended | Unreachable:
        """A newer version of this connection, whoever made it; Unreachable after `patience` seconds at the latest."""
        if gateway.now() < self._quiet_until.get(connection.id, 0):
            return Unreachable("provider_quiet")
        flight_id = (connection.id, connection.version)
        task = self._flights.get(flight_id)
        if task is None:
            task = asyncio.create_task(self._fly(gateway, connection))
            self._flights[flight_id] = task
            task.add_done_callback(lambda _: self._flights.pop(flight_id, None))
        try:
            # a client that hangs up must not stop a rotation half-way
            return await asyncio.wait_for(asyncio.shield(task), patience)
        except TimeoutError:
            self._quiet_until[connection.id] = gateway.now() + QUIET_SECONDS
            return Unreachable("provider_slow")

    async def _fly(self, gateway: Gateway, connection: ConnectionRecord) -> ConnectionRecord | Ended | Unreachable:
        outcome = await _refresh(gateway, connection)
        if isinstance(outcome, Unreachable):
            self._quiet_until[connection.id] = gateway.now() + QUIET_SECONDS
        else:
            self._quiet_until.pop(connection.id, None)
        return outcome


async def _refresh(gateway: Gateway, seen: ConnectionRecord) -> ConnectionRecord | Ended | Unreachable:
    for _ in range(int(LEASE_SECONDS / _WAIT_SECONDS)):
        owner, now = f"{gateway.worker}/{random.token(6)}", gateway.now()
        async with gateway.database.write() as db:
            current = await store.find_connection(db, seen.id)
            if current is None or current.ended_at is not None:
                return Ended((current and current.ended_reason) or "connection_gone")
            if current.version != seen.version:
                return current
            leased = await store.lease_connection(
                db, seen.id, version=seen.version, owner=owner, until=now + _lease_seconds(gateway, seen), now=now
            )
        if leased is not None:
            return await _refresh_leased(gateway, leased, owner, took_over=current.lease_owner is not None)
        await asyncio.sleep(_WAIT_SECONDS)
    return Unreachable("refresh_busy")


def _lease_seconds(gateway: Gateway, connection: ConnectionRecord) -> int:
    """Longer than the refresh can take: two owners at once would spend one refresh token twice."""
    provider = gateway.providers.get(connection.provider)
    if provider is None:
        return LEASE_SECONDS
    definition = provider.definition
    further = sum("refresh" in exchange.at for exchange in definition.exchange.values())
    calls = 1 + (2 if definition.oidc is not None else 0) + further  # discovery is asked for twice at most
    return max(LEASE_SECONDS, (calls + 1) * _CALL_SECONDS)


async def _refresh_leased(
    gateway: Gateway, connection: ConnectionRecord, owner: str, *, took_over: bool
) -> ConnectionRecord | Ended | Unreachable:
    provider = gateway.providers.get(connection.provider)
    lacking = provider is not None and provider.needs_refresh_token and connection.refresh_sealed is None
    if provider is None or not provider.refreshes or lacking:
        return await end(gateway, connection, "provider_token_expired")
    try:
        old = _tokens(gateway, connection)
    except SealBroken:
        return await end(gateway, connection, "sealing_key_gone")
    event = await gateway.outbound.converse(
        wire.refresh(
            provider,
            old,
            scopes=connection.scopes,
            redirect_uri=gateway.callback_url(provider.id),
            now=gateway.now(),
            uuid=random.token(16),
        )
    )
    if isinstance(event, ProviderFailed):
        if event.tokens is not None and event.tokens.refresh_token is not None:
            # The refresh itself worked and a further call did not: the next attempt needs the new refresh token.
            await _keep_refresh_token(gateway, connection, event.tokens.refresh_token)
        elif event.kind == "refused":
            # Taken over from a crashed owner: its rotation may have been lost on the way (decision 17 names this case).
            reason = "provider_refresh_lost" if took_over else "provider_refused_refresh"
            return await end(gateway, connection, reason)
        async with gateway.database.write() as db:
            await store.release_lease(db, connection.id, owner)
        log.warning("provider_refresh_failed", connection=connection.id, reason=event.slug, detail=event.detail)
        return Unreachable(event.slug)
    return await _store(gateway, connection, event)


async def _keep_refresh_token(gateway: Gateway, connection: ConnectionRecord, refresh_token: Secret) -> None:
    if connection.refresh_sealed is not None:
        new = gateway.sealer.seal(refresh_token, "refresh", connection.provider, connection.id)
        async with gateway.database.write() as db:
            await store.replace_refresh(db, connection.id, old=connection.refresh_sealed, new=new)


async def _store(
    gateway: Gateway, connection: ConnectionRecord, event: TokensReceived
) -> ConnectionRecord | Ended | Unreachable:
    tokens = event.tokens
    if tokens.access_token is None:
        return Unreachable("provider_sent_no_token")
    sealed = _sealed(gateway, connection.provider, connection.id, tokens)
    refresh = sealed["refresh_sealed"]
    async with gateway.database.write() as db:
        stored = await store.store_refreshed(
            db,
            connection.id,
            version=connection.version,
            **sealed,
            expires_at=tokens.expires_at,
            now=gateway.now(),
        )
        if stored is None and refresh is not None and connection.refresh_sealed is not None:
            # A sign-in moved the version meanwhile. If it brought no refresh token of its own, the one that we hold is
            # the only one that the provider still takes.
            await store.replace_refresh(db, connection.id, old=connection.refresh_sealed, new=refresh)
        current = stored or await store.find_connection(db, connection.id)
    if current is None or current.ended_at is not None:
        return Ended("connection_gone")
    log.info("provider_token_refreshed", connection=connection.id, version=current.version)
    return current


async def end(gateway: Gateway, connection: ConnectionRecord, reason: str) -> ConnectionRecord | Ended:
    """The connection and every family on it end together, at once. Not if a sign-in has brought new tokens meanwhile:
    what was refused were the old ones.
    """
    now = gateway.now()
    async with gateway.database.write() as db:
        ended = await store.end_connection(db, connection.id, reason, now, version=connection.version)
        if ended is None:
            current = await store.find_connection(db, connection.id)
            lives = current is not None and current.ended_at is None
            return current if current is not None and lives else Ended(reason)
        families = await grants.revoke_families_of_connection(db, connection.id, reason, now)
    await gateway.revocations.catch_up()
    log.warning("connection_ended", connection=connection.id, reason=reason, families=len(families))
    return Ended(reason)


async def end_if_unused(gateway: Gateway, connection_id: str) -> None:
    """After the last family is gone, the provider's tokens are revoked there too, as far as it can do that."""
    now = gateway.now()
    async with gateway.database.write() as db:
        if await grants.connection_in_use(db, connection_id, now):
            return
        connection = await store.end_connection(db, connection_id, "unused", now)
    if connection is None or connection.provider not in gateway.providers:
        return
    try:
        tokens = _tokens(gateway, connection)
    except SealBroken:
        return
    provider = gateway.providers[connection.provider]
    failed = await gateway.outbound.converse(wire.revoke(provider, tokens, now=now, uuid=random.token(16)))
    if failed is not None:
        log.warning("provider_revoke_failed", connection=connection_id, reason=failed.slug, detail=failed.detail)


class _Sealed(TypedDict):
    access_sealed: bytes
    refresh_sealed: bytes | None
    kept_sealed: bytes | None


def _sealed(gateway: Gateway, provider_id: str, connection_id: str, tokens: Tokens) -> _Sealed:
    """The sealed columns of a connection."""
    kept_text = Secret(msgspec.json.encode(tokens.kept).decode()) if tokens.kept else None
    access, refresh, also = (
        gateway.sealer.seal(text, name, provider_id, connection_id) if text else None
        for name, text in (("access", tokens.access_token), ("refresh", tokens.refresh_token), ("kept", kept_text))
    )
    if access is None:
        raise ValueError("a connection without an access token")
    return {"access_sealed": access, "refresh_sealed": refresh, "kept_sealed": also}
