"""Reading a token reply (RFC 6749 §5.1): every field has one type here, whatever it had on the wire, and what does not
fit is refused with the field's name. A lifetime that cannot be believed must not become one that never ends.
"""

import re
from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from vestibule.model import Secret, Tokens
from vestibule.provider.definition import HopOut
from vestibule.provider.flow import Fail

MAX_LIFETIME_SECONDS = 100 * 366 * 86400
"""Some providers write "never" as a century; more than that is a mistake of units."""
_MILLISECONDS_FROM = 100_000_000_000
"""As seconds this is the year 5138, as milliseconds 1973: no token expires near either."""
_TOKEN = re.compile(r"[\x20-\x7e]{1,16384}")
"""RFC 6749 appendix A.12 and A.17: visible ASCII, so that no token can break out of a header."""


def tokens_of(
    out: HopOut, document: Any, *, now: int, lifetime: int | None = None, before: Tokens | None = None
) -> Tokens:
    """`before` are the tokens so far, for a reply that replaces some of what is known (an `exchange`)."""
    if not isinstance(document, dict):
        raise Fail("misconfigured", "token_reply_unreadable", "neither a JSON object nor a form")
    tokens = before or Tokens(access_token=None, raw=document)
    expires_at = _expiry(out, document, now)
    if out.access_token is not None:
        access_token = _token("access_token", out.access_token(document))
        if access_token is None:
            raise Fail("misconfigured", "access_token_missing", f"fields: {_fields(document)}")
        if expires_at is None and lifetime is not None:
            expires_at = now + lifetime
        tokens = structs.replace(tokens, access_token=access_token, expires_at=expires_at)
    found = {
        "refresh_token": _token("refresh_token", out.refresh_token and out.refresh_token(document)),
        "id_token": _token("id_token", out.id_token and out.id_token(document)),
        "expires_at": expires_at,
        "scopes": _scopes(out.scope and out.scope(document)),
    }
    return structs.replace(tokens, **{name: value for name, value in found.items() if value is not None})


def _token(field: str, value: Any) -> Secret | None:
    if value in (None, ""):
        return None
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise _malformed(field)
    return Secret(value)


def _expiry(out: HopOut, document: Any, now: int) -> int | None:
    """`expires_in` first: it does not depend on the provider's clock."""
    expires_in, expires_at = (read and read(document) for read in (out.expires_in, out.expires_at))
    if expires_in not in (None, ""):
        seconds = _whole("expires_in", expires_in)
        if not 0 <= seconds <= MAX_LIFETIME_SECONDS:
            raise _malformed("expires_in")
        return now + seconds
    if expires_at in (None, ""):
        return None
    seconds = _instant(expires_at)
    if not 0 <= seconds <= now + MAX_LIFETIME_SECONDS:
        raise _malformed("expires_at")
    return seconds


def _instant(value: Any) -> int:
    """Seconds, milliseconds or ISO 8601; without a zone it is read as UTC."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9.]+", value):
        try:
            moment = datetime.fromisoformat(value)
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError):
            raise _malformed("expires_at") from None
    number = _whole("expires_at", value)
    return number // 1000 if number >= _MILLISECONDS_FROM else number


def _whole(field: str, value: Any) -> int:
    """A number, or one in a string, as form-encoded replies and some JSON ones have it. Fractions are cut off."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", value):
        return int(value.partition(".")[0])
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1 << 53:
        return int(value)
    raise _malformed(field)


def _scopes(value: Any) -> tuple[str, ...] | None:
    """RFC 6749 §3.3 separates by spaces, GitHub by commas, Twitch sends an array. Absent: as asked for (§5.1)."""
    if value is None:
        return None
    if isinstance(value, str):
        value = re.split(r"[ ,]+", value)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _malformed("scope")
    return tuple(dict.fromkeys(filter(None, value)))


def _malformed(field: str) -> Fail:
    return Fail("misconfigured", f"{field}_malformed", f"`{field}` of the token reply is not what it should be")


def _fields(document: dict[str, Any]) -> str:
    """The names of what came instead, for the operator; values stay out of the log."""
    return ", ".join(re.sub(r"[^\w.-]", "?", str(name)[:40], flags=re.ASCII) for name in list(document)[:12])
