"""AES-256-GCM for what must be read back: provider tokens at rest, and a refresh answer that may be repeated.

Each box carries the row's identity as associated data, so a box moved to another row does not open.
"""

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vestibule.crypto.digests import derive
from vestibule.model import Secret

_KID_BYTES = 4
_NONCE_BYTES = 12


class SealBroken(Exception):
    """No key opens it, or it was moved or changed."""


class Sealer:
    """First secret seals, all open; the box names its key, so that old ones can be found and re-sealed."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._boxes: dict[bytes, AESGCM] = {}
        for secret in secrets:
            text = secret.reveal()
            self._boxes.setdefault(derive(text, "seal-kid", _KID_BYTES), AESGCM(derive(text, "seal")))
        self._kid = next(iter(self._boxes))

    def seal(self, secret: Secret, *context: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        box = self._boxes[self._kid].encrypt(nonce, secret.reveal().encode(), _associated(context))
        return self._kid + nonce + box

    def open(self, box: bytes, *context: str) -> Secret:
        aead = self._boxes.get(box[:_KID_BYTES])
        if aead is None:
            raise SealBroken("sealed with a key that is not configured any more")
        return Secret(_opened(aead, box[_KID_BYTES:], context))


def seal_under(token: str, text: Secret, *context: str) -> bytes:
    """Seals for whoever holds `token`, which is stored as a digest only: the database alone cannot open it."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(derive(token, "successor")).encrypt(nonce, text.reveal().encode(), _associated(context))


def open_under(token: str, box: bytes, *context: str) -> Secret:
    return Secret(_opened(AESGCM(derive(token, "successor")), box, context))


def _opened(aead: AESGCM, box: bytes, context: tuple[str, ...]) -> str:
    try:
        return aead.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], _associated(context)).decode()
    except (InvalidTag, ValueError) as error:
        raise SealBroken("the box does not open in this place") from error


def _associated(context: tuple[str, ...]) -> bytes:
    """Length-prefixed, so that ("ab", "c") and ("a", "bc") differ."""
    return b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in context)
