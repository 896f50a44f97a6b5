"""The query that crosses the gate: the client's own bytes, but for parameters that only we may set."""

from collections.abc import Mapping
from urllib.parse import quote, unquote_plus


def replaced(query: bytes, ours: Mapping[str, str]) -> bytes:
    """`ours` in place of the client's parameters of these names, however they are written; the rest stays as it was."""
    if not ours:
        return query
    kept = [part for part in query.split(b"&") if part and _name(part) not in ours]
    kept += [f"{quote(name, safe='')}={quote(text, safe='')}".encode() for name, text in ours.items()]
    return b"&".join(kept)


def _name(part: bytes) -> str:
    return unquote_plus(part.partition(b"=")[0].decode("latin-1"), encoding="latin-1")
