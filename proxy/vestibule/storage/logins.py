"""Logins: the step is a column, and moving it is the guard. Zero rows means a replay."""

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.model import LoginRecord
from vestibule.storage.rows import record
from vestibule.storage.tables import logins


async def add_login(db: AsyncConnection, login: LoginRecord) -> None:
    values = {name: getattr(login, name) for name in login.__struct_fields__}
    await db.execute(
        insert(logins).values(values | {"permissions": list(login.permissions), "scopes": list(login.scopes)})
    )


async def find_login(db: AsyncConnection, login_id: str) -> LoginRecord | None:
    row = (await db.execute(select(logins).where(logins.c.id == login_id))).one_or_none()
    return record(LoginRecord, row) if row else None


async def advance_login(
    db: AsyncConnection, login_id: str, step: str, following: str, error_slug: str | None = None
) -> bool:
    """True for exactly one of any number of racing callers that saw the same step."""
    result = await db.execute(
        update(logins)
        .where(logins.c.id == login_id, logins.c.step == step)
        .values(step=following, error_slug=error_slug)
        .returning(logins.c.id)
    )
    return result.one_or_none() is not None
