"""`vestibule providers try`: a live login, drawn while it happens."""

import asyncio
import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import rich_click as click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from vestibule import catalog
from vestibule.cli.definitions import exit_with, load_definition, param_option, parsed_params, scope_option
from vestibule.cli.reports import config_option, load_or_exit
from vestibule.model import Secret
from vestibule.provider.provider import DefinitionError, Provider, compile_provider

if TYPE_CHECKING:
    from vestibule.tools.trial import Outcome, Told
    from vestibule.tools.watching import Exchanged

SECRET = "VESTIBULE_CLIENT_SECRET"  # noqa: S105  # the name of a variable
_PORT = 8080
_MOST_LINES = 40
_KINDS = {
    "worked": ("bold green", "It worked."),
    "refused": ("bold red", "The provider refused."),
    "unavailable": ("bold yellow", "The provider is temporarily unavailable."),
    "misconfigured": ("bold red", "The definition or the registration does not fit."),
}


@click.command("try")
@click.argument("name")
@config_option
@click.option("--client-id", help=f"Without a config: the client id; its secret is taken from ${SECRET}.")
@click.option(
    "--client-key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Without a config: the private key in PEM, for definitions that sign.",
)
@param_option
@scope_option
@click.option("--port", type=click.IntRange(1, 65535), help="Port on 127.0.0.1 that the browser comes back to.")
@click.option("--redirect-uri", help="Another address that leads to that port, such as a tunnel with https.")
@click.option("--no-browser", is_flag=True, help="Only print the link.")
@click.option("--refresh", is_flag=True, help="Refresh the tokens afterwards.")
def command(  # noqa: PLR0917  # click passes them by name
    name: str,
    config_path: Path,
    client_id: str | None,
    client_key: Path | None,
    params: tuple[str, ...],
    scopes: tuple[str, ...],
    port: int | None,
    redirect_uri: str | None,
    no_browser: bool,
    refresh: bool,
) -> None:
    """Sign in at NAME and see each request and reply, what became of them, and what was not used.

    NAME is a provider of the config; with --client-id a catalog name or a path, and no config is read. Secrets are
    masked in everything that is printed. Tokens are forgotten when it ends, and not revoked.
    """
    from vestibule import logs
    from vestibule.tools.listener import HOST, PortTaken
    from vestibule.tools.trial import WAIT_SECONDS, try_login

    logs.configure(level="critical")
    path = f"/oauth/callback/{Path(name).stem}"
    if client_id is None:
        provider, public_url = _configured(name, config_path)
        parts = urlsplit(public_url)
        if parts.scheme == "http" and parts.hostname == HOST:  # then the redirect URI is registered already
            port = port or parts.port
    else:
        definition = load_definition(name)
        provider = _compiled(name, definition, client_id, client_key, parsed_params(params))
    port = port or _PORT
    redirect_uri = redirect_uri or f"http://{HOST}:{port}{path}"
    path = urlsplit(redirect_uri).path or "/"
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    console.print(_opening(provider, redirect_uri))
    _check_redirect(provider, redirect_uri)
    number = 0

    def show(event: "Exchanged | Told") -> None:
        nonlocal number
        number += 1
        console.print(_event(number, event))
        link = getattr(event, "link", None)
        if link is None:
            return
        console.print(Text(f"     {link}", style="underline"), soft_wrap=True)  # the terminal may wrap it, we must not
        opened = not no_browser and _has_screen() and webbrowser.open(link)
        waiting = "Your browser was asked to open it. " if opened else ""
        console.print(Text(f"     {waiting}Waiting for {WAIT_SECONDS // 60} minutes …", style="dim"))

    try:
        outcome = asyncio.run(
            try_login(
                provider, redirect_uri=redirect_uri, port=port, path=path, scopes=scopes, refresh=refresh, show=show
            )
        )
    except PortTaken as taken:
        raise click.ClickException(f"port {port}: {taken}; end what listens there, or name another --port") from None
    except KeyboardInterrupt:
        raise click.ClickException("ended before the browser came back") from None
    console.print(_outcome(outcome))
    sys.exit(0 if outcome.kind == "worked" else 1)


def _has_screen() -> bool:
    """Without one, Python would start a browser for the terminal, in the middle of what is printed here."""
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _configured(name: str, config_path: Path) -> tuple[Provider, str]:
    loaded = load_or_exit(config_path)
    if name not in loaded.providers:
        known = ", ".join(loaded.providers)
        raise click.ClickException(
            f"{config_path} has no provider {name}, but {known}; to try one that is not in a config, give --client-id"
        )
    return loaded.providers[name], loaded.config.public_url


def _compiled(
    name: str, definition: catalog.DefinitionFiles, client_id: str, client_key: Path | None, params: dict[str, str]
) -> Provider:
    """A secret on the command line would be in the shell's history and in everybody's list of processes."""
    secret = os.environ.get(SECRET)
    try:
        return compile_provider(
            Path(name).stem,
            definition.raw,
            client_id=client_id,
            client_secret=Secret(secret) if secret else None,
            client_key=Secret(client_key.read_text(encoding="utf-8")) if client_key else None,
            params=params,
        )
    except DefinitionError as error:
        exit_with(error, definition)
        raise


