"""`${NAME}`, `${NAME:-default}` and `${file:/path}` in the values of a config file.

Expanded after YAML is parsed and never parsed again, so a value cannot bring keys, lists or further references with it.
An empty variable counts as missing: an empty secret that was meant to be set is the worse mistake, and `${NAME:-}` says
that empty is meant. What a reference stood for is never shown; the reference is.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from vestibule.documents import BROKEN, Document, Place, Problem

MAX_FILE_BYTES = 1 << 16

_REFERENCE = re.compile(
    r"\$(?P<literal>\$)\{|\$\{(?:file:(?P<file>[^}]+)|(?P<name>[A-Za-z_]\w*)(?P<default>:-[^}]*)?)\}|\$\{", re.ASCII
)
_FORMS = "${NAME}, ${NAME:-default} or ${file:/path}"


def interpolate(document: Document, env: Mapping[str, str], directory: Path) -> Document:
    """`directory`: what relative file names are relative to. What cannot be expanded becomes a problem and BROKEN."""
    walk = _Walk(document, env, directory)
    value = walk.value(document.value, ())
    problems = (*document.problems, *walk.problems)
    return replace(document, value=value, references=walk.references, problems=problems)


class _Missing(Exception):
    def __init__(self, found: str, expected: str, hint: str = "") -> None:
        super().__init__(found)
        self.found, self.expected, self.hint = found, expected, hint


class _Walk:
    def __init__(self, document: Document, env: Mapping[str, str], directory: Path) -> None:
        self.document, self.env, self.directory = document, env, directory
        self.references: dict[Place, str] = {}
        self.problems: list[Problem] = []

    def value(self, value: Any, place: Place) -> Any:
        if isinstance(value, dict):
            return {key: self.value(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*place, index)) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        names: list[str] = []
        try:
            text = _REFERENCE.sub(lambda match: self._expand(match, names), value)
        except _Missing as missing:
            problem = self.document.problem(
                place, found=missing.found, expected=missing.expected, hint=missing.hint, private=True
            )
            self.problems.append(problem)
            return BROKEN
        if names:
            self.references[place] = " and ".join(names)
        return text

    def _expand(self, match: re.Match[str], names: list[str]) -> str:
        if match["literal"]:
            return "${"
        if match["file"]:
            shown = f"${{file:{match['file']}}}" if match["file"].isprintable() else "${file:…}"
            names.append(shown)
            return self._file(self.directory / match["file"], shown)
        name, default = match["name"], match["default"]
        if not name:
            raise _Missing("a ${ that begins no reference", _FORMS, "write $${ for a literal ${")
        names.append(f"${{{name}}}")
        if text := self.env.get(name):
            return text
        if default is not None:
            return default.removeprefix(":-")
        state = "empty" if name in self.env else "not set"
        raise _Missing(f"${{{name}}}, which is {state}", f"an environment variable {name}")

    def _file(self, path: Path, shown: str) -> str:
        """Regular files only: a pipe could be read once, and not again when the config is reloaded."""
        expected = "a readable text file of at most 64 KiB"
        try:
            if not path.is_file():
                raise _Missing(f"{shown}, which is no file", expected)
            with path.open("rb") as stream:
                raw = stream.read(MAX_FILE_BYTES + 1)
            text = raw.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise _Missing(f"{shown}, which is not UTF-8", expected) from None
        except OSError as error:
            raise _Missing(f"{shown}: {(error.strerror or 'unreadable').lower()}", expected) from None
        if len(raw) > MAX_FILE_BYTES or not text:
            raise _Missing(f"{shown}, which is {'too large' if text else 'empty'}", expected)
        return text
