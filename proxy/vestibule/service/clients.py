"""Who asks: pre-registered in the config, by a metadata document (CIMD), or registered dynamically (RFC 7591)."""

from typing import Any

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.crypto import random
from vestibule.crypto.digests import sha256
from vestibule.errors import InvalidClientMetadata, TemporarilyUnavailable
from vestibule.model import ClientRecord, ClientSource, HttpCall, HttpReply
from vestibule.oauth import cimd
from vestibule.oauth import clients as rules
from vestibule.service.gateway import Gateway
from vestibule.storage import clients as store

log = structlog.get_logger("vestibule.clients")
_DAY = 86400
_CIMD_SECONDS = 3600


class RegistrationFull(TemporarilyUnavailable):
    """Too many unconfirmed registrations wait; confirmed clients go on working."""

    description = "Too many new clients are registering right now. Try again later."


async def find_client(gateway: Gateway, client_id: str) -> ClientRecord | None:
    """A client that is known already; asks nobody but the database, so a refresh never depends on a web site."""
    configured = gateway.clients.get(client_id)
    if configured is not None:
        return configured
    async with gateway.database.read() as db:
        client = await store.find_client(db, client_id, gateway.now())
    registration = gateway.registration
    allowed = {ClientSource.DCR: registration.dcr, ClientSource.CIMD: registration.cimd}
    return client if client is not None and allowed.get(client.source, True) else None


async def meet_client(gateway: Gateway, client_id: str, redirect_uri: str | None) -> ClientRecord | None:
    """A client at the door of authorize: as `find_client`, and CIMD documents are fetched (cached for an hour).

    A document that lacks the redirect URI at hand is fetched once more: it may have changed since.
    """
    if not cimd.is_cimd_id(client_id):
        return await find_client(gateway, client_id)
    if not gateway.registration.cimd or cimd.cimd_url_problem(client_id):
        return None
    client = await _fetch_cimd(gateway, client_id, fresh=False)
    matches = client and any(rules.redirect_matches(uri, redirect_uri or "") for uri in client.redirect_uris)
    if client is not None and redirect_uri and not matches:
        client = await _fetch_cimd(gateway, client_id, fresh=True)
    known = await find_client(gateway, client_id) if client is not None else None
    return msgspec.structs.replace(client, confirmed_at=known.confirmed_at) if client and known else client


async def register(gateway: Gateway, document: bytes) -> dict[str, Any]:
    """RFC 7591 §3: the same public client registering again gets the same id; confidential ones are never shared.

    Raises InvalidRedirectUri, InvalidClientMetadata, RegistrationFull.
    """
    if not gateway.registration.dcr:
        raise InvalidClientMetadata("dcr_disabled", description="Dynamic registration is switched off here.")
    wanted, now = rules.read_registration(document), gateway.now()
    secret = None if wanted.auth_method == "none" else random.token()
    client = wanted.record(
        random.row_id(),
        source=ClientSource.DCR,
        created_at=now,
        expires_at=now + gateway.registration.unconfirmed_days * _DAY,
        secret_digest=sha256(secret) if secret else None,
    )
    shared = None if secret else sha256(wanted.digest_input().decode())
    async with gateway.database.write() as db:
        stored = await store.register_client(db, client, shared, room=gateway.registration.max_unconfirmed)
        if stored is None:
            raise RegistrationFull("registrations_full")
    log.info("client_registered", client_id=stored.id, client_name=stored.name, again=stored.id != client.id)
    # a client that shares a record is told its own loopback ports again
    echoed = msgspec.structs.replace(stored, redirect_uris=wanted.redirect_uris)
    return rules.registration_response(echoed, secret, stored.created_at)


async def remember(gateway: Gateway, db: AsyncConnection, client: ClientRecord) -> None:
    """Keep a CIMD client that a user approved, so that nothing later depends on its web site being up."""
    now = gateway.now()
    await store.save_cimd_client(
        db,
        msgspec.structs.replace(client, created_at=now, expires_at=now + gateway.registration.unconfirmed_days * _DAY),
    )


async def _fetch_cimd(gateway: Gateway, url: str, *, fresh: bool) -> ClientRecord | None:
    """None for every kind of failure: a uniform answer tells a port scanner nothing."""
    call = HttpCall(
        method="GET",
        url=url,
        headers=(("accept", "application/json"),),
        cache_seconds=_CIMD_SECONDS,
        fresh=fresh,
        max_bytes=cimd.MAX_DOCUMENT_BYTES,
        timeout_seconds=10,
    )
    reply = await gateway.outbound.send(call)
    if not isinstance(reply, HttpReply) or reply.status != 200:  # noqa: PLR2004
        log.warning("cimd_unreachable", client_id=url)
        return None
    try:
        return cimd.read_document(url, reply.body, reply.headers.get("content-type", ""))
    except InvalidClientMetadata as error:
        gateway.outbound.forget(call)
        log.warning("cimd_invalid", client_id=url, reason=error.slug, detail=error.detail)
        return None
