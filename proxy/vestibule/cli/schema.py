"""`vestibule schema`: the JSON Schema of the config, so that editors complete and explain it while it is written.

Derived from `vestibule.config`; the docstrings below the fields become the descriptions. Two things are wider than the
Structs: a duration may be text, and any text with a pattern may hold a `${…}` reference in its place.
"""

import ast
import inspect
import json
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from vestibule import config
from vestibule.model import Secret

FILE = "vestibule.schema.json"


def config_schema() -> dict[str, Any]:
    schema = msgspec.json.schema(config.Config, schema_hook=_secret)
    for name, notes in docstrings().items():
        for field, text in notes.items():
            properties = schema["$defs"].get(name, {}).get("properties", {})
            if field in properties:
                properties[field]["description"] = text
    _widen(schema)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Vestibule config"}
    return head | schema


def schema_text() -> str:
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


@click.command("schema")
@click.option(
    "--write",
    "target",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help=f"Write {FILE} into this directory instead of printing it.",
)
@click.option(
    "--docs",
    "documents",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="Bring the generated parts of this document up to date; may be repeated.",
)
def command(target: Path | None, documents: tuple[Path, ...]) -> None:
    """Print the JSON Schema of the config file.

    An editor with YAML support uses it when the config begins with `# yaml-language-server: $schema=<path>`.
    """
    if target is None and not documents:
        click.echo(schema_text(), nl=False)
    if target is not None:
        _write(target / FILE, schema_text())
    for path in documents:
        from vestibule.cli.reference import rewrite

        try:
            _write(path, rewrite(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise click.ClickException(f"{path}: {error}") from None


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    click.echo(f"wrote {path}")


def _secret(kind: type) -> dict[str, Any]:
    if kind is Secret:
        return {"type": "string", "minLength": 1}
    raise NotImplementedError


def docstrings() -> dict[str, dict[str, str]]:
    """Class → field → the text below it, which Python itself does not keep."""
    notes: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(config)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = notes.setdefault(node.name, {})
        for before, after in zip(node.body, node.body[1:], strict=False):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    fields[name] = " ".join(text.split())
    return notes


def _widen(node: Any) -> None:
    if isinstance(node, list):
        for item in node:
            _widen(item)
    if not isinstance(node, dict):
        return
    if node.get("type") == "integer" and "pattern" in node:
        node["type"] = ["integer", "string"]
    if "type" in node and isinstance(node.get("pattern"), str):
        node["pattern"] += r"|\$\{"
    for key, item in node.items():
        if key != "propertyNames":  # keys are not interpolated
            _widen(item)
