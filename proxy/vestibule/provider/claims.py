"""The claims of an id_token whose signature has been verified (OIDC Core §3.1.3.7), one row a check.

Signature libraries check claims too, but by the wall clock and each with defaults of its own; here `now` is an argument
and what is missing is refused: an id_token without `exp` would be valid for ever.
"""

import hmac
from collections.abc import Mapping
from typing import Any

LEEWAY_SECONDS = 60
"""Between the provider's clock and ours."""
_MAX_SECONDS = 1 << 40
"""Far beyond any date, and small enough that a float still counts whole seconds."""


def problem_of(
    claims: Mapping[str, Any], *, issuer: str | None, audience: str | None, client_id: str, nonce: str | None, now: int
) -> str | None:
    """The slug of the first check that fails, None if the claims hold. `nonce` None: none was sent."""
    audiences = _audiences(claims.get("aud"))
    expires, issued, not_before = (_seconds(claims.get(name)) for name in ("exp", "iat", "nbf"))
    party = claims.get("azp")
    for broken, slug in (
        (issuer is None or claims.get("iss") != issuer, "id_token_issuer"),
        (audience is None or audience not in audiences, "id_token_audience"),
        (len(audiences) > 1 and party is None, "id_token_authorized_party"),
        (party is not None and party != client_id, "id_token_authorized_party"),
        (expires is None or now >= expires + LEEWAY_SECONDS, "id_token_expired"),
        (issued is None or issued > now + LEEWAY_SECONDS, "id_token_issued_at"),
        ("nbf" in claims and (not_before is None or not_before > now + LEEWAY_SECONDS), "id_token_not_before"),
        (nonce is not None and not _same(claims.get("nonce"), nonce), "id_token_nonce"),
        (not isinstance(claims.get("sub"), str) or not claims["sub"], "id_token_subject"),
    ):
        if broken:
            return slug
    return None


def _audiences(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    return tuple(values) if isinstance(values, list) and all(isinstance(item, str) for item in values) else ()


def _seconds(value: Any) -> float | None:
    """NumericDate (RFC 7519 §2). The comparison is false for NaN, and booleans are no numbers."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and 0 <= value < _MAX_SECONDS else None


def _same(given: Any, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), expected.encode())
