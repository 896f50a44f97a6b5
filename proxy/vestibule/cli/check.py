"""`vestibule check`: every problem of the config, or what the config amounts to, before anything is started.

The summary is plain data first, and the text is drawn from it, so that both formats say the same.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from vestibule.cli.reports import config_option, render_problems
from vestibule.config import AllowRule, Authorization, ClientConfig, RouteConfig, Send
from vestibule.documents import ConfigError, Problem
from vestibule.loading import Loaded, load_config


@click.command("check")
@config_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--online", is_flag=True, help="Ask every provider too: discovery, keys, endpoints and credentials.")
def command(config_path: Path, form: str, online: bool) -> None:
    """Read the config; show every error, or what it does.

    Nothing is started, and no backend is asked; providers are with --online, without anybody signing in. The exit code
    is 0 for a usable config, else 1.
    """
    try:
        loaded = load_config(config_path, os.environ)
    except ConfigError as error:
        if form == "json":
            _print_json({"ok": False, "problems": [_problem(problem) for problem in error.problems]})
        else:
            Console(soft_wrap=True).print(render_problems(error.problems))
        sys.exit(1)
    told = summary(loaded)
    results = _online(loaded) if online else None
    if form == "json":
        data = {} if results is None else {"ok": results.ok, "online": results.data}
        _print_json(told | data)
    else:
        console = Console() if sys.stdout.isatty() else Console(width=400)
        console.print(_render(told, config_path), soft_wrap=not sys.stdout.isatty())
        if results is not None:
            console.print(results.text)
    sys.exit(0 if results is None or results.ok else 1)


class _Online(msgspec.Struct, frozen=True):
    ok: bool
    data: list[dict[str, Any]]
    text: Any


def _online(loaded: Loaded) -> _Online:
    from vestibule.cli import online

    results = online.probed(loaded)
    return _Online(all(result.ok for result in results), online.as_data(results), online.render(results))


def summary(loaded: Loaded) -> dict[str, Any]:
    config = loaded.config
    return {
        "ok": True,
        "public_url": config.public_url,
        "routes": [_route(route, config.public_url) for route in config.routes],
        "providers": [
            {
                "id": name,
                "title": provider.title or loaded.providers[name].title,
                "redirect_uri": f"{config.public_url}/oauth/callback/{name}",
                "client_id": loaded.providers[name].client_id,
            }
            for name, provider in config.providers.items()
        ],
        "clients": [_client(client) for client in config.clients],
        "warnings": [
            f"provider {provider.id}: neither PKCE nor a nonce binds its codes to a login (RFC 9700 §2.1.1)"
            for provider in loaded.providers.values()
            if not provider.pkce and (provider.definition.oidc is None or provider.definition.oidc.nonce == "off")
        ],
    }


def _route(route: RouteConfig, public_url: str) -> dict[str, Any]:
    return {
        "id": route.id,
        "url": public_url + route.path,
        "backend": route.backend,
        "providers": list(route.providers),
        "allow": _allow(route.allow),
        "permissions": [
            {"id": name, "title": permission.title, "default": permission.default}
            for name, permission in route.permissions.items()
        ]
        or [{"id": "access", "title": "Full access", "default": True}],
        "sent": _sent(route.send),
    }


def _allow(rules: str | tuple[AllowRule, ...] | msgspec.UnsetType) -> list[str]:
    if not isinstance(rules, tuple):
        return ["anyone who signs in"]
    return [
        " and ".join(f"{name.replace('_', ' ')} {text}" for name, text in msgspec.structs.asdict(rule).items() if text)
        for rule in rules
    ]


def _sent(send: Send) -> dict[str, str]:
    """Header → what it holds; a static value is a secret and is never shown."""
    match send.authorization:
        case Authorization(provider_token=str(provider)):
            authorization = f"the user's own token at {provider}"
        case Authorization():
            authorization = "a fixed value"
        case "signed_jwt":
            authorization = "a signed identity token"
        case _:
            authorization = "removed"
    return {"Authorization": authorization} | dict(send.headers)


def _client(client: ClientConfig) -> dict[str, Any]:
    return {
        "id": client.id,
        "name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "kind": "public" if client.secret is None else "confidential",
        "consent": client.consent,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    keys = ("file", "line", "path", "found", "expected", "hint")
    return {key: getattr(problem, key) for key in keys}


def _print_json(told: dict[str, Any]) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())


def _render(told: dict[str, Any], path: Path) -> RenderableType:
    blocks: list[RenderableType] = [Text.assemble((f"{path} is fine", "bold green"), f": {told['public_url']}")]
    for route in told["routes"]:
        rows = [
            ("URL", [route["url"]]),
            ("backend", [route["backend"]]),
            ("sign in with", [", ".join(route["providers"])]),
            ("who may enter", route["allow"]),
            ("permissions", [_permission(permission) for permission in route["permissions"]]),
            ("backend gets", [f"{header}: {value}" for header, value in route["sent"].items()]),
        ]
        blocks += _block(f"route {route['id']}", rows)
    for provider in told["providers"]:
        rows = [("client id", [provider["client_id"]]), ("register there", [provider["redirect_uri"]])]
        blocks += _block(f"provider {provider['id']}", [("title", [provider["title"]]), *rows])
    for client in told["clients"]:
        rows = [("name", [client["name"]]), ("kind", [client["kind"]]), ("consent", [client["consent"]])]
        blocks += _block(f"client {client['id']}", [*rows, ("redirect URIs", client["redirect_uris"])])
    blocks += [Text(f"\nwarning: {warning}", style="yellow") for warning in told["warnings"]]
    return Group(*blocks)


def _permission(permission: dict[str, Any]) -> str:
    return f"{permission['id']}: {permission['title']}" + (" (default)" if permission["default"] else "")


def _block(title: str, rows: Iterable[tuple[str, list[str]]]) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for label, lines in rows:
        grid.add_row(Text(f"  {label}", style="dim"), Text("\n".join(lines)))
    return [Text(f"\n{title}", style="bold cyan"), grid]
