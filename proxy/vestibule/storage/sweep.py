"""What nobody can use any more is deleted, a bounded batch in each transaction, so that no request waits long."""

from sqlalchemy import ColumnElement, Table, and_, delete, exists, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.storage.tables import clients, codes, connections, families, keys, logins, refreshes, revocations

BATCH = 500
_DAY = 86400
_KEPT_SECONDS = 7 * _DAY
"""How long ended rows stay for `keys list --all` and for whoever looks into an incident."""


async def end_idle_families(db: AsyncConnection, now: int) -> list[str | None]:
    """End families that hold nothing alive: no code to redeem, no key, no refresh token. Returns their connections."""
    idle = and_(
        families.c.revoked_at.is_(None),
        not_(exists().where(keys.c.family_id == families.c.id, keys.c.revoked_at.is_(None), keys.c.expires_at > now)),
        not_(
            exists().where(
                refreshes.c.family_id == families.c.id, refreshes.c.used_at.is_(None), refreshes.c.expires_at > now
            )
        ),
        not_(exists().where(codes.c.family_id == families.c.id, codes.c.used_at.is_(None), codes.c.expires_at > now)),
    )
    batch = select(families.c.id).where(idle).limit(BATCH)
    statement = (
        update(families)
        .where(families.c.id.in_(batch))
        .values(revoked_at=now, revoked_reason="idle")
        .returning(families.c.connection_id)
    )
    return [row.connection_id for row in await db.execute(statement)]


async def delete_expired(db: AsyncConnection, now: int) -> int:
    """One batch of every table, children first; the number of deleted rows."""
    old = now - _KEPT_SECONDS
    childless = not_(or_(*(exists().where(child.c.family_id == families.c.id) for child in (keys, refreshes, codes))))
    unused = not_(exists().where(families.c.connection_id == connections.c.id))
    expired: tuple[tuple[Table, ColumnElement[bool]], ...] = (
        (logins, logins.c.expires_at < now - _DAY),
        (codes, codes.c.expires_at < now - _DAY),
        (refreshes, refreshes.c.expires_at < now),
        (keys, or_(keys.c.expires_at < old, keys.c.revoked_at < old)),
        (families, and_(families.c.revoked_at < old, childless)),
        (connections, and_(connections.c.ended_at < old, unused)),
        (clients, clients.c.expires_at < now),
        (revocations, revocations.c.created_at < now - _DAY),
    )
    deleted = 0
    for table, condition in expired:
        (key,) = table.primary_key.columns
        batch = select(key).where(condition).limit(BATCH)
        deleted += (await db.execute(delete(table).where(key.in_(batch)))).rowcount
    return deleted
