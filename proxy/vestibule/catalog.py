"""Where provider definitions are found, and how `extends` turns several files into one definition.

The directory beside the source root comes first: an editable install can leave a stale copy of the wheel's in
site-packages. Definitions never see the environment; their `${…}` belong to the provider language.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from vestibule.documents import ConfigError, Document, Place, Problem
from vestibule.provider.defaults import merge
from vestibule.reading import read

MAX_CHAIN = 8

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PACKAGE = Path(__file__).parent


class DefinitionFiles(Struct, frozen=True, kw_only=True):
    """A definition with everything that it extends merged in."""

    raw: dict[str, Any]
    """`extends` resolved and removed."""
    documents: tuple[Document, ...]
    """Itself first, then what it extends, up to the root."""
    names: tuple[str, ...]
    """Catalog names among them."""

    def problem(self, place: Place, *, found: str, expected: str, private: bool) -> Problem:
        """Placed in the nearest file that says something there; overlays win, so they are looked at first."""
        document = max(self.documents, key=lambda document: _depth(document, place))
        return document.problem(place, found=found, expected=expected, private=private)


def _depth(document: Document, place: Place) -> int:
    return next(depth for depth in range(len(place), -1, -1) if depth == 0 or place[:depth] in document.spots)


def directory() -> Path:
    """The catalog: `providers/` of the source tree, else the copy inside the installed package."""
    source = _PACKAGE.parent.parent / "providers"
    return source if _PACKAGE.parent.name == "proxy" and source.is_dir() else _PACKAGE / "_providers"


def names() -> list[str]:
    return sorted(path.stem for path in directory().glob("*.yaml"))


def load(name_or_path: str, relative_to: Path) -> DefinitionFiles:
    """A catalog name, or a path to a file, relative to `relative_to`. ConfigError, or FileNotFoundError when there
    is no such definition: only the caller knows where its name was written.
    """
    path: Path | None = _path(name_or_path, relative_to)
    documents: list[Document] = []
    paths: list[Path] = []
    while path is not None:
        if path in paths or len(paths) == MAX_CHAIN:
            raise _refuse(documents[-1], f"at most {MAX_CHAIN} definitions that do not extend each other in a circle")
        paths.append(path)
        documents.append(_read(path))
        path = _parent(documents[-1], path.parent)
    return DefinitionFiles(
        raw=_merged(document.value for document in reversed(documents)),
        documents=tuple(documents),
        names=tuple(path.stem for path in paths if path.parent == directory()),
    )


def _merged(raws: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """From the root to the last overlay."""
    result: dict[str, Any] = {}
    for raw in raws:
        result = merge(result, {key: value for key, value in raw.items() if key != "extends"})
    return result


def _path(source: str, relative_to: Path) -> Path:
    file = directory() / f"{source}.yaml" if _NAME.fullmatch(source) else relative_to / source
    path = Path(os.path.abspath(file))  # noqa: PTH100  # resolve() fails on loops of symbolic links
    if not path.is_file():
        raise FileNotFoundError(source)
    return path


def _read(path: Path) -> Document:
    document = read(path)
    problems = list(document.problems)
    if not isinstance(document.value, dict) and not problems:
        problems.append(document.problem((), expected="a provider definition: a section with authorize, token, …"))
    if problems:
        raise ConfigError(problems)
    return document


def _parent(document: Document, relative_to: Path) -> Path | None:
    if "extends" not in document.value:
        return None
    source = document.value["extends"]
    try:
        if isinstance(source, str) and source:
            # Only the config may name any file: what cannot be read as YAML is quoted in errors.
            if Path(source).is_absolute() or ".." in Path(source).parts:
                raise _refuse(document, "the name of a definition, or a path to one beside this file or below")
            return _path(source, relative_to)
    except FileNotFoundError:
        raise _refuse(document, f"one of {', '.join(names())}, or a path to a file") from None
    raise _refuse(document, "the name of a definition, or a path to one")


def _refuse(document: Document, expected: str) -> ConfigError:
    return ConfigError([document.problem(("extends",), expected=expected)])
