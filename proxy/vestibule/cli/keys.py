"""`vestibule keys`: keys without a person, and a look at all keys."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import rich_click as click
from rich.console import Console

from vestibule.cli.reports import config_option, load_or_exit, print_table

if TYPE_CHECKING:
    from vestibule.model import KeyFacts
    from vestibule.storage.database import Database

T = TypeVar("T")
_UNITS = {"h": 3600, "d": 86400}


@click.group("keys")
def command() -> None:
    """Make, list and revoke keys without a person."""


@command.command("create")
@config_option
@click.option("--route", "route_id", required=True, help="Id of the route that the key opens.")
@click.option("--service", required=True, help="Who will hold it, e.g. ci-bot; the route's `allow` must name it.")
@click.option("--permission", "permissions", multiple=True, help="May be repeated; default: the route's defaults.")
@click.option("--name", default="", help="A note for `keys list`.")
@click.option("--expires", default="90d", show_default=True, help="Lifetime, e.g. 12h or 90d.")
def create(
    config_path: Path, route_id: str, service: str, permissions: tuple[str, ...], name: str, expires: str
) -> None:
    """Make an API key. It is shown once, on standard output, and stored as a digest only."""
    loaded = load_or_exit(config_path)
    from vestibule.service import keys

    config, now = loaded.config, int(time.time())
    route = next((route for route in config.routes if route.id == route_id), None)
    if route is None:
        raise click.BadParameter(
            f"no route {route_id!r}; the config has: {', '.join(r.id for r in config.routes)}", param_hint="--route"
        )
    lifetime = re.fullmatch(r"([1-9][0-9]{0,4})([hd])", expires)
    if lifetime is None:
        raise click.BadParameter("write a number and h or d, e.g. 12h or 90d", param_hint="--expires")
    seconds = int(lifetime[1]) * _UNITS[lifetime[2]]
    try:
        made = _with_database(
            config.storage,
            lambda database: keys.create(
                database,
                route,
                prefix=config.key_prefix,
                service=service,
                name=name,
                permissions=permissions,
                expires_at=now + seconds,
                now=now,
            ),
        )
    except keys.KeyRefused as refused:
        raise click.ClickException(str(refused)) from None
    told = Console(stderr=True, soft_wrap=True)
    granted = ", ".join(made.record.permissions)
    told.print(f"Key [bold]{made.record.id}[/] for service {service}: {granted} on {route_id}, {expires}.")
    told.print("It is shown only now; use it as `Authorization: Bearer <key>`:")
    click.echo(made.text.reveal())


@command.command("list")
@config_option
@click.option("--all", "everything", is_flag=True, help="Expired and revoked keys too.")
def show(config_path: Path, *, everything: bool) -> None:
    """List keys: who holds them, what they may do, when they were last used."""
    loaded = load_or_exit(config_path)
    from vestibule.service import keys

    now = int(time.time())
    found = _with_database(loaded.config.storage, lambda database: keys.listing(database, now, everything=everything))
    if not found:
        Console(stderr=True).print("No keys yet.")
        return
    print_table(
        ("id", "kind", "holder", "route", "permissions", "created", "last used", "state"),
        (
            (
                facts.key.id,
                "access token" if facts.key.kind.value == "at" else "API key",
                _holder(facts),
                facts.key.route,
                ", ".join(facts.key.permissions),
                _ago(now - facts.key.created_at),
                _ago(now - facts.key.last_used_at) if facts.key.last_used_at else "never",
                _state(facts, now),
            )
            for facts in found
        ),
    )


@command.command("revoke")
@config_option
@click.argument("key_id")
def revoke(config_path: Path, key_id: str) -> None:
    """End a key by its id (from `keys list`). Running gateways refuse it within a tenth of a second."""
    loaded = load_or_exit(config_path)
    from vestibule.service import keys

    now = int(time.time())
    revoked = _with_database(loaded.config.storage, lambda database: keys.revoke(database, key_id, now))
    if revoked is None:
        raise click.ClickException(f"no live key has the id {key_id!r}; `vestibule keys list` shows them")
    Console(stderr=True).print(f"Key [bold]{key_id}[/] is revoked.")


def _with_database(storage: str, act: "Callable[[Database], Awaitable[T]]") -> T:
    from vestibule.logs import configure
    from vestibule.storage.database import Database

    configure(pretty=True, level="warning")

    async def run() -> T:
        database = Database(storage)
        try:
            await database.migrate()
            return await act(database)
        finally:
            await database.close()

    return asyncio.run(run())


def _holder(facts: "KeyFacts") -> str:
    if facts.user is None:
        return f"service {facts.key.service}" + (f" ({facts.key.name})" if facts.key.name else "")
    return facts.user.email or facts.user.login or facts.user.name or facts.user.subject


def _state(facts: "KeyFacts", now: int) -> str:
    if facts.key.revoked_at is not None or (facts.family and facts.family.revoked_at is not None):
        return "revoked"
    if now >= facts.key.expires_at:
        return "expired"
    return f"{_ago(facts.key.expires_at - now, '')} left"


def _ago(seconds: int, suffix: str = " ago") -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}{suffix}"
    return f"{max(seconds, 0)} s{suffix}"
