"""Registered clients (RFC 7591) and seen CIMD clients. DCR records are immutable; only their clocks move."""

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.model import ClientRecord, ClientSource
from vestibule.storage.rows import later, record
from vestibule.storage.tables import clients


def _values(client: ClientRecord) -> dict[str, object]:
    return {
        "id": client.id,
        "source": client.source.value,
        "name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "auth_method": client.auth_method,
        "secret_digest": client.secret_digest,
        "grant_types": list(client.grant_types),
        "client_uri": client.client_uri,
        "logo_uri": client.logo_uri,
        "created_at": client.created_at,
        "expires_at": client.expires_at,
    }


async def register_client(
    db: AsyncConnection, client: ClientRecord, metadata_hash: bytes | None, *, room: int
) -> ClientRecord | None:
    """Add it, or return the live one with the same metadata; None when `room` unconfirmed ones exist already.

    `metadata_hash` is None for confidential clients, whose registration is never shared.
    """
    statement = (
        insert(clients)
        .values(metadata_hash=metadata_hash, **_values(client))
        .on_conflict_do_update(
            index_elements=["metadata_hash"],
            set_={"expires_at": later(clients.c.expires_at, client.expires_at)},
        )
        .returning(*clients.c)
    )
    unconfirmed = select(func.count()).where(
        clients.c.source == ClientSource.DCR.value,
        clients.c.confirmed_at.is_(None),
        clients.c.expires_at > client.created_at,
    )
    stored = record(ClientRecord, (await db.execute(statement)).one())
    if stored.id == client.id and (await db.scalar(unconfirmed) or 0) > room:
        return None  # the caller rolls back: existing and confirmed clients are never locked out by a flood
    return stored


async def save_cimd_client(db: AsyncConnection, client: ClientRecord) -> None:
    """Keep what was fetched, so that a refresh never depends on the client's web site. Its end only moves forward."""
    values = _values(client)
    keep = {name: value for name, value in values.items() if name not in {"id", "created_at"}}
    keep["expires_at"] = later(clients.c.expires_at, client.expires_at)
    await db.execute(insert(clients).values(**values).on_conflict_do_update(index_elements=["id"], set_=keep))


async def find_client(db: AsyncConnection, client_id: str, now: int) -> ClientRecord | None:
    statement = select(clients).where(
        clients.c.id == client_id, or_(clients.c.expires_at.is_(None), clients.c.expires_at > now)
    )
    row = (await db.execute(statement)).one_or_none()
    return record(ClientRecord, row) if row else None


async def confirm_client(db: AsyncConnection, client_id: str, now: int, expires_at: int) -> None:
    """A user approved or used it: it lives on from now. Clients of the config have no row, which is fine."""
    await db.execute(
        update(clients)
        .where(clients.c.id == client_id)
        .values(
            confirmed_at=func.coalesce(clients.c.confirmed_at, now),
            last_used_at=now,
            expires_at=later(clients.c.expires_at, expires_at),
        )
    )


async def list_clients(db: AsyncConnection, limit: int = 1000) -> list[tuple[ClientRecord, int | None]]:
    """Newest first, each with its last use."""
    rows = await db.execute(select(clients).order_by(clients.c.created_at.desc()).limit(limit))
    return [(record(ClientRecord, row), row._mapping["last_used_at"]) for row in rows]
