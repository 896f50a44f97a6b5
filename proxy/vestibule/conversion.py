"""Plain values to frozen Structs, with every error found in one pass.

msgspec stops at the first error and hides dictionary keys in its paths, so this walks its type descriptions instead:
section by section and field by field. What is in order inside a broken section is kept in `parts`, so that the rules of
`rules` can still be asked about it.

A value is private where its type holds a Secret anywhere: a token pasted one level too high must not be echoed either.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from msgspec import NODEFAULT, UNSET, Struct
from msgspec import inspect as shapes

from vestibule.documents import BROKEN, Document, Place, Problem, shown_key
from vestibule.model import Secret

T = TypeVar("T")


class Converted(Struct, Generic[T], frozen=True):
    value: T | None
    problems: list[Problem]
    parts: Mapping[Place, Any]
    """All that was read without error, defaults of absent keys included, by place."""
    public: frozenset[Place]
    """Values as written in the file that are neither secret nor interpolated."""


def convert(document: Document, kind: type[T]) -> Converted[T]:
    """`value` is None exactly when something in the document could not be read."""
    walk = _Walk(document)
    value = walk.read(shapes.type_info(kind), document.value, ())
    public = frozenset(walk.public)
    problems = [document.problem(place, public=public, **told) for place, told in walk.found]
    return Converted(None if value is BROKEN else value, problems, walk.parts, public)


class _Walk:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.parts: dict[Place, Any] = {}
        self.public: set[Place] = set()
        self.found: list[tuple[Place, dict[str, Any]]] = []

    def read(self, info: shapes.Type, value: Any, place: Place) -> Any:
        """The converted value, or BROKEN once the problem is noted."""
        if value is BROKEN:
            return BROKEN
        result = self._read(info, value, place)
        if result is not BROKEN:
            self.parts[place] = result
            if not holds_secret(info) and place not in self.document.references:
                self.public.add(place)
        return result

    def _read(self, info: shapes.Type, value: Any, place: Place) -> Any:
        match _bare(info):
            case shapes.UnionType() as union:
                return self._union(union, info, value, place)
            case shapes.StructType() as struct if isinstance(value, dict):
                return self._struct(struct, value, place)
            case shapes.DictType() as mapping if isinstance(value, dict):
                return self._dict(mapping, value, place)
            case shapes.VarTupleType() as items if isinstance(value, list) and len(value) >= (items.min_length or 0):
                entries = [self.read(items.item_type, item, (*place, index)) for index, item in enumerate(value)]
                return BROKEN if BROKEN in entries else tuple(entries)
        result = _scalar(info, value)
        return self._wrong(info, value, place) if result is BROKEN else result

    def _union(self, union: shapes.UnionType, info: shapes.Type, value: Any, place: Place) -> Any:
        """Members differ in kind, so the value's kind chooses; then that member's own errors are the helpful ones."""
        members = [member for member in union.types if not isinstance(member, shapes.NoneType)]
        if value is None and len(members) < len(union.types):
            return None
        for member in members:
            if len(members) == 1 or (_suits(member, value) and _scalar(member, value) is not BROKEN):
                return self._read(member, value, place)
        for member in members:
            if _suits(member, value) and isinstance(value, dict | list):
                return self._read(member, value, place)
        return self._wrong(info, value, place)

    def _struct(self, struct: shapes.StructType, value: dict[str, Any], place: Place) -> Any:
        names = [field.encode_name for field in struct.fields]
        complete = True
        for key in value:
            if key not in names:
                complete = False
                told = {"found": f"the unknown key {shown_key(key)}", "expected": f"one of {', '.join(names)}"}
                self._note((*place, key), private=True, hint=_nearest(key, names), **told)
        fields: dict[str, Any] = {}
        for field in struct.fields:
            here = (*place, field.encode_name)
            if field.encode_name in value:
                fields[field.name] = self.read(field.type, value[field.encode_name], here)
            elif field.required:
                fields[field.name] = BROKEN
                self._note(here, found="nothing", expected=expectation(field.type))
            else:
                self.parts[here] = field.default if field.default is not NODEFAULT else _made(field)
        if not complete or BROKEN in fields.values():
            return BROKEN
        return struct.cls(**fields)

    def _dict(self, mapping: shapes.DictType, value: dict[str, Any], place: Place) -> Any:
        result: dict[str, Any] = {}
        complete = True
        for key, item in value.items():
            here = (*place, key)
            if _scalar(mapping.key_type, key) is BROKEN:
                complete = False
                expected = f"a name: {expectation(mapping.key_type)}"
                self._note(here, found=f"the key {shown_key(key)}", expected=expected, private=True)
            result[key] = self.read(mapping.value_type, item, here)
        return result if complete and BROKEN not in result.values() else BROKEN

    def _wrong(self, info: shapes.Type, value: Any, place: Place) -> Any:
        private = holds_secret(info) or place in self.document.references
        self._note(place, expected=expectation(info), hint=_hint(info, value), private=private)
        return BROKEN

    def _note(self, place: Place, **told: Any) -> None:
        self.found.append((place, told))


# --- scalars ----------------------------------------------------------------------------------------------------------

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)


def _scalar(info: shapes.Type, value: Any) -> Any:
    """The value if it is one of this type, BROKEN if not; sections and lists are never scalars."""
    bare = _bare(info)
    match bare:
        case shapes.StrType() if isinstance(value, str):
            return value if bare.pattern is None or re.fullmatch(bare.pattern, value) else BROKEN
        case shapes.CustomType() if bare.cls is Secret and isinstance(value, str) and value:
            return Secret(value)
        case shapes.BoolType() if isinstance(value, bool):
            return value
        case shapes.LiteralType() if isinstance(value, str) and value in bare.values:
            return value
        case shapes.IntType():
            if _is_duration(info) and isinstance(value, str) and (parts := _DURATION.fullmatch(value)):
                value = int(parts[1]) * _UNITS[parts[2]]
            return value if type(value) is int and _within(bare, value) else BROKEN
    return BROKEN


def _within(info: shapes.IntType, value: int) -> bool:
    low = info.ge if info.ge is not None else None if info.gt is None else info.gt + 1
    return (low is None or value >= low) and (info.le is None or value <= info.le)


def _bare(info: shapes.Type) -> shapes.Type:
    return info.type if isinstance(info, shapes.Metadata) else info


def _is_duration(info: shapes.Type) -> bool:
    return isinstance(info, shapes.Metadata) and bool((info.extra or {}).get("duration"))


def _made(field: shapes.Field) -> Any:
    return field.default_factory() if field.default_factory is not NODEFAULT else UNSET


def _suits(info: shapes.Type, value: Any) -> bool:
    match _bare(info):
        case shapes.StructType() | shapes.DictType():
            return isinstance(value, dict)
        case shapes.VarTupleType():
            return isinstance(value, list)
        case _:
            return not isinstance(value, dict | list)


def holds_secret(info: shapes.Type) -> bool:
    match _bare(info):
        case shapes.CustomType() as custom:
            return custom.cls is Secret
        case shapes.StructType() as struct:
            return any(holds_secret(field.type) for field in struct.fields)
        case shapes.DictType() as mapping:
            return holds_secret(mapping.value_type)
        case shapes.VarTupleType() as items:
            return holds_secret(items.item_type)
        case shapes.UnionType() as union:
            return any(map(holds_secret, union.types))
    return False


# --- words ------------------------------------------------------------------------------------------------------------


def expectation(info: shapes.Type) -> str:  # noqa: PLR0911  # one line per kind of type
    """What may stand here, for somebody who has never seen the schema."""
    bare = _bare(info)
    if isinstance(info, shapes.Metadata) and (told := (info.extra_json_schema or {}).get("description")):
        return str(told) + (_bounds(bare, duration=_is_duration(info)) if isinstance(bare, shapes.IntType) else "")
    match bare:
        case shapes.StructType():
            return f"a section with {', '.join(field.encode_name for field in bare.fields)}"
        case shapes.DictType():
            return "a section of names and values"
        case shapes.VarTupleType():
            return "a list with at least one entry" if bare.min_length else "a list"
        case shapes.UnionType():
            members = [member for member in bare.types if not isinstance(member, shapes.NoneType)]
            return ", or ".join(map(expectation, members))
        case shapes.LiteralType():
            return " or ".join(f'"{value}"' for value in bare.values)
        case shapes.CustomType():
            return "a secret as text"
        case shapes.IntType():
            return "a whole number" + _bounds(bare, duration=False)
        case shapes.BoolType():
            return "true or false"
    return "text"


def _bounds(info: shapes.IntType, *, duration: bool) -> str:
    low = info.ge if info.ge is not None else None if info.gt is None else info.gt + 1
    show = _time if duration else str
    if info.le is not None:
        return f", from {show(low or 0)} to {show(info.le)}"
    return "" if low is None else f", at least {show(low)}"


def _time(seconds: int) -> str:
    for unit in "dhm":
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def _hint(info: shapes.Type, value: Any) -> str:  # noqa: PLR0911  # one line per usual mistake
    bare = _bare(info)
    if isinstance(bare, shapes.UnionType):
        members = [member for member in bare.types if not isinstance(member, shapes.NoneType)]
        return _hint(members[0], value) if members else ""
    match bare, value:
        case _, None:
            return "write a value, or remove the key"
        case ((shapes.StrType() | shapes.CustomType()), bool() | int() | float()):
            return "put it in quotes"
        case shapes.BoolType(), str():
            return "in YAML 1.2 only true and false, unquoted and in lower case, are booleans"
        case shapes.IntType(), str() if value.isdigit():
            return "remove the quotes"
        case shapes.LiteralType(), str():
            return _nearest(value, [str(known) for known in bare.values])
        case shapes.VarTupleType(), str():
            return "a list of one is written [like this]"
    return ""


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word[:64].lower(), list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""