def _check_redirect(provider: Provider, redirect_uri: str) -> None:
    rules = provider.definition.redirect
    parts = urlsplit(redirect_uri)
    if (rules.https_only and parts.scheme != "https") or (not rules.loopback and parts.hostname == "127.0.0.1"):
        raise click.ClickException(
            f"{provider.title} does not take {redirect_uri} as a redirect URI; let an https tunnel lead to this port, "
            "and name its address with --redirect-uri"
        )


# --- how it looks ----------------------------------------------------------------------------------------------------


def _opening(provider: Provider, redirect_uri: str) -> RenderableType:
    return Group(
        Text.assemble(("Trying ", "bold"), (provider.title, "bold cyan"), ("  secrets are masked", "dim")),
        Text.assemble(("     redirect URI  ", "dim"), redirect_uri),
        Text("     has to be registered at the provider, exactly so", style="dim"),
    )


def _event(number: int, event: "Exchanged | Told") -> RenderableType:
    from vestibule.tools.trial import Told

    if isinstance(event, Told):
        blocks: list[RenderableType] = [Text(f"\n{number:>3}  {event.title}", style="bold")]
        return Group(*blocks, *([_rows("", event.rows)] if event.rows else []))
    blocks = [
        Text.assemble(
            (f"\n{number:>3}  ", "bold"), (event.method, "bold green"), " ", (event.url, "green"), f"  {event.label}"
        )
    ]
    for kind, pairs in (("query", event.query), ("header", event.headers), ("form", event.form)):
        if pairs:
            blocks.append(_rows(kind, pairs))
    if event.body:
        blocks.append(_lines("body", event.body))
    good = event.status is not None and event.status < 400  # noqa: PLR2004
    status = "no reply" if event.status is None else str(event.status)
    told = Text.assemble(
        ("     ← ", "bold"), (status, "bold green" if good else "bold red"), f" {event.media_type}", style="dim"
    )
    blocks.append(told.append(f"  {event.milliseconds} ms", style="dim"))
    if event.reply:
        blocks.append(_lines("", event.reply))
    return Group(*blocks)


def _outcome(outcome: "Outcome") -> RenderableType:
    blocks: list[RenderableType] = []
    if outcome.identity is not None:
        identity = outcome.identity
        names = ("subject", "tenant", "email", "email_verified", "name", "login", "picture")
        values = ((name, getattr(identity, name)) for name in names)
        rows = [(name, _yes_or_no(value)) for name, value in values if value not in (None, "")]
        groups = "not said" if identity.groups is None else ", ".join(identity.groups) or "none"
        rows.append(("groups", groups))
        blocks += [Text("\nWho signed in", style="bold cyan"), _rows("", rows)]
        if identity.email is None or not identity.email_verified:
            told = "no e-mail address" if identity.email is None else "the address is not said to be verified"
            blocks.append(Text(f"       · {told}, so rules for e-mail addresses never hold", style="dim italic"))
    if outcome.dropped:
        blocks.append(Text("\nNot used by the definition", style="bold cyan"))
        blocks += [_rows(name, rows) for name, rows in outcome.dropped]
    style, text = _KINDS[outcome.kind]
    blocks.append(Text(f"\n{text}", style=style))
    if outcome.slug:
        blocks.append(_indented("what", Text(f"{outcome.slug}  {_plain(outcome.detail)}".rstrip())))
    if outcome.advice:
        blocks.append(_indented("next", Text(outcome.advice, style="green")))
    return Group(*blocks)


def _indented(label: str, text: Text) -> RenderableType:
    """In a terminal the lines below the first begin where it does; in a pipe there is one line."""
    if not sys.stdout.isatty():
        return Text.assemble((f"     {label}  ", "dim"), text)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(Text(f"     {label}", style="dim"), text)
    return grid


def _yes_or_no(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _rows(kind: str, pairs: "tuple[tuple[str, str], ...] | list[tuple[str, str]]") -> Text:
    width = min(max(len(name) for name, _ in pairs), 32)
    column = max(8, len(kind) + 2)
    text = Text()
    for n, (name, value) in enumerate(pairs[:_MOST_LINES]):
        text.append("\n" if n else "").append(f"       {kind if n == 0 else '':<{column}}", style="dim")
        text.append(f"{_plain(name):<{width}}  ", style="cyan").append(_plain(value))
    if len(pairs) > _MOST_LINES:
        text.append(f"\n       … and {len(pairs) - _MOST_LINES} more", style="dim")
    return text


def _lines(kind: str, told: str) -> Text:
    lines = told.splitlines()
    text = Text()
    for n, line in enumerate(lines[:_MOST_LINES]):
        text.append("\n" if n else "").append(f"       {kind if n == 0 else '':<8}", style="dim").append(_plain(line))
    if len(lines) > _MOST_LINES:
        text.append(f"\n       … and {len(lines) - _MOST_LINES} lines more", style="dim")
    return text


def _plain(text: str) -> str:
    """A stranger's text must not move the cursor."""
    return "".join(char if char.isprintable() else " " for char in text)
