"""Nothing secret is shown, for three independent reasons; what people need to read still is."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.tools.masking import Masker, mask

CANARY = "canary/Zk3vT0xq8Yw1+nB5uJ7sD2fG"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("gho_" + "x" * 36, "gho_…36 more"), ("short-secret", "…12 characters"), ("x" * 19, "…19 characters")],
)
def test_a_mask_shows_four_characters_of_a_long_secret_only(text, shown):
    assert mask(text) == shown


@pytest.mark.parametrize(
    "form",
    [
        CANARY,
        quote(CANARY, safe=""),
        base64.b64encode(CANARY.encode()).decode(),
        CANARY.encode().hex(),
        f"https://acme.com/{CANARY}?x={CANARY}",
        f"Bearer {CANARY}",
        f'{{"a": "{CANARY}"}}',
    ],
)
@pytest.mark.parametrize("name", ["plain", "scope", "error", "client_id", "token"])
def test_a_known_secret_is_masked_wherever_it_turns_up(form, name):
    masker = Masker([CANARY])
    for shown in (masker.value(name, form), masker.text(form)):
        assert CANARY[4:12] not in shown
        assert form not in shown


@pytest.mark.parametrize(
    "name",
    ["access_token", "refreshToken", "id_token", "client_secret", "client_assertion", "password", "Authorization",
     "X-Acme-Token", "code", "code_verifier", "api_key", "appsecret_proof", "set-cookie", "private_key", "state"],
)  # fmt: skip
def test_a_value_is_masked_by_its_name(name):
    assert "hunter2" not in Masker().value(name, "hunter2")


@pytest.mark.parametrize(
    "value",
    ["eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "ghs_16C7e42F292c6912E7710c838347Ae178B4a", "f" * 64,
     "https://hooks.acme.com/services/T00000000/B00000000/xxXX1111yyYY2222"],
)  # fmt: skip
def test_a_value_is_masked_by_its_looks(value):
    assert value[-12:] not in Masker().value("anything", value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scope", "read:user user:email https://www.googleapis.com/auth/userinfo.email"),
        ("email", "person.with.a.long.name@department.example.com"),
        ("redirect_uri", "http://127.0.0.1:8080/oauth/callback/github"),
        ("expires_at", "2026-11-23T17:02:50.528075Z"),
        ("id", "5152e316-3c82-4ea5-9a45-8c7006c372a3"),
        ("name", "Ångström-Müller, Dr. h. c. Maximiliane"),
        ("picture", "https://avatars.example.com/u/583231"),
        ("token_type", "Bearer"),
    ],
)
def test_what_people_need_stays_readable(name, value):
    assert Masker().value(name, value) == value


def test_a_document_keeps_its_shape():
    """What is inside of something secret is secret; numbers too."""
    document = {
        "user": {"id": 7, "ok": True},
        "token": {"value": "abcdefgh", "pin": 12345678},
        "list": [{"code": "x1"}],
    }
    assert Masker().document(document) == {
        "user": {"id": 7, "ok": True},
        "token": {"value": "…8 characters", "pin": "…8 characters"},
        "list": [{"code": "…2 characters"}],
    }


def test_a_page_is_shown_without_tags_and_in_part():
    shown = Masker([CANARY]).body(f"<html><p>Oops {CANARY}</p>{'x ' * 900}".encode(), None)
    assert shown.startswith("Oops cana…")
    assert len(shown) <= 400


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=8, max_size=60), st.text(max_size=20))
def test_a_known_secret_never_survives(secret, around):
    masker = Masker([secret])
    assert (
        secret not in masker.text(around + secret + around)
        or secret in masker.text(around + around)
        or (secret in mask(secret))
    )
