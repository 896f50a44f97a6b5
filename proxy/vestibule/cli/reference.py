"""The generated parts of the documents in `docs/`: what a Struct or a table in the code says is never repeated by hand.

Each part stands between two markers of its document; `vestibule schema --docs FILE` writes what belongs there.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec import inspect as shapes
from sqlalchemy import Column

from vestibule.cli.language import call_defaults, catalog_table, language_reference
from vestibule.cli.schema import docstrings
from vestibule.config import Config
from vestibule.conversion import expectation
from vestibule.provider.flow import TRANSITIONS, Step
from vestibule.storage.tables import metadata


def rewrite(text: str) -> str:
    """The document with every generated part that it has markers for; ValueError if it has none."""
    present = [name for name in PARTS if _begin(name) in text]
    if not present:
        raise ValueError(f"no {_begin('…')} in it; there are {', '.join(PARTS)}")
    for name in present:
        text = replace_between(text, name, PARTS[name]())
    return text


def replace_between(text: str, marker: str, new: str) -> str:
    """`text` with `new` between the two lines of `marker`, whatever stood there; ValueError if they are not a pair."""
    begin, end = _begin(marker), f"<!-- /generated: {marker} -->"
    before, opened, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"{begin} and {end} are not a pair")
    return f"{before}{begin}\n{new.strip()}\n{end}{after}"


def _begin(marker: str) -> str:
    return f"<!-- generated: {marker} -->"


# --- the config file --------------------------------------------------------------------------------------------------


def config_reference() -> str:
    """A table for each section of the file, in the order in which they nest."""
    notes = docstrings()
    return "\n\n".join(_section(path, struct, notes) for path, struct in _sections("", shapes.type_info(Config)))


def _sections(path: str, info: shapes.Type) -> Iterator[tuple[str, shapes.StructType]]:
    match info:
        case shapes.StructType():
            yield path, info
            for field in info.fields:
                yield from _sections(f"{path}.{field.encode_name}".lstrip("."), field.type)
        case shapes.Metadata():
            yield from _sections(path, info.type)
        case shapes.VarTupleType():
            yield from _sections(f"{path}[]", info.item_type)
        case shapes.DictType():
            yield from _sections(f"{path}.<id>", info.value_type)
        case shapes.UnionType():
            for member in info.types:
                yield from _sections(path, member)


def _section(path: str, struct: shapes.StructType, notes: Mapping[str, Mapping[str, str]]) -> str:
    lines = [f"### `{path}`" if path else "### Top level", ""]
    if path and struct.cls.__doc__:
        lines += [_linked(" ".join(struct.cls.__doc__.split())), ""]
    lines += ["| key | type | default | limit | meaning |", "|---|---|---|---|---|"]
    for field in struct.fields:
        place = f"{path}.{field.encode_name}".lstrip(".")
        meaning = _linked(notes[struct.cls.__name__].get(field.name, ""))
        cells = (f"`{field.encode_name}`", _type(field.type, place), _default(field), _limit(field.type), meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _linked(text: str) -> str:
    return re.sub(r"design decision (\d+)", r"[decision \1](how-it-works.md#decisions)", text)


def _type(info: shapes.Type, place: str) -> str:  # noqa: PLR0911  # one line per kind of type
    match info:
        case shapes.Metadata():
            return "duration" if _is_duration(info) else _type(info.type, place)
        case shapes.StructType():
            return f"[section](#{re.sub(r'[^a-z0-9_-]', '', place.lower())})"
        case shapes.VarTupleType():
            return f"list of {_type(info.item_type, place + '[]')}"
        case shapes.DictType():
            return f"{_type(info.value_type, place + '.<id>')} by name"
        case shapes.UnionType():
            members = (member for member in info.types if not isinstance(member, shapes.NoneType))
            return " or ".join(_type(member, place) for member in members)
        case shapes.LiteralType():
            return ", ".join(f"`{value}`" for value in info.values)
        case shapes.CustomType():
            return "secret text"
        case shapes.IntType():
            return "whole number"
        case shapes.BoolType():
            return "`true`, `false`"
    return "text"


def _default(field: shapes.Field) -> str:
    value: Any = field.default
    if value is NODEFAULT and field.default_factory is NODEFAULT:
        return "**required**"
    if value is NODEFAULT or value in (None, (), ""):
        return "none"
    if isinstance(value, Struct):
        return "as below"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    return f"`{_duration(value) if _is_duration(field.type) else value}`"


def _limit(info: shapes.Type) -> str:
    """What `expectation` says beyond the type."""
    bare = info.type if isinstance(info, shapes.Metadata) else info
    told = ((info.extra_json_schema or {}) if isinstance(info, shapes.Metadata) else {}).get("description", "")
    match bare:
        case shapes.IntType():
            return expectation(info).removeprefix(told or "a whole number").lstrip(" ,")
        case shapes.StrType():
            return str(told)
        case shapes.VarTupleType() if bare.min_length:
            return "at least one entry"
        case shapes.DictType() if key := _limit(bare.key_type):
            return f"names: {key}"
    return ""


def _is_duration(info: shapes.Type) -> bool:
    return isinstance(info, shapes.Metadata) and bool((info.extra or {}).get("duration"))


def _duration(seconds: int) -> str:
    units = ((86400, "d"), (3600, "h"), (60, "m"))
    return next((f"{seconds // size}{unit}" for size, unit in units if seconds % size == 0), f"{seconds}s")


# --- diagrams ---------------------------------------------------------------------------------------------------------


def login_states() -> str:
    """`TRANSITIONS` as a mermaid state diagram; events that lead from one step to the same other share an arrow."""
    lines = [f"[*] --> {next(iter(Step))}"]
    for step, events in TRANSITIONS.items():
        for following in dict.fromkeys(events.values()):
            names = (event.__name__ for event, target in events.items() if target is following)
            lines.append(f"{step} --> {following}: {' or '.join(names)}")
        if not events:
            lines.append(f"{step} --> [*]")
    return _mermaid("stateDiagram-v2", lines)


def table_diagram() -> str:
    """The tables as a mermaid entity relationship diagram."""
    lines = []
    for table in metadata.sorted_tables:
        lines += [f"{table.name} {{", *(f"    {_column(column)}" for column in table.columns), "}"]
    for table in metadata.sorted_tables:
        for column in table.columns:
            for key in column.foreign_keys:
                one = "|o" if column.nullable else "||"
                lines.append(f"{key.column.table.name} {one}--o{{ {table.name} : {column.name}")
    return _mermaid("erDiagram", lines)


def _column(column: Column[Any]) -> str:
    marks = ((column.primary_key, "PK"), (bool(column.foreign_keys), "FK"), (column.unique, "UK"))
    keys = ", ".join(mark for applies, mark in marks if applies)
    return f"{type(column.type).__name__} {column.name} {keys}".rstrip()


def _mermaid(kind: str, lines: list[str]) -> str:
    return "\n".join(["```mermaid", kind, *(f"    {line}" for line in lines), "```"])


PARTS: dict[str, Callable[[], str]] = {
    "config": config_reference,
    "login states": login_states,
    "tables": table_diagram,
    "language": language_reference,
    "calls": call_defaults,
    "catalog": catalog_table,
}
