"""Pure functions over text and bytes: digests, comparison, PKCE, the shape of our keys."""

import base64
import hashlib
import hmac
import string
import zlib

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
CHECKSUM_CHARACTERS = 6
_MAX_KEY_TEXT = 128


def sha256(text: str) -> bytes:
    """What is stored of a secret with ≥ 256 bits of entropy: no salt or stretching is needed at that size."""
    return hashlib.sha256(text.encode()).digest()


def equal(left: str | bytes, right: str | bytes) -> bool:
    """Comparison whose time does not depend on where the two differ."""
    return hmac.compare_digest(
        left.encode() if isinstance(left, str) else left, right.encode() if isinstance(right, str) else right
    )


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def s256(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636 §4.2)."""
    return b64url(hashlib.sha256(verifier.encode()).digest())


def derive(secret: str, purpose: str, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869): one secret in the config, an independent key for each purpose."""
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"vestibule/" + purpose.encode()).derive(
        secret.encode()
    )


def checksum(head: str) -> str:
    """CRC-32 in base 62: tells a mistyped or truncated key from a revoked one without asking the database."""
    number, text = zlib.crc32(head.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, 62)
        text = BASE62[digit] + text
    return text


def well_formed_key(text: str) -> bool:
    """True if the checksum fits. Proves nothing about validity: only the stored digest does (CVE-2026-27840)."""
    return (
        CHECKSUM_CHARACTERS < len(text) <= _MAX_KEY_TEXT
        and text.isascii()
        and checksum(text[:-CHECKSUM_CHARACTERS]) == text[-CHECKSUM_CHARACTERS:]
    )
