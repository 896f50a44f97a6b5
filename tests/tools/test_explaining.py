"""What `explain` writes down is what the real conversations send."""

import json

import msgspec
import pytest

from vestibule import catalog
from vestibule.provider.pattern import Pattern
from vestibule.provider.provider import DefinitionError
from vestibule.tools.explaining import explain
from vestibule.tools.invention import Unknown, example

PLAIN = {
    "title": "Acme",
    "authorize": {"url": "https://acme.com/authorize"},
    "token": {"url": "https://acme.com/token"},
    "identity": {"calls": {"me": {"url": "https://acme.com/me"}}, "map": {"sub": "me.id"}},
}


def explained(change=None, **options):
    return explain("acme", PLAIN | (change or {}), **options)


def requests(explanation, stage=None):
    return {r.label: r for s in explanation.stages for r in s.requests if stage in (None, s.title)}


def test_a_plain_login():
    """RFC 6749 §4.1, RFC 7636, RFC 6750."""
    made = requests(explained(scopes=("read",)))
    assert list(made) == ["authorize", "callback", "token", "identity.me", "refresh"]
    assert made["authorize"].url == "https://acme.com/authorize"
    assert dict(made["authorize"].query) == {
        "response_type": "code",
        "client_id": "CLIENT_ID",
        "redirect_uri": "REDIRECT_URI",
        "state": "STATE",
        "scope": "read",
        "code_challenge": "CODE_CHALLENGE",
        "code_challenge_method": "S256",
    }
    assert (made["token"].method, made["token"].url) == ("POST", "https://acme.com/token")
    assert dict(made["token"].form) == {
        "grant_type": "authorization_code",
        "code": "CODE",
        "redirect_uri": "REDIRECT_URI",
        "code_verifier": "CODE_VERIFIER",
        "client_id": "CLIENT_ID",
        "client_secret": "CLIENT_SECRET",
    }
    assert dict(made["identity.me"].headers)["Authorization"] == "Bearer ACCESS_TOKEN"
    assert dict(made["identity.me"].reads) == {"sub": "me.id"}
    assert dict(made["refresh"].form)["refresh_token"] == "REFRESH_TOKEN"


@pytest.mark.parametrize(
    ("change", "label", "part", "expected"),
    [
        ({"client": {"auth": "basic"}}, "token", "headers", {"Authorization": "Basic base64(CLIENT_ID:CLIENT_SECRET)"}),
        ({"token": {"url": "https://a.com/t", "json": {}}}, "token", "json", {"code": "CODE"}),
        ({"token": {"url": "https://a.com/t", "method": "GET"}}, "token", "query", {"code": "CODE"}),
        ({"pkce": "plain"}, "authorize", "query", {"code_challenge": "CODE_VERIFIER"}),
        ({"callback": {"mode": "form_post", "code": "auth_code"}}, "callback", "form", {"auth_code": "CODE"}),
        (
            {"revoke": {"url": "https://a.com/r", "form": {"proof": "${access_token|sha256_hex}"}}},
            "revoke",
            "form",
            {"proof": "${access_token|sha256_hex}"},
        ),
        (
            {"exchange": {"long": {"url": "https://a.com/x", "form": {"t": "${access_token}"}}}},
            "exchange.long",
            "form",
            {"t": "ACCESS_TOKEN"},
        ),
        (
            {"exchange": {"long": {"url": "https://a.com/x"}}},
            "identity.me",
            "headers",
            {"Authorization": "Bearer LONG_ACCESS_TOKEN"},
        ),
    ],
)
def test_requests_show(change, label, part, expected):
    shown = getattr(requests(explained(change))[label], part)
    assert expected.items() <= dict(shown).items()


def test_conditions_are_notes_and_no_request_is_left_out():
    calls = {
        "me": {"url": "https://a.com/me", "ok": "ok"},
        "orgs": {"url": "https://a.com/orgs", "when": "me.staff", "optional": True, "paginate": "link"},
    }
    made = requests(explained({"identity": {"calls": calls, "map": {"sub": "me.id"}}}))
    assert made["identity.me"].notes == ("an error unless ok",)
    assert made["identity.orgs"].notes[:2] == ("only where me.staff", "optional: a refusal is no error")


def test_discovered_addresses_are_marked():
    raw = {"title": "A", "params": {"i": {"required": True}}, "oidc": {"issuer": "${p.i}"}}
    explanation = explain("a", raw, params={"i": "https://id.acme.com"})
    made = [(r.method, r.url) for r in explanation.stages[0].requests]
    assert made == [
        ("GET", "https://id.acme.com/.well-known/openid-configuration"),
        ("GET", "{authorization_endpoint}"),
        ("GET", "REDIRECT_URI"),
        ("POST", "{token_endpoint}"),
        ("GET", "{jwks_uri}"),
        ("GET", "{userinfo_endpoint}"),
    ]


def test_a_client_assertion_is_shown_as_what_it_says():
    """RFC 7523 §3."""
    raw = {"client": {"auth": "private_key_jwt", "jwt": {"alg": "ES256", "kid": "k1"}}}
    shown = dict(requests(explained(raw))["token"].form)["client_assertion"]
    assert shown.startswith("JWT(ES256, kid k1; iss: CLIENT_ID, sub: CLIENT_ID, aud: https://acme.com/token")
    assert shown.endswith("exp: NOW+300)")


def test_a_captured_host_is_an_example_that_its_pattern_admits():
    raw = {
        "params": {"host": {"from": "t.domain", "pattern": r"https://www\.acmeapis\.(com|eu)", "required": True}},
        "identity": {"calls": {"me": {"url": "${p.host}/me"}}, "map": {"sub": "me.id"}},
    }
    made = requests(explained(raw))
    assert made["identity.me"].url == "https://www.acmeapis.com/me"
    assert ("p.host", "t.domain") in made["token"].reads


@pytest.mark.parametrize("name", catalog.names())
def test_every_definition_of_the_catalog_is_explained_to_its_end(name):
    explanation = explain(name, catalog.load(name, catalog.directory()).raw)
    assert not [note for stage in explanation.stages for note in stage.notes if "ends here" in note]
    labels = requests(explanation, "Login")
    assert {"authorize", "callback", "token"} <= set(labels)
    text = msgspec.json.encode(explanation).decode()
    for made_up in ("discovered.invalid", "Vestibule-Call", "1000000000"):
        assert made_up not in text
    json.loads(text)


@pytest.mark.parametrize(
    ("pattern", "name", "text"),
    [
        ("https://[^/]+", "host", "https://host"),
        ("[A-Z0-9]{10}", "key_id", "XXXXXXXXXX"),
        ("[A-Z0-9]+", "key_id", "KEYID"),
        (r"https://accounts\.zoho\.(com|eu)", "host", "https://accounts.zoho.com"),
        (r"[a-z0-9-]+\.myshopify\.com", "shop", "shop.myshopify.com"),
    ],
)
def test_examples_are_as_readable_as_the_pattern_allows(pattern, name, text):
    assert example(Pattern(pattern), name) == text


def test_what_cannot_be_guessed_is_asked_for():
    raw = {"params": {"p": {"required": True, "pattern": "a{3}b{200}"}}}
    with pytest.raises(Unknown) as unknown:
        explained(raw)
    assert unknown.value.args == ("p", "a{3}b{200}")
    assert explained(raw, params={"p": "aaa" + "b" * 200}).params


def test_a_broken_definition_is_refused_as_everywhere():
    with pytest.raises(DefinitionError):
        explained({"token": {"url": "https://a.com/t", "nonsense": 1}})
