"""`vestibule providers`: what the catalog knows, what a definition amounts to and sends, how to come by a new one."""

import rich_click as click
import yaml

from vestibule import catalog
from vestibule.cli import discover, explain, trial
from vestibule.cli.definitions import load_definition
from vestibule.cli.quirks import needs, quirks
from vestibule.cli.reports import print_table
from vestibule.provider.defaults import complete
from vestibule.provider.definition import Definition


@click.group("providers")
def command() -> None:
    """Show identity providers, write definitions, and try them."""


@command.command("list")
def list_providers() -> None:
    """List the catalog: what each provider needs from you, and where it leaves the standards."""
    definitions = {name: complete(load_definition(name).raw) for name in catalog.names()}
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
    definition = load_definition(name)
    click.echo("".join(f"# {document.file}\n" for document in reversed(definition.documents)), nl=False)
    whole = complete(definition.raw)
    order = [key for key in Definition.__struct_fields__ if key in whole]
    ordered = {key: whole[key] for key in (*order, *(key for key in whole if key not in order))}
    click.echo(yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=120), nl=False)


for part in (explain, discover, trial):
    command.add_command(part.command)
