"""Keys that an operator makes, lists and revokes. They belong to a service principal, not to a person (decision 13)."""

import structlog
from msgspec import Struct

from vestibule.config import RouteConfig
from vestibule.crypto import random
from vestibule.crypto.digests import sha256
from vestibule.model import KeyFacts, KeyKind, KeyRecord, Secret, Service
from vestibule.policy.permissions import compile_permissions
from vestibule.policy.rules import compile_rules
from vestibule.storage import keys as store
from vestibule.storage.database import Database

log = structlog.get_logger("vestibule.keys")


class KeyRefused(Exception):
    """Why no key was made, and what to change; shown to the operator."""


class NewKey(Struct, frozen=True):
    """`text` is shown once and kept nowhere."""

    text: Secret
    record: KeyRecord


async def create(
    database: Database,
    route: RouteConfig,
    *,
    prefix: str,
    service: str,
    name: str,
    permissions: tuple[str, ...],
    expires_at: int,
    now: int,
) -> NewKey:
    """Raises KeyRefused when such a key could never be admitted, instead of making one that fails later."""
    known = compile_permissions(route.permissions)
    unknown = [item for item in permissions if item not in known.ids]
    if unknown:
        choices = ", ".join(sorted(known.ids))
        raise KeyRefused(f"route {route.id!r} has no permission {unknown[0]!r}; it has: {choices}")
    if not isinstance(route.send.authorization, str) and route.send.authorization.provider_token:
        raise KeyRefused(
            f"route {route.id!r} sends the user's own provider token, which a service does not have; "
            "let a person sign in, or use a route that sends something else"
        )
    if isinstance(route.allow, str | tuple):
        reason = compile_rules(route.allow).judge(Service(service))
        if reason is not None:
            raise KeyRefused(
                f"route {route.id!r} does not admit the service {service!r}; "
                f"add `- service: {service}` to its `allow` list"
            )
    text = random.key_text(prefix, KeyKind.API_KEY)
    record = KeyRecord(
        id=random.row_id(),
        digest=sha256(text),
        kind=KeyKind.API_KEY,
        name=name,
        family_id=None,
        service=service,
        route=route.id,
        permissions=permissions or known.defaults,
        created_at=now,
        expires_at=expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    async with database.write() as db:
        await store.add_key(db, record)
    log.info("api_key_created", key=record.id, service=service, route=route.id, permissions=record.permissions)
    return NewKey(Secret(text), record)


async def revoke(database: Database, key_id: str, now: int) -> KeyRecord | None:
    """None if unknown or revoked before. Running gateways learn of it through the revocation log."""
    async with database.write() as db:
        record = await store.revoke_key(db, key_id, now)
    if record is not None:
        log.info("api_key_revoked", key=key_id)
    return record


async def listing(database: Database, now: int, *, everything: bool) -> list[KeyFacts]:
    async with database.read() as db:
        return await store.list_keys(db, now, everything=everything)
