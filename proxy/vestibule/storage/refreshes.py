"""Refresh tokens: each generation is used once; what it was answered is sealed under the token itself."""

from sqlalchemy import insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.model import RefreshRecord
from vestibule.storage.rows import record
from vestibule.storage.tables import refreshes


async def add_refresh(db: AsyncConnection, refresh: RefreshRecord) -> None:
    await db.execute(insert(refreshes).values({name: getattr(refresh, name) for name in refresh.__struct_fields__}))


async def find_refresh(db: AsyncConnection, digest: bytes) -> RefreshRecord | None:
    row = (await db.execute(select(refreshes).where(refreshes.c.digest == digest))).one_or_none()
    return record(RefreshRecord, row) if row else None


async def use_refresh(
    db: AsyncConnection, digest: bytes, *, successor_sealed: bytes, replay_until: int, now: int
) -> RefreshRecord | None:
    """None if unknown or already used; of two racing calls, one gets the record."""
    statement = (
        update(refreshes)
        .where(refreshes.c.digest == digest, refreshes.c.used_at.is_(None))
        .values(used_at=now, successor_sealed=successor_sealed, replay_until=replay_until)
        .returning(*refreshes.c)
    )
    row = (await db.execute(statement)).one_or_none()
    return record(RefreshRecord, row) if row else None


async def successor_used(db: AsyncConnection, refresh: RefreshRecord) -> bool:
    """True once the next generation was itself redeemed: the answer did arrive, so it is not repeated."""
    statement = select(literal(1)).where(
        refreshes.c.family_id == refresh.family_id,
        refreshes.c.generation == refresh.generation + 1,
        refreshes.c.used_at.is_not(None),
    )
    return (await db.execute(statement)).one_or_none() is not None
