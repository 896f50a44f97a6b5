"""Authorization codes: marked when used, not deleted, so that a replay is recognised (RFC 6749 §4.1.2)."""

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.model import CodeRecord
from vestibule.storage.rows import record
from vestibule.storage.tables import codes


async def add_code(db: AsyncConnection, code: CodeRecord) -> None:
    await db.execute(insert(codes).values({name: getattr(code, name) for name in code.__struct_fields__}))


async def use_code(db: AsyncConnection, digest: bytes, now: int) -> CodeRecord | None:
    """None if unknown or already used; of two racing calls, one gets the record."""
    statement = (
        update(codes).where(codes.c.digest == digest, codes.c.used_at.is_(None)).values(used_at=now).returning(*codes.c)
    )
    row = (await db.execute(statement)).one_or_none()
    return record(CodeRecord, row) if row else None


async def find_code(db: AsyncConnection, digest: bytes) -> CodeRecord | None:
    """For telling a fully valid replay from noise, after `use_code` gave None."""
    row = (await db.execute(select(codes).where(codes.c.digest == digest))).one_or_none()
    return record(CodeRecord, row) if row else None
