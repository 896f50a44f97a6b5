"""The log that tells every process which cached keys are dead. Numbers only grow; a reader remembers the last."""

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.storage.tables import revocations

FAMILY = "family"
KEY = "key"


async def announce(db: AsyncConnection, kind: str, subject: str, now: int) -> None:
    """Part of the transaction that revokes, so the two cannot part."""
    await db.execute(insert(revocations).values(kind=kind, subject=subject, created_at=now))


async def latest(db: AsyncConnection) -> int:
    return await db.scalar(select(func.max(revocations.c.seq))) or 0


async def since(db: AsyncConnection, seq: int) -> list[tuple[int, str, str]]:
    """(seq, kind, subject), oldest first."""
    statement = select(revocations.c.seq, revocations.c.kind, revocations.c.subject).where(revocations.c.seq > seq)
    return [(row.seq, row.kind, row.subject) for row in await db.execute(statement.order_by(revocations.c.seq))]
