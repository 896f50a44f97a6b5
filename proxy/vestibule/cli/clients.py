"""`vestibule clients`: who has registered here."""

import asyncio
import time
from pathlib import Path

import rich_click as click
from rich.console import Console

from vestibule.cli.reports import config_option, load_or_exit, print_table


@click.group("clients")
def command() -> None:
    """Show registered clients."""


@command.command("list")
@config_option
def show(config_path: Path) -> None:
    """List clients: those of the config, and those that registered themselves."""
    loaded = load_or_exit(config_path)
    from vestibule.storage import clients
    from vestibule.storage.database import Database

    async def read() -> list[tuple[str, str, str, str, str]]:
        database = Database(loaded.config.storage)
        try:
            await database.migrate()
            async with database.read() as db:
                found = await clients.list_clients(db)
        finally:
            await database.close()
        return [
            (client.id, client.name, client.source.value, _state(client.confirmed_at, client.expires_at, now), used)
            for client, last_used in found
            for used in [time.strftime("%Y-%m-%d", time.gmtime(last_used)) if last_used else "never"]
        ]

    now = int(time.time())
    rows = [(client.id, client.name, "configured", "always", "") for client in loaded.config.clients]
    rows += asyncio.run(read())
    if not rows:
        Console(stderr=True).print("No clients yet; MCP clients register by themselves at their first sign-in.")
        return
    print_table(("id", "name", "how", "state", "last used"), rows)


def _state(confirmed_at: int | None, expires_at: int | None, now: int) -> str:
    if expires_at is not None and expires_at <= now:
        return "expired"
    return "approved by a user" if confirmed_at is not None else "waiting for a first approval"
