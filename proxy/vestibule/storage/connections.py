"""The provider's tokens of one user and one scope set, and the lease under which they are refreshed."""

from sqlalchemy import func, or_, select, true, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.model import ConnectionRecord
from vestibule.storage.rows import record
from vestibule.storage.tables import connections


async def save_connection(
    db: AsyncConnection, connection: ConnectionRecord, scopes_hash: bytes, now: int
) -> ConnectionRecord:
    """A sign-in brought new tokens: the live connection of this id takes them, or a new one begins.

    The id is associated data of the sealed columns, so the caller looks it up first (`find_live_connection`).
    """
    tokens = {
        "access_sealed": connection.access_sealed,
        "refresh_sealed": connection.refresh_sealed,
        "kept_sealed": connection.kept_sealed,
        "expires_at": connection.expires_at,
        "refreshed_at": now,
    }
    new = insert(connections)
    statement = (
        new.values(
            id=connection.id,
            user_id=connection.user_id,
            provider=connection.provider,
            scopes_hash=scopes_hash,
            scopes=list(connection.scopes),
            version=1,
            lease_until=0,
            created_at=now,
            **tokens,
        )
        .on_conflict_do_update(
            index_elements=["id"],
            set_={
                **tokens,
                # some providers give a refresh token at the first consent only: the one we have stays
                "refresh_sealed": func.coalesce(new.excluded.refresh_sealed, connections.c.refresh_sealed),
                "version": connections.c.version + 1,
                "lease_owner": None,
                "lease_until": 0,
            },
        )
        .returning(*connections.c)
    )
    return record(ConnectionRecord, (await db.execute(statement)).one())


async def find_live_connection(db: AsyncConnection, user_id: str, scopes_hash: bytes) -> ConnectionRecord | None:
    statement = select(connections).where(
        connections.c.user_id == user_id, connections.c.scopes_hash == scopes_hash, connections.c.ended_at.is_(None)
    )
    row = (await db.execute(statement)).one_or_none()
    return record(ConnectionRecord, row) if row else None


async def find_connection(db: AsyncConnection, connection_id: str) -> ConnectionRecord | None:
    row = (await db.execute(select(connections).where(connections.c.id == connection_id))).one_or_none()
    return record(ConnectionRecord, row) if row else None


async def lease_connection(
    db: AsyncConnection, connection_id: str, *, version: int, owner: str, until: int, now: int
) -> ConnectionRecord | None:
    """The right to refresh this version, for one caller at a time; None if it was refreshed, ended or is leased."""
    statement = (
        update(connections)
        .where(
            connections.c.id == connection_id,
            connections.c.version == version,
            connections.c.ended_at.is_(None),
            or_(connections.c.lease_owner.is_(None), connections.c.lease_until <= now),
        )
        .values(lease_owner=owner, lease_until=until)
        .returning(*connections.c)
    )
    row = (await db.execute(statement)).one_or_none()
    return record(ConnectionRecord, row) if row else None


async def release_lease(db: AsyncConnection, connection_id: str, owner: str) -> None:
    await db.execute(
        update(connections)
        .where(connections.c.id == connection_id, connections.c.lease_owner == owner)
        .values(lease_owner=None, lease_until=0)
    )


async def store_refreshed(
    db: AsyncConnection,
    connection_id: str,
    *,
    version: int,
    access_sealed: bytes,
    refresh_sealed: bytes | None,
    kept_sealed: bytes | None,
    expires_at: int | None,
    now: int,
) -> ConnectionRecord | None:
    """None if somebody else moved the version meanwhile: their tokens are the newer ones."""
    statement = (
        update(connections)
        .where(connections.c.id == connection_id, connections.c.version == version, connections.c.ended_at.is_(None))
        .values(
            access_sealed=access_sealed,
            refresh_sealed=refresh_sealed,
            kept_sealed=kept_sealed,
            expires_at=expires_at,
            refreshed_at=now,
            version=version + 1,
            lease_owner=None,
            lease_until=0,
        )
        .returning(*connections.c)
    )
    row = (await db.execute(statement)).one_or_none()
    return record(ConnectionRecord, row) if row else None


async def replace_refresh(db: AsyncConnection, connection_id: str, *, old: bytes, new: bytes) -> None:
    """Only where the old one still stands."""
    await db.execute(
        update(connections)
        .where(connections.c.id == connection_id, connections.c.refresh_sealed == old)
        .values(refresh_sealed=new)
    )


async def end_connection(
    db: AsyncConnection, connection_id: str, reason: str, now: int, *, version: int | None = None
) -> ConnectionRecord | None:
    """None if it had ended before, or has another version by now."""
    statement = (
        update(connections)
        .where(
            connections.c.id == connection_id,
            connections.c.ended_at.is_(None),
            true() if version is None else connections.c.version == version,
        )
        .values(ended_at=now, ended_reason=reason)
        .returning(*connections.c)
    )
    row = (await db.execute(statement)).one_or_none()
    return record(ConnectionRecord, row) if row else None
