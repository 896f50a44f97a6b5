"""`vestibule providers`: what the catalog knows, and what a definition amounts to with what it extends merged in."""

import sys
from pathlib import Path
from typing import Any

import rich_click as click
import yaml
from rich.console import Console

from vestibule import catalog
from vestibule.cli.reports import print_table, render_problems
from vestibule.documents import ConfigError
from vestibule.provider.definition import RFC, Definition, complete


@click.group("providers")
def command() -> None:
    """Show the identity providers that are known by name."""


@command.command("list")
def list_providers() -> None:
    """List the catalog: what each provider needs from you, and where it leaves the standards."""
    definitions = {name: complete(_load(name).raw) for name in catalog.names()}
    print_table(
        ("name", "title", "needs", "differs in"),
        (
            (name, str(raw.get("title", "")), ", ".join(needs(raw)), ", ".join(quirks(raw)))
            for name, raw in definitions.items()
        ),
    )


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Print the effective definition of NAME, a catalog name or a path: what it extends and all defaults merged in."""
    definition = _load(name)
    click.echo("".join(f"# {document.file}\n" for document in reversed(definition.documents)), nl=False)
    whole = complete(definition.raw)
    order = [key for key in Definition.__struct_fields__ if key in whole]
    ordered = {key: whole[key] for key in (*order, *(key for key in whole if key not in order))}
    click.echo(yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=120), nl=False)


def needs(raw: dict[str, Any]) -> list[str]:
    """What the config has to give: required params, and the client that is registered at the provider."""
    params = (name for name, param in _section(raw, "params").items() if isinstance(param, dict))
    needed = [f"params.{name}" for name in params if raw["params"][name].get("required")]
    return [*needed, "client.id"] if _section(raw, "client").get("auth") == "none" else [*needed, "client.id + secret"]


def quirks(raw: dict[str, Any]) -> list[str]:
    """Where the completed definition leaves the standards, for people who wonder what the YAML is for."""
    scopes, token, refresh = (_section(raw, key) for key in ("scopes", "token", "refresh"))
    told = (
        (raw.get("pkce") == "off", "no PKCE"),
        (_section(raw, "client").get("auth") == "basic", "basic authentication"),
        (_section(raw, "oidc").get("nonce") == "off", "no nonce"),
        (scopes.get("sep") != " ", "scope separator"),
        (scopes.get("param") != "scope", "scope parameter"),
        (bool(_section(raw, "callback")) and raw["callback"] != {"code": "code", "state": "state"}, "callback names"),
        (bool(token.get("json")), "JSON token request"),
        (token.get("method") != "POST", "token method"),
        (bool(token.get("ok")), "errors with status 200"),
        (raw.get("refresh") == "none", "no refresh"),
        (refresh.get("rotate") in ("keep", "replace"), "refresh rotation"),
        (raw.get("api") != RFC["api"], "token header"),
    )
    return [quirk for applies, quirk in told if applies]


def _section(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _load(name: str) -> catalog.DefinitionFiles:
    try:
        return catalog.load(name, Path())
    except FileNotFoundError:
        raise click.ClickException(f"{name} is not in the catalog; `vestibule providers list` shows it") from None
    except ConfigError as error:
        Console(stderr=True, soft_wrap=True).print(render_problems(error.problems))
        sys.exit(1)
