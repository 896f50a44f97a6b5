"""Rows as the services write them, with one field or another changed."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncConnection

from vestibule.model import (
    ClientRecord,
    ClientSource,
    CodeRecord,
    ConnectionRecord,
    FamilyRecord,
    Identity,
    KeyKind,
    KeyRecord,
    LoginRecord,
    RefreshRecord,
)
from vestibule.storage import codes, connections, grants, keys, logins, refreshes, users
from vestibule.storage.database import Database

NOW = 1_800_000_000
ADA = Identity(
    provider="github",
    subject="1",
    email="ada@acme.com",
    email_verified=True,
    name="Ada",
    login="ada",
    picture="https://acme.com/ada.png",
    groups=("acme", "acme/platform"),
)
CLIENT = ClientRecord(
    id="client-1",
    source=ClientSource.DCR,
    name="Claude Code",
    redirect_uris=("http://127.0.0.1/callback", "cursor://x"),
    created_at=NOW,
    expires_at=NOW + 3 * 86400,
)
FAMILY = FamilyRecord(
    id="family-1",
    grant_id="grant-1",
    connection_id=None,
    permissions=("read", "write"),
    created_at=NOW,
    expires_at=NOW + 86400,
    revoked_at=None,
    revoked_reason=None,
)
KEY = KeyRecord(
    id="key-1",
    digest=b"d" * 32,
    kind=KeyKind.ACCESS_TOKEN,
    name="",
    family_id="family-1",
    service=None,
    route="issues",
    permissions=("read",),
    created_at=NOW,
    expires_at=NOW + 3600,
    last_used_at=None,
    revoked_at=None,
)
CODE = CodeRecord(
    digest=b"c" * 32,
    family_id="family-1",
    client_id="client-1",
    redirect_uri="http://127.0.0.1/callback",
    challenge="x" * 43,
    resource="https://gate.example.com/mcp",
    expires_at=NOW + 60,
    used_at=None,
)
REFRESH = RefreshRecord(
    digest=b"r" * 32,
    family_id="family-1",
    generation=0,
    created_at=NOW,
    expires_at=NOW + 86400,
    used_at=None,
    successor_sealed=None,
    replay_until=None,
)
LOGIN = LoginRecord(
    id="login-1",
    step="at_provider",
    provider="github",
    cookie_digest=b"k" * 32,
    request={"client_id": "client-1", "state": "ü", "permissions": ["read"], "state_sent": True, "other": None},
    permissions=("read",),
    nonce="nonce",
    verifier_sealed=b"\x00sealed\xff",
    scopes=("read:org",),
    created_at=NOW,
    expires_at=NOW + 600,
)
CONNECTION = ConnectionRecord(
    id="connection-1",
    user_id="user-1",
    provider="github",
    scopes=("read:org", "repo"),
    access_sealed=b"access",
    refresh_sealed=b"refresh",
    expires_at=NOW + 3600,
    refreshed_at=NOW,
    version=1,
    lease_owner=None,
    lease_until=0,
    ended_at=None,
    ended_reason=None,
)
SCOPES_HASH = b"s" * 32


class _Undo(Exception):
    pass


@asynccontextmanager
async def undone(database: Database) -> AsyncIterator[AsyncConnection]:
    """A transaction that fails at its end."""
    with contextlib.suppress(_Undo):
        async with database.write() as db:
            yield db
            raise _Undo


async def add_family(database: Database, *, connection: bool = False, **change: Any) -> FamilyRecord:
    """A user, a grant and a family on it, with a connection if wanted."""
    async with database.write() as db:
        user = await users.save_user(db, "user-1", ADA, NOW)
        grant = await grants.open_grant(db, "grant-1", user_id=user.id, client_id="client-1", route="issues", now=NOW)
        if connection:
            await connections.save_connection(db, CONNECTION, SCOPES_HASH, NOW)
            change.setdefault("connection_id", CONNECTION.id)
        family = structs.replace(FAMILY, grant_id=grant.id, **change)
        await grants.add_family(db, family)
    return family


async def add_key(database: Database, **change: Any) -> KeyRecord:
    key = structs.replace(KEY, **change)
    async with database.write() as db:
        await keys.add_key(db, key)
    return key


async def add_code(database: Database, **change: Any) -> CodeRecord:
    code = structs.replace(CODE, **change)
    async with database.write() as db:
        await codes.add_code(db, code)
    return code


async def add_refresh(database: Database, **change: Any) -> RefreshRecord:
    refresh = structs.replace(REFRESH, **change)
    async with database.write() as db:
        await refreshes.add_refresh(db, refresh)
    return refresh


async def add_login(database: Database, **change: Any) -> LoginRecord:
    login = structs.replace(LOGIN, **change)
    async with database.write() as db:
        await logins.add_login(db, login)
    return login
