"""Grants and their families. A family is revoked alone: no sign-out cascades (design decision 11)."""

from sqlalchemy import insert, literal, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.model import FamilyRecord, GrantRecord
from vestibule.storage.revocations import FAMILY, announce
from vestibule.storage.rows import record
from vestibule.storage.tables import families, grants


async def open_grant(
    db: AsyncConnection, new_id: str, *, user_id: str, client_id: str, route: str, now: int
) -> GrantRecord:
    """The live grant of this user, client and route, made if there is none."""
    statement = (
        upsert(grants)
        .values(id=new_id, user_id=user_id, client_id=client_id, route=route, created_at=now)
        .on_conflict_do_update(
            index_elements=["user_id", "client_id", "route"],
            index_where=grants.c.revoked_at.is_(None),
            set_={"route": route},  # changes nothing; makes RETURNING give the existing row
        )
        .returning(*grants.c)
    )
    return record(GrantRecord, (await db.execute(statement)).one())


async def find_grant(db: AsyncConnection, grant_id: str) -> GrantRecord | None:
    row = (await db.execute(select(grants).where(grants.c.id == grant_id))).one_or_none()
    return record(GrantRecord, row) if row else None


async def find_grant_of_family(db: AsyncConnection, family_id: str) -> GrantRecord | None:
    statement = select(grants).join(families, families.c.grant_id == grants.c.id).where(families.c.id == family_id)
    row = (await db.execute(statement)).one_or_none()
    return record(GrantRecord, row) if row else None


async def add_family(db: AsyncConnection, family: FamilyRecord) -> None:
    values = {name: getattr(family, name) for name in family.__struct_fields__}
    await db.execute(insert(families).values(values | {"permissions": list(family.permissions)}))


async def find_family(db: AsyncConnection, family_id: str) -> FamilyRecord | None:
    row = (await db.execute(select(families).where(families.c.id == family_id))).one_or_none()
    return record(FamilyRecord, row) if row else None


async def revoke_family(db: AsyncConnection, family_id: str, reason: str, now: int) -> FamilyRecord | None:
    """None if it was revoked before. Its keys and refresh tokens are dead with it, everywhere."""
    statement = (
        update(families)
        .where(families.c.id == family_id, families.c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_reason=reason)
        .returning(*families.c)
    )
    row = (await db.execute(statement)).one_or_none()
    if row is None:
        return None
    await announce(db, FAMILY, family_id, now)
    return record(FamilyRecord, row)


async def revoke_families_of_connection(db: AsyncConnection, connection_id: str, reason: str, now: int) -> list[str]:
    """The ids of the families that lived until now."""
    statement = (
        update(families)
        .where(families.c.connection_id == connection_id, families.c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_reason=reason)
        .returning(families.c.id)
    )
    ended = [row.id for row in await db.execute(statement)]
    for family_id in ended:
        await announce(db, FAMILY, family_id, now)
    return ended


async def connection_in_use(db: AsyncConnection, connection_id: str, now: int) -> bool:
    statement = select(literal(1)).where(
        families.c.connection_id == connection_id, families.c.revoked_at.is_(None), families.c.expires_at > now
    )
    return (await db.execute(statement.limit(1))).one_or_none() is not None
