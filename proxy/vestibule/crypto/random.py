"""The only source of randomness: everything unguessable is made here."""

import secrets

from vestibule.crypto.digests import BASE62, checksum
from vestibule.model import KeyKind

ROW_ID_CHARACTERS = 20
KEY_CHARACTERS = 43
"""43 characters of 62 carry 256 bits (RFC 6749 §10.10 asks for 128, 160 recommended)."""


def token(nbytes: int = 32) -> str:
    """Base64url text of `nbytes` random bytes, without padding."""
    return secrets.token_urlsafe(nbytes)


def row_id() -> str:
    """An opaque database id: 120 bits, 20 characters."""
    return secrets.token_urlsafe(ROW_ID_CHARACTERS * 3 // 4)


def key_text(prefix: str, kind: KeyKind) -> str:
    """`<prefix>_<kind>_<43 random characters><6 checksum characters>`: recognisable to secret scanners."""
    head = f"{prefix}_{kind.value}_" + "".join(secrets.choice(BASE62) for _ in range(KEY_CHARACTERS))
    return head + checksum(head)


def trace_id() -> str:
    """32 hexadecimal digits (W3C Trace Context §3.2.2.3)."""
    return secrets.token_hex(16)
