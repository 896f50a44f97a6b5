"""Codes, refresh tokens and token responses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from vestibule.errors import InvalidGrant, InvalidScope, InvalidTarget
from vestibule.model import CodeRecord, RefreshRecord
from vestibule.oauth.grants import RefreshOutcome, check_code, check_refresh, judge_refresh, narrow, token_response

# RFC 7636 Appendix B
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
CODE = CodeRecord(
    digest=b"",
    family_id="f1",
    client_id="c1",
    redirect_uri="https://app.example/cb",
    challenge=CHALLENGE,
    resource="https://gate.example/mcp",
    expires_at=1060,
    used_at=None,
)
GOOD = {
    "client_id": "c1",
    "redirect_uri": "https://app.example/cb",
    "verifier": VERIFIER,
    "resource": "https://gate.example/mcp",
    "now": 1000,
}


@pytest.mark.parametrize("change", [{}, {"redirect_uri": None}, {"resource": None}, {"now": 1059}], ids=str)
def test_code_is_good(change):
    """RFC 6749 §4.1.3; OAuth 2.1 drops redirect_uri here, RFC 8707 §2.2 leaves resource optional."""
    check_code(CODE, **GOOD | change)


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"now": 1060}, "code_expired"),
        ({"client_id": "c2"}, "code_of_another_client"),
        ({"redirect_uri": "https://app.example/cb/"}, "redirect_uri_differs"),
        ({"redirect_uri": "https://evil.example/cb"}, "redirect_uri_differs"),
        ({"redirect_uri": ""}, "redirect_uri_differs"),
        ({"verifier": "w" * 43}, "verifier_wrong"),
        ({"verifier": CHALLENGE}, "verifier_wrong"),
        ({"verifier": VERIFIER[:-1]}, "verifier_malformed"),
        ({"verifier": "w" * 129}, "verifier_malformed"),
        ({"verifier": VERIFIER + "\n"}, "verifier_malformed"),
        ({"verifier": "é" * 43}, "verifier_malformed"),
    ],
)
def test_code_is_refused_when(change, slug):
    """RFC 6749 §5.2: all are invalid_grant, and the reply does not say which."""
    with pytest.raises(InvalidGrant) as refused:
        check_code(CODE, **GOOD | change)
    assert refused.value.slug == slug
    assert refused.value.public == InvalidGrant.description


@pytest.mark.parametrize("verifier", [None, ""])
def test_attack_pkce_dropped_at_the_token_step(verifier):
    """CVE-2025-4144: a missing verifier does not skip the check, not even where no challenge was stored."""
    for record in (CODE, structs.replace(CODE, challenge="")):
        with pytest.raises(InvalidGrant):
            check_code(record, **GOOD | {"verifier": verifier})


def test_attack_verifier_without_challenge():
    """OAuth 2.1 §4.1.3 (PKCE downgrade): a code without a stored challenge is worth nothing."""
    with pytest.raises(InvalidGrant):
        check_code(structs.replace(CODE, challenge=""), **GOOD)


def test_attack_code_of_another_client():
    """RFC 6749 §4.1.3: a stolen code with everything else right, redeemed by the thief's own client."""
    with pytest.raises(InvalidGrant) as refused:
        check_code(CODE, **GOOD | {"client_id": "thief"})
    assert refused.value.slug == "code_of_another_client"


@pytest.mark.parametrize(
    "resource", ["https://gate.example", "https://gate.example/mcp/admin", "https://x.example/mcp"]
)
def test_resource_must_be_the_bound_one(resource):
    """RFC 8707 §2.2: a code or refresh token for one resource gives no key for another."""
    with pytest.raises(InvalidTarget):
        check_code(CODE, **GOOD | {"resource": resource})
    with pytest.raises(InvalidTarget):
        check_refresh(owner="c1", bound="https://gate.example/mcp", client_id="c1", resource=resource)


def test_attack_refresh_token_of_another_client():
    """RFC 6749 §6, CVE-2026-55672."""
    check_refresh(owner="c1", bound="https://gate.example/mcp", client_id="c1", resource=None)
    check_refresh(owner="c1", bound="https://gate.example/mcp/", client_id="c1", resource="https://gate.example/mcp")
    with pytest.raises(InvalidGrant):
        check_refresh(owner="c1", bound="https://gate.example/mcp", client_id="thief", resource=None)


