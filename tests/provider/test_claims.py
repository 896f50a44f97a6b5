"""OIDC Core §3.1.3.7, one row a claim."""

import math

import pytest

from provider.driver import NOW
from vestibule.provider.claims import problem_of

GOOD = {"iss": "https://i", "aud": "c", "exp": NOW + 300, "iat": NOW, "nonce": "n", "sub": "u"}
EXPECTED = {"issuer": "https://i", "audience": "c", "client_id": "c", "nonce": "n", "now": NOW}
GONE = object()


def changed(change):
    return {key: value for key, value in (GOOD | change).items() if value is not GONE}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"aud": ["c"]},
        {"aud": ["c", "other"], "azp": "c"},
        {"azp": "c"},
        {"exp": NOW - 59},
        {"exp": NOW + 1.5},
        {"iat": NOW + 60},
        {"nbf": NOW + 60},
    ],
    ids=str,
)
def test_claims_hold(change):
    """Sixty seconds of leeway, and both spellings of `aud`."""
    assert problem_of(changed(change), **EXPECTED) is None


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"iss": "https://other"}, "id_token_issuer"),
        ({"iss": "https://i/"}, "id_token_issuer"),
        ({"iss": GONE}, "id_token_issuer"),
        ({"iss": ["https://i"]}, "id_token_issuer"),
        ({"aud": "other"}, "id_token_audience"),
        ({"aud": GONE}, "id_token_audience"),
        ({"aud": []}, "id_token_audience"),
        ({"aud": {"c": 1}}, "id_token_audience"),
        ({"aud": ["c", 5]}, "id_token_audience"),
        ({"aud": ["c", "other"]}, "id_token_authorized_party"),
        ({"aud": ["c", "other"], "azp": "other"}, "id_token_authorized_party"),
        ({"azp": "other"}, "id_token_authorized_party"),
        ({"exp": NOW - 60}, "id_token_expired"),
        ({"exp": GONE}, "id_token_expired"),
        ({"exp": str(NOW + 300)}, "id_token_expired"),
        ({"exp": True}, "id_token_expired"),
        ({"exp": math.nan}, "id_token_expired"),
        ({"exp": math.inf}, "id_token_expired"),
        ({"exp": 10**400}, "id_token_expired"),
        ({"iat": GONE}, "id_token_issued_at"),
        ({"iat": NOW + 61}, "id_token_issued_at"),
        ({"iat": -1}, "id_token_issued_at"),
        ({"nbf": NOW + 61}, "id_token_not_before"),
        ({"nbf": "soon"}, "id_token_not_before"),
        ({"nonce": "m"}, "id_token_nonce"),
        ({"nonce": GONE}, "id_token_nonce"),
        ({"nonce": 5}, "id_token_nonce"),
        ({"nonce": "\ud800"}, "id_token_nonce"),
        ({"sub": GONE}, "id_token_subject"),
        ({"sub": ""}, "id_token_subject"),
        ({"sub": 5}, "id_token_subject"),
    ],
    ids=str,
)
def test_claims_are_refused(change, slug):
    """What is wrong, missing or of another type is refused, each with a slug of its own."""
    assert problem_of(changed(change), **EXPECTED) == slug


def test_unknown_expectations_refuse():
    """An issuer or audience template that yields null matches nothing, not everything."""
    assert problem_of(GOOD | {"iss": None}, **EXPECTED | {"issuer": None}) == "id_token_issuer"
    assert problem_of(GOOD | {"aud": None}, **EXPECTED | {"audience": None}) == "id_token_audience"


def test_no_nonce_was_sent():
    """`nonce: off`, and tokens renewed later (OIDC Core §12.2)."""
    assert problem_of(changed({"nonce": GONE}), **EXPECTED | {"nonce": None}) is None
