"""All tables. Column names are the field names of the records in `model`; times are epoch seconds, digests raw SHA-256.

Clients named in the config have no row, so nothing references `clients` by a foreign key; DCR records are shared by all
installations of a client, so nothing but a grant names one (design decision 11).
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("provider", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("email", String),
    Column("email_verified", Boolean, nullable=False),
    Column("name", String),
    Column("login", String),
    Column("picture", String),
    Column("groups", JSON, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("seen_at", Integer, nullable=False),
    Column("disabled_at", Integer),
    UniqueConstraint("provider", "tenant", "subject"),
)

connections = Table(
    "connections",
    metadata,
    Column("id", String, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("provider", String, nullable=False),
    Column("scopes_hash", LargeBinary, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("access_sealed", LargeBinary, nullable=False),
    Column("refresh_sealed", LargeBinary),
    Column("expires_at", Integer),
    Column("refreshed_at", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("lease_owner", String),
    Column("lease_until", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("ended_at", Integer),
    Column("ended_reason", String),
    Column("kept_sealed", LargeBinary),
)
Index(
    "uq_connections_live",
    connections.c.user_id,
    connections.c.scopes_hash,
    unique=True,
    sqlite_where=text("ended_at IS NULL"),
    postgresql_where=text("ended_at IS NULL"),
)

clients = Table(
    "clients",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("name", String, nullable=False),
    Column("redirect_uris", JSON, nullable=False),
    Column("auth_method", String, nullable=False),
    Column("secret_digest", LargeBinary),
    Column("grant_types", JSON, nullable=False),
    Column("client_uri", String),
    Column("logo_uri", String),
    Column("metadata_hash", LargeBinary, unique=True),
    Column("created_at", Integer, nullable=False),
    Column("confirmed_at", Integer),
    Column("last_used_at", Integer),
    Column("expires_at", Integer, index=True),
)

grants = Table(
    "grants",
    metadata,
    Column("id", String, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("client_id", String, nullable=False, index=True),
    Column("route", String, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("revoked_at", Integer),
)
Index(
    "uq_grants_live",
    grants.c.user_id,
    grants.c.client_id,
    grants.c.route,
    unique=True,
    sqlite_where=text("revoked_at IS NULL"),
    postgresql_where=text("revoked_at IS NULL"),
)

families = Table(
    "families",
    metadata,
    Column("id", String, primary_key=True),
    Column("grant_id", ForeignKey("grants.id"), nullable=False, index=True),
    Column("connection_id", ForeignKey("connections.id"), index=True),
    Column("permissions", JSON, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False),
    Column("revoked_at", Integer),
    Column("revoked_reason", String),
)

logins = Table(
    "logins",
    metadata,
    Column("id", String, primary_key=True),
    Column("step", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("cookie_digest", LargeBinary, nullable=False),
    Column("request", JSON, nullable=False),
    Column("permissions", JSON, nullable=False),
    Column("nonce", String, nullable=False),
    Column("verifier_sealed", LargeBinary),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False, index=True),
    Column("error_slug", String),
)

codes = Table(
    "codes",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("family_id", ForeignKey("families.id"), nullable=False, index=True),
    Column("client_id", String, nullable=False),
    Column("redirect_uri", String, nullable=False),
    Column("challenge", String, nullable=False),
    Column("resource", String, nullable=False),
    Column("expires_at", Integer, nullable=False, index=True),
    Column("used_at", Integer),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("family_id", ForeignKey("families.id"), index=True),
    Column("service", String),
    Column("route", String, nullable=False),
    Column("permissions", JSON, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False, index=True),
    Column("last_used_at", Integer),
    Column("revoked_at", Integer),
)

refreshes = Table(
    "refreshes",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("family_id", ForeignKey("families.id"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False, index=True),
    Column("used_at", Integer),
    Column("successor_sealed", LargeBinary),
    Column("replay_until", Integer),
    UniqueConstraint("family_id", "generation"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("created_at", Integer, nullable=False, index=True),
    sqlite_autoincrement=True,  # a deleted row's number never comes back, so a watcher cannot miss one
)
