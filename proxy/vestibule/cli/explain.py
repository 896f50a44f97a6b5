"""`vestibule providers explain`: the requests of a definition, to be laid beside the provider's documentation."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
import rich_click as click
from rich.console import Console, Group, RenderableType
from rich.text import Text

from vestibule.cli.definitions import exit_with, load_definition, param_option, parsed_params, scope_option
from vestibule.provider.provider import DefinitionError

if TYPE_CHECKING:
    from vestibule.tools.explaining import Explanation, Request

_WIDEST = 28


@click.command("explain")
@click.argument("name")
@param_option
@scope_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(name: str, params: tuple[str, ...], scopes: tuple[str, ...], form: str) -> None:
    """Show the exact requests of a login, a refresh and a revocation at NAME, a catalog name or a path.

    Nothing is sent and no secret is needed: what is secret or not known yet is a placeholder.
    """
    from vestibule.tools.explaining import explain
    from vestibule.tools.invention import Unknown

    definition = load_definition(name)
    given = parsed_params(params)
    try:
        explanation = explain(name, definition.raw, params=given, scopes=scopes)
    except Unknown as unknown:
        parameter, pattern = unknown.args
        raise click.ClickException(f"give --param {parameter}=…, a value like {pattern}") from None
    except DefinitionError as error:
        exit_with(error, definition)
        return
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(explanation), indent=2).decode())
        return
    files = ", ".join(document.file.rsplit("/", 1)[-1] for document in definition.documents)
    Console(soft_wrap=not sys.stdout.isatty()).print(render(explanation, files))


def render(explanation: "Explanation", files: str) -> RenderableType:
    blocks: list[RenderableType] = [Text.assemble((explanation.title, "bold"), (f"  {files}", "dim"))]
    blocks += [_aligned("with", (*explanation.params, ("scopes", " ".join(explanation.scopes) or "none")), "")]
    number = 0
    for stage in explanation.stages:
        blocks.append(Text(f"\n{stage.title}", style="bold cyan"))
        blocks += [Text(f"     {note}", style="dim") for note in stage.notes]
        for request in stage.requests:
            number += 1
            blocks += [Text(), *_request(number, request)]
    blocks.append(Text("\nWho it is", style="bold cyan"))
    blocks.append(_aligned("", explanation.identity, "← "))
    if explanation.allow:
        blocks.append(Text(f"     nobody may enter unless {explanation.allow}", style="yellow"))
    blocks.append(Text("\nHow the token is sent to the provider's API", style="bold cyan"))
    blocks += [
        _aligned(kind, pairs, "")
        for kind, pairs in (("header", explanation.api_headers), ("query", explanation.api_query))
        if pairs
    ]
    shown = any(request.url.startswith("{") for stage in explanation.stages for request in stage.requests)
    if shown:
        blocks.append(Text("\n{…} is an address that discovery names", style="dim"))
    return Group(*blocks)


def _request(number: int, request: "Request") -> list[RenderableType]:
    origin = "" if request.label in {"authorize", "callback", "oidc"} else f"  {request.label}"
    blocks: list[RenderableType] = [
        Text.assemble((f"{number:>3}  ", "bold"), (request.title, "bold"), (origin, "dim")),
        Text.assemble("     ", (request.method, "bold green"), " ", (request.url, "green")),
    ]
    for kind, pairs in (("query", request.query), ("header", request.headers), ("form", request.form)):
        if pairs:
            blocks.append(_aligned(kind, pairs, ""))
    if request.json is not None:
        text = msgspec.json.format(msgspec.json.encode(request.json), indent=2).decode()
        lines = text.splitlines()
        blocks += [
            Text.assemble((f"       {'json' if n == 0 else '':<8}", "dim"), line) for n, line in enumerate(lines)
        ]
    if request.body is not None:
        blocks.append(Text.assemble(("       body    ", "dim"), request.body))
    if request.reads:
        blocks.append(_reads(request))
    blocks += [Text(f"       · {note}", style="dim italic") for note in request.notes]
    return blocks


def _reads(request: "Request") -> Text:
    """Fields that are read under their own names need one line only; those of a person are told below."""
    if request.label.startswith("identity."):
        return Text.assemble(("       gives   ", "dim"), ", ".join(field for field, _ in request.reads))
    own = [field for field, expression in request.reads if field == expression]
    text = Text()
    if own:
        text.append("       reads   ", style="dim").append(", ".join(own))
    rest = [pair for pair in request.reads if pair[0] not in own]
    if rest:
        text.append("\n" if own else "").append(_aligned("reads" if not own else "", rest, "← "))
    return text


def _aligned(kind: str, pairs: Iterable[tuple[str, str]], sign: str) -> Text:
    pairs = list(pairs)
    width = min(max((len(name) for name, _ in pairs), default=0), _WIDEST)
    text = Text()
    for n, (name, value) in enumerate(pairs):
        text.append("\n" if n else "")
        text.append(f"       {kind if n == 0 else '':<8}", style="dim")
        text.append(f"{name:<{width}}  ", style="cyan").append(sign, style="dim")
        text.append(value, style="yellow" if value.isupper() and value.isidentifier() else "")
    return text
