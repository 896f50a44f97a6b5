"""Definitions named on the command line: found, read and compiled, or told like a compiler tells."""

import sys
from collections.abc import Iterable
from pathlib import Path

import rich_click as click
from rich.console import Console

from vestibule import catalog
from vestibule.cli.reports import render_problems
from vestibule.documents import ConfigError
from vestibule.provider.provider import DefinitionError

param_option = click.option(
    "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the definition; may be repeated."
)
scope_option = click.option(
    "--scope", "scopes", multiple=True, help="A scope on top of the definition's own; may be repeated."
)


def load_definition(name: str) -> catalog.DefinitionFiles:
    """A catalog name or a path, or exit code 1 with what to do."""
    try:
        return catalog.load(name, Path())
    except FileNotFoundError:
        raise click.ClickException(
            f"{name} is neither in the catalog nor a file; `vestibule providers list` shows the catalog"
        ) from None
    except ConfigError as error:
        Console(stderr=True, soft_wrap=True).print(render_problems(error.problems))
        sys.exit(1)


def parsed_params(params: Iterable[str]) -> dict[str, str]:
    pairs = [param.partition("=") for param in params]
    if broken := [name for name, sign, _ in pairs if not sign]:
        raise click.BadParameter(f"{broken[0]} has no value; write it as {broken[0]}=VALUE", param_hint="--param")
    return {name: value for name, _, value in pairs}


def exit_with(error: DefinitionError, definition: catalog.DefinitionFiles) -> None:
    """Problems of the definition with the line; those of the command line by their option."""
    told = []
    for problem in error.problems:
        found, _, expected = problem.message.partition("; ")
        if problem.source == "definition":
            expected = expected.removeprefix("expected ")
            told.append(definition.problem(problem.path, found=found, expected=expected, private=False))
    if told:
        Console(stderr=True, soft_wrap=True).print(render_problems(told))
        sys.exit(1)
    lines = [f"{_option(problem.path)}: {problem.message}" for problem in error.problems]
    raise click.ClickException("\n".join(lines))


def _option(path: tuple[str | int, ...]) -> str:
    match path:
        case ("params", name, *_):
            return f"--param {name}=…"
        case ("client", "secret"):
            return "the environment's VESTIBULE_CLIENT_SECRET"
        case ("client", "key"):
            return "--client-key FILE"
    return ".".join(map(str, path)) or "the redirect URI"
