"""The query that crosses the gate: the client's own bytes, but for parameters that only we may set."""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

_TAIL = re.compile(rb"[\[\x00].*", re.DOTALL)
"""`key[]` is `key` to PHP and Rack, and a NUL ends a name for whatever is written in C."""


def replaced(query: bytes, names: frozenset[str], ours: Mapping[str, str]) -> bytes:
    """`ours` in place of the client's parameters of these `names`, however they are written; the rest stays as it was.

    Some frameworks split at `;` too, so a part that holds such a name between two of them goes as a whole.
    """
    if not names:
        return query
    reserved = {_folded(name.encode()) for name in names}
    kept = [part for part in query.split(b"&") if part and not reserved & {_name(piece) for piece in part.split(b";")}]
    kept += [f"{quote(name, safe='')}={quote(text, safe='')}".encode() for name, text in ours.items()]
    return b"&".join(kept)


def _name(piece: bytes) -> bytes:
    return _folded(unquote_to_bytes(piece.partition(b"=")[0].replace(b"+", b" ")))


def _folded(name: bytes) -> bytes:
    return _TAIL.sub(b"", name).strip().lower()