REFRESH = RefreshRecord(
    digest=b"",
    family_id="f1",
    generation=1,
    created_at=0,
    expires_at=5000,
    used_at=None,
    successor_sealed=None,
    replay_until=None,
)
USED = structs.replace(REFRESH, used_at=1000, successor_sealed=b"sealed", replay_until=1030)


@pytest.mark.parametrize(
    ("record", "successor_used", "now", "replay_seconds", "outcome"),
    [
        (REFRESH, False, 4999, 30, RefreshOutcome.ROTATE),
        (REFRESH, False, 5000, 30, RefreshOutcome.EXPIRED),
        (USED, False, 1000, 30, RefreshOutcome.REPLAY),
        (USED, False, 1029, 30, RefreshOutcome.REPLAY),
        (USED, False, 995, 30, RefreshOutcome.REPLAY),  # another replica's clock is behind
        (USED, False, 1030, 30, RefreshOutcome.LATE),
        (USED, False, 1059, 60, RefreshOutcome.REPLAY),
        (USED, False, 1059, 30, RefreshOutcome.LATE),
        (USED, False, 1000, 0, RefreshOutcome.LATE),
        (USED, False, 995, 0, RefreshOutcome.LATE),
        (USED, True, 1000, 30, RefreshOutcome.LATE),
        (USED, True, 1059, 30, RefreshOutcome.LATE),
        (USED, True, 1060, 30, RefreshOutcome.REUSE),
        (USED, False, 1060, 30, RefreshOutcome.REUSE),
        (USED, False, 1060, 3600, RefreshOutcome.REUSE),
        (USED, False, 9000, 30, RefreshOutcome.REUSE),  # long expired as well
        (structs.replace(USED, successor_sealed=None), False, 1001, 30, RefreshOutcome.LATE),
        (structs.replace(USED, used_at=0), True, 9000, 30, RefreshOutcome.REUSE),
    ],
)
def test_judge_refresh(record, successor_used, now, replay_seconds, outcome):
    """Exactly-once rotation: repeat for seconds, forgive for a minute, then reuse detection (RFC 9700 §4.14.2)."""
    assert judge_refresh(record, successor_used, now, replay_seconds) is outcome


def test_attack_thief_refreshes_inside_the_replay_window():
    """Once the successor is used, the old token gives nothing more; it is never rotated twice."""
    outcomes = {judge_refresh(USED, True, now, 60) for now in range(1000, 2000)}
    assert outcomes == {RefreshOutcome.LATE, RefreshOutcome.REUSE}


@given(st.booleans(), st.integers(0, 10_000), st.integers(0, 60))
def test_a_used_token_never_rotates(successor_used, now, replay_seconds):
    """RFC 9700 §4.14.2: one token, one successor."""
    assert judge_refresh(USED, successor_used, now, replay_seconds) is not RefreshOutcome.ROTATE


@pytest.mark.parametrize(
    ("granted", "requested", "expected"),
    [
        (("read", "write"), None, ("read", "write")),
        (("read", "write"), "read", ("read",)),
        (("read", "write"), "write read", ("read", "write")),
        (("read", "write"), "read offline_access", ("read",)),
        (("read", "write"), "offline_access", ("read", "write")),
        (("email", "read"), "email", ("email",)),
    ],
)
def test_narrow(granted, requested, expected):
    """RFC 6749 §6: omitted means all; a part is a part."""
    assert narrow(granted, requested) == expected


@pytest.mark.parametrize("requested", ["admin", "read admin", "READ", 'read"'])
def test_attack_scope_widened_at_refresh(requested):
    """RFC 6749 §6: MUST NOT include any scope not originally granted."""
    with pytest.raises(InvalidScope):
        narrow(("read",), requested)


def test_token_response():
    """RFC 6749 §5.1."""
    assert token_response("at", 3600, None, ("read", "write")) == {
        "access_token": "at",
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "read write",
    }
    assert token_response("at", 3600, "rt", ("read",))["refresh_token"] == "rt"
