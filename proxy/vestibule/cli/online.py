"""The part of `vestibule check --online` that asks the providers, and how their answers look."""

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vestibule.loading import Loaded

if TYPE_CHECKING:
    from vestibule.tools.probing import Probed

_SIGNS = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "failed": ("✗", "bold red"),
    "skipped": ("-", "dim"),
}


def probed(loaded: Loaded) -> "list[Probed]":
    from vestibule import logs
    from vestibule.tools.probing import probe_all

    logs.configure(level="critical")
    base = loaded.config.public_url
    redirect_uris = {name: f"{base}/oauth/callback/{name}" for name in loaded.providers}
    return asyncio.run(probe_all(loaded.providers, redirect_uris))


def as_data(results: "list[Probed]") -> list[dict[str, Any]]:
    return [{"ok": result.ok, **msgspec.to_builtins(result)} for result in results]


def render(results: "list[Probed]") -> RenderableType:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("provider", "", "what", "answer", "ms"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("provider", "what"), justify="left")
    advice: list[RenderableType] = []
    for result in results:
        for number, probe in enumerate(result.probes):
            sign, style = _SIGNS[probe.state]
            name = Text(result.id if number == 0 else "", style="bold cyan")
            took = Text(str(probe.milliseconds) if probe.milliseconds else "", style="dim")
            table.add_row(name, Text(sign, style=style), Text(probe.what), Text(probe.told, style=style), took)
            if probe.advice:
                where = f"  {result.id} {probe.what}" + (f" {probe.url}" if probe.url else "")
                advice += [
                    Text(where, style="bold"),
                    Padding(Text(probe.advice, style="green"), (0, 0, 0, 4), expand=False),
                ]
    blocks: list[RenderableType] = [Text("\nasked just now", style="bold cyan"), table]
    if advice:
        blocks += [Text("\nwhat to do", style="bold cyan"), *advice]
    blocks.append(Text("\nregister these redirect URIs", style="bold cyan"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    for result in results:
        grid.add_row(Text(f"  {result.id}"), Text(result.title, style="dim"), Text(result.redirect_uri, style="bold"))
    return Group(*blocks, grid)
