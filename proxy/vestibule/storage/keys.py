"""Access tokens and API keys: one credential model. Stored as SHA-256, shown once."""

from collections.abc import Iterable

from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.model import ConnectionRecord, FamilyRecord, GrantRecord, KeyFacts, KeyRecord, UserRecord
from vestibule.storage.revocations import KEY, announce
from vestibule.storage.rows import part, record
from vestibule.storage.tables import connections, families, grants, keys, users

_FACTS = (
    select(*keys.c, *families.c, *grants.c, *users.c, *connections.c)
    .select_from(keys)
    .outerjoin(families, families.c.id == keys.c.family_id)
    .outerjoin(grants, grants.c.id == families.c.grant_id)
    .outerjoin(users, users.c.id == grants.c.user_id)
    .outerjoin(connections, connections.c.id == families.c.connection_id)
)


async def add_key(db: AsyncConnection, key: KeyRecord) -> None:
    values = {name: getattr(key, name) for name in key.__struct_fields__}
    await db.execute(insert(keys).values(values | {"kind": key.kind.value, "permissions": list(key.permissions)}))


async def find_key_facts(db: AsyncConnection, digest: bytes) -> KeyFacts | None:
    """All that admission needs in one read, dead or alive: the caller judges."""
    row = (await db.execute(_FACTS.where(keys.c.digest == digest))).one_or_none()
    if row is None:
        return None
    key = part(KeyRecord, keys, row)
    assert key is not None  # noqa: S101  # the inner side of the joins
    return KeyFacts(
        key=key,
        family=part(FamilyRecord, families, row),
        grant=part(GrantRecord, grants, row),
        user=part(UserRecord, users, row),
        connection=part(ConnectionRecord, connections, row),
    )


async def revoke_key(db: AsyncConnection, key_id: str, now: int) -> KeyRecord | None:
    """None if unknown or revoked before."""
    statement = (
        update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=now).returning(*keys.c)
    )
    row = (await db.execute(statement)).one_or_none()
    if row is None:
        return None
    await announce(db, KEY, key_id, now)
    return record(KeyRecord, row)


async def touch_keys(db: AsyncConnection, used: Iterable[tuple[str, int]]) -> None:
    """Batched `last_used_at`: (key id, epoch seconds) pairs, written off the request path."""
    batch = [{"key": key_id, "at": at} for key_id, at in used]
    if batch:
        await db.execute(update(keys).where(keys.c.id == bindparam("key")).values(last_used_at=bindparam("at")), batch)


async def list_keys(db: AsyncConnection, now: int, *, everything: bool = False, limit: int = 1000) -> list[KeyFacts]:
    """Live keys, newest first; `everything` adds expired and revoked ones."""
    statement = _FACTS.order_by(keys.c.created_at.desc(), keys.c.id).limit(limit)
    if not everything:
        statement = statement.where(
            keys.c.revoked_at.is_(None),
            keys.c.expires_at > now,
            or_(families.c.id.is_(None), families.c.revoked_at.is_(None)),
        )
    found = []
    for row in await db.execute(statement):
        key = part(KeyRecord, keys, row)
        assert key is not None  # noqa: S101  # the inner side of the joins
        found.append(
            KeyFacts(
                key=key,
                family=part(FamilyRecord, families, row),
                grant=part(GrantRecord, grants, row),
                user=part(UserRecord, users, row),
            )
        )
    return found
