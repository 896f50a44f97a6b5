"""The token endpoint's rules: when a code or a refresh token is good, and what is answered.

Rotation is a table (`judge_refresh`). Rotating without grace signs people out whenever an answer is lost on the way or
two processes refresh at once; grace without end lets a thief in. So an answer is repeated for seconds, a straggler is
refused without harm for a minute, and only what comes later is taken for theft (RFC 9700 §4.14.2).
"""

import re
from enum import Enum, auto
from typing import Any

from vestibule.crypto.digests import equal, s256
from vestibule.errors import InvalidGrant, InvalidScope, InvalidTarget
from vestibule.model import CodeRecord, RefreshRecord
from vestibule.oauth.params import STANDARD_SCOPES, parse_scope
from vestibule.oauth.resources import canonical

STRAGGLER_SECONDS = 60
"""A refresh token used so recently is a race, not a theft."""

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def check_code(
    record: CodeRecord,
    *,
    client_id: str,
    redirect_uri: str | None,
    verifier: str | None,
    resource: str | None,
    now: int,
) -> None:
    """RFC 6749 §4.1.3, RFC 7636 §4.6, RFC 8707 §2.2. `resource` is canonical (`resources.requested_resource`).

    Whether the code was used before is the store's to say: a replay that passes here is fully valid and revokes what
    the code gave (RFC 6749 §4.1.2), any other is only refused. The resource comes last, so that nobody but the owner
    of a code learns what it is bound to.
    """
    for broken, slug in (
        (now >= record.expires_at, "code_expired"),
        (client_id != record.client_id, "code_of_another_client"),
        # OAuth 2.1 drops the parameter; §4.1.3 wants the identical value, so absence is fine and difference is not.
        (redirect_uri is not None and redirect_uri != record.redirect_uri, "redirect_uri_differs"),
        (verifier is None, "verifier_missing"),  # CVE-2025-4144: leaving it out must not skip the check
        (not _VERIFIER.fullmatch(verifier or ""), "verifier_malformed"),  # RFC 7636 §4.1
        (not equal(s256(verifier or ""), record.challenge), "verifier_wrong"),
    ):
        if broken:
            raise InvalidGrant(slug)
    _check_resource(record.resource, resource)


def check_refresh(*, owner: str, bound: str, client_id: str, resource: str | None) -> None:
    """A refresh token serves the client it was issued to (RFC 6749 §6, CVE-2026-55672) and its resource only."""
    if client_id != owner:
        raise InvalidGrant("refresh_of_another_client")
    _check_resource(bound, resource)


def _check_resource(bound: str, requested: str | None) -> None:
    if requested is not None and requested != canonical(bound):
        raise InvalidTarget("resource_differs")


class RefreshOutcome(Enum):
    ROTATE = auto()
    """Issue a successor."""
    REPLAY = auto()
    """The answer was lost on its way: repeat it, after policy is asked again."""
    LATE = auto()
    """A straggler of a race: invalid_grant, nothing is revoked."""
    EXPIRED = auto()
    """Never used and too old: invalid_grant, nothing is revoked."""
    REUSE = auto()
    """Somebody kept a token that was spent: invalid_grant, and the family is revoked (RFC 9700 §4.14.2)."""


def judge_refresh(record: RefreshRecord, successor_used: bool, now: int, replay_seconds: int) -> RefreshOutcome:
    """What a presented refresh token means; the first row that applies decides. Intervals exclude their end."""
    used = record.used_at is not None
    age = max(0, now - (record.used_at or 0))  # clocks of replicas differ; less than none is none
    repeatable = not successor_used and record.successor_sealed is not None
    for applies, outcome in (
        (not used and now >= record.expires_at, RefreshOutcome.EXPIRED),
        (not used, RefreshOutcome.ROTATE),
        (repeatable and age < min(replay_seconds, STRAGGLER_SECONDS), RefreshOutcome.REPLAY),
        (age < STRAGGLER_SECONDS, RefreshOutcome.LATE),
    ):
        if applies:
            return outcome
    return RefreshOutcome.REUSE


def narrow(granted: tuple[str, ...], requested_scope: str | None) -> tuple[str, ...]:
    """The permissions of one refresh: all that were granted, or the named part of them, never more (RFC 6749 §6)."""
    requested = frozenset(parse_scope(requested_scope)) - (STANDARD_SCOPES - frozenset(granted))
    if not requested <= frozenset(granted):
        raise InvalidScope("scope_not_granted", description="The scope exceeds what was granted.")
    return tuple(permission for permission in granted if permission in requested) or granted


def token_response(
    access_token: str, expires_in: int, refresh_token: str | None, permissions: tuple[str, ...]
) -> dict[str, Any]:
    """RFC 6749 §5.1. `scope` is always sent: it is required where it differs from what was requested."""
    response: dict[str, Any] = {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": expires_in,
        "scope": " ".join(permissions),
    }
    if refresh_token is not None:
        response["refresh_token"] = refresh_token
    return response
