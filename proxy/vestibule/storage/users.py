"""Users: (provider, tenant, subject) identifies, nothing else does; claims are overwritten at each sign-in."""

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.model import Identity, UserRecord
from vestibule.storage.rows import record
from vestibule.storage.tables import users


async def save_user(db: AsyncConnection, new_id: str, identity: Identity, now: int) -> UserRecord:
    """The user of this identity with fresh claims; of two racing first sign-ins both get the same row."""
    claims: dict[str, object] = {
        "email": identity.email,
        "email_verified": identity.email_verified,
        "name": identity.name,
        "login": identity.login,
        "picture": identity.picture,
        "seen_at": now,
    }
    if identity.groups is not None:  # else the provider was not asked for them, and the stored ones stay
        claims["groups"] = list(identity.groups)
    new = insert(users)
    # Apple tells the name at the first sign-in only; who says nothing about it does not take it away.
    known_name = {"name": func.coalesce(new.excluded.name, users.c.name)}
    statement = (
        new.values(
            id=new_id,
            provider=identity.provider,
            tenant=identity.tenant,
            subject=identity.subject,
            created_at=now,
            **{"groups": [], **claims},
        )
        .on_conflict_do_update(index_elements=["provider", "tenant", "subject"], set_=claims | known_name)
        .returning(*users.c)
    )
    return record(UserRecord, (await db.execute(statement)).one())


async def find_user(db: AsyncConnection, user_id: str) -> UserRecord | None:
    row = (await db.execute(select(users).where(users.c.id == user_id))).one_or_none()
    return record(UserRecord, row) if row else None
