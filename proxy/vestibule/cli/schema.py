"""`vestibule schema`: JSON Schemas of the config and of provider definitions, which editors complete and explain.

Derived from the Structs; the docstrings below the fields become the descriptions. Some things are wider than those: a
duration may be text, and any text with a pattern may hold a `${…}` reference in its place. A definition is an overlay,
so nothing in it is required and everything may be null; what is missing in the end, compiling tells.
"""

import ast
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import rich_click as click

from vestibule import config
from vestibule.model import Secret
from vestibule.provider import definition
from vestibule.provider.expression import Expression
from vestibule.provider.pattern import Pattern
from vestibule.provider.template import Json, Template

FILE = "vestibule.schema.json"
PROVIDER_FILE = "provider.schema.json"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    schema = msgspec.json.schema(config.Config, schema_hook=_leaf)
    _describe(schema, config)
    _widen(schema)
    return {"$schema": _DRAFT, "title": "Vestibule config"} | schema


def provider_schema() -> dict[str, Any]:
    schema = msgspec.json.schema(definition.Definition, schema_hook=_leaf)
    _describe(schema, definition)
    for name, part in schema["$defs"].items():
        part.pop("required", None)
        for key, value in part.get("properties", {}).items():
            part["properties"][key] = _overlay(value, short=(name, key) in SHORT_FORMS)
    return {"$schema": _DRAFT, "title": "Vestibule provider definition"} | schema


SHORT_FORMS = frozenset({("TokenCall", "out"), ("Refresh", "out"), ("Exchange", "out"), ("IdentityCall", "paginate")})
"""Where a text stands for a section (`defaults.complete`)."""


def _overlay(schema: dict[str, Any], *, short: bool) -> dict[str, Any]:
    """Null deletes, in mappings too."""
    told = {"description": schema["description"]} if "description" in schema else {}
    schema = {key: value for key, value in schema.items() if key not in {"default", "description"}}
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = {"anyOf": [schema["additionalProperties"], {"type": "null"}]}
    kinds = schema["anyOf"] if set(schema) == {"anyOf"} else [schema]
    texts = [{"type": "string"}] if short else []
    return {"anyOf": [*(kind for kind in kinds if kind != {"type": "null"}), *texts, {"type": "null"}]} | told


def schema_text(schema: dict[str, Any] | None = None) -> str:
    return json.dumps(schema or config_schema(), indent=2, ensure_ascii=False) + "\n"


@click.command("schema")
@click.option(
    "--write",
    "target",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help=f"Write {FILE} and {PROVIDER_FILE} into this directory instead of printing the first.",
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
        _write(target / PROVIDER_FILE, schema_text(provider_schema()))
    for path in documents:
        from vestibule.cli.reference import rewrite

        try:
            _write(path, rewrite(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise click.ClickException(f"{path}: {error}") from None


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    click.echo(f"wrote {path}")


def _leaf(kind: type) -> dict[str, Any]:
    if kind is Secret:
        return {"type": "string", "minLength": 1}
    if kind is Template:
        return {"type": ["string", "integer", "boolean"]}
    if kind in {Expression, Pattern}:
        return {"type": "string"}
    if kind is Json:
        return {"type": "object"}
    raise NotImplementedError


def _describe(schema: dict[str, Any], module: ModuleType) -> None:
    notes = docstrings(module)
    for name, part in schema["$defs"].items():
        kind = getattr(module, name)
        told = {key: text for base in reversed(kind.__mro__) for key, text in notes.get(base.__name__, {}).items()}
        for field in msgspec.structs.fields(kind):
            if field.name in told:
                part["properties"][field.encode_name]["description"] = told[field.name]


def docstrings(module: ModuleType = config) -> dict[str, dict[str, str]]:
    """Class → field → the text below it, which Python itself does not keep."""
    notes: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
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
