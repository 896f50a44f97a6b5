"""OpenID Connect: discovery, id_tokens signed by real keys, userinfo."""

import base64
import hashlib
import hmac
import json

import pytest

from provider.driver import ISSUER, METADATA, MOMENT, NOW, REDIRECT, compiled, lines, oidc, query, reply, run
from provider.id_tokens import CLAIMS, EC, KEYS, OTHER, RSA, signed
from vestibule.model import HttpFailure, Secret, Tokens
from vestibule.provider import wire
from vestibule.provider.flow import Denied, Identified, ProviderFailed

USERINFO = {
    "sub": "u1",
    "email": "info@x.example",
    "email_verified": "true",
    "preferred_username": "u",
    "groups": ["g"],
}


def identify(id_token, *answers, provider=None, nonce="the-nonce", metadata=METADATA):
    tokens = Tokens(access_token=Secret("at"), id_token=Secret(id_token) if id_token else None, scopes=("openid",))
    conversation = wire.identify(provider or oidc(), tokens, nonce=nonce, **MOMENT)
    return run(conversation, reply(metadata), *answers)


def start(provider, *metadata, verifier="v" * 43):
    conversation = wire.start(
        provider,
        redirect_uri=REDIRECT,
        state="st",
        nonce="n",
        scopes=provider.scopes_for([]),
        verifier=verifier,
        **MOMENT,
    )
    return run(conversation, *metadata)


# --- discovery -------------------------------------------------------------------------------------------------------


def test_discovery_fills_in_the_urls():
    """OIDC Discovery §4: cached for an hour, and trusted, because the admin named the issuer."""
    event, (call,) = start(oidc(), reply(METADATA))
    assert call.url == f"{ISSUER}/.well-known/openid-configuration"
    assert (call.method, call.trusted, call.cache_seconds, call.fresh) == ("GET", True, 3600, False)
    assert event.url.startswith(f"{ISSUER}/authorize?")
    assert query(event.url)["nonce"] == "n"


def test_discovery_below_a_path():
    """OIDC Discovery §4.1: a terminating slash of the issuer is removed for the URL, and kept in the comparison."""
    provider = compiled("oidc", params={"issuer": f"{ISSUER}/realms/a/"})
    document = reply(METADATA | {"issuer": f"{ISSUER}/realms/a"})
    event, (call, _) = start(provider, document, document)
    assert call.url == f"{ISSUER}/realms/a/.well-known/openid-configuration"
    assert event.slug == "discovery_issuer"


@pytest.mark.parametrize(
    ("metadata", "kind", "slug"),
    [
        (reply(METADATA | {"issuer": "https://evil.example"}), "misconfigured", "discovery_issuer"),
        (reply(METADATA | {"issuer": f"{ISSUER}/"}), "misconfigured", "discovery_issuer"),
        (reply(METADATA | {"issuer": None}), "misconfigured", "discovery_issuer"),
        (reply(METADATA | {"issuer": [ISSUER]}), "misconfigured", "discovery_issuer"),
        (reply({}), "misconfigured", "discovery_issuer"),
        (reply([METADATA]), "misconfigured", "metadata_unreadable"),
        (reply(b"<html>"), "misconfigured", "metadata_unreadable"),
        (reply(None, 404), "misconfigured", "provider_status"),
        (reply(None, 503), "unavailable", "provider_unavailable"),
        (HttpFailure("timeout"), "unavailable", "provider_timeout"),
        (reply(METADATA | {"authorization_endpoint": None}), "misconfigured", "endpoint_unknown"),
        (reply(METADATA | {"authorization_endpoint": {"a": 1}}), "misconfigured", "template_unrenderable"),
        (reply(METADATA | {"authorization_endpoint": "http://idp.example/a"}), "misconfigured", "endpoint_not_allowed"),
        (reply(METADATA | {"authorization_endpoint": "javascript:alert(1)"}), "misconfigured", "endpoint_not_allowed"),
        (reply(METADATA | {"authorization_endpoint": "/authorize"}), "misconfigured", "endpoint_not_allowed"),
    ],
    ids=str,
)
def test_attack_discovery_of_another_issuer(metadata, kind, slug):
    """OIDC Discovery §4.3: a document that names another issuer, or endpoints without TLS, is not used."""
    unusable = slug in {"discovery_issuer", "metadata_unreadable", "provider_status"}
    event, calls = start(oidc(), *[metadata] * (1 + unusable))
    assert (event.kind, event.slug) == (kind, slug)
    assert [call.fresh for call in calls] == [False, True][: len(calls)]


@pytest.mark.parametrize(
    "bad", [reply(b"<html>maintenance"), reply(METADATA | {"issuer": "https://old.example"})], ids=str
)
def test_unusable_metadata_is_asked_for_past_the_cache(bad):
    """A maintenance page with status 200 must not keep everybody out until it expires in the cache."""
    event, calls = start(oidc(), bad, reply(METADATA))
    assert event.url.startswith(f"{ISSUER}/authorize?")
    assert [call.fresh for call in calls] == [False, True]


@pytest.mark.parametrize("endpoint", ["token_endpoint", "jwks_uri", "userinfo_endpoint"])
def test_attack_plain_endpoint(endpoint):
    """Every endpoint is checked where it is called; the secret, the code and the token stay at home."""
    metadata = METADATA | {endpoint: "http://idp.example/x"}
    if endpoint == "token_endpoint":
        conversation = wire.redeem(
            oidc(), code="c", callback={}, redirect_uri=REDIRECT, verifier="v" * 43, scopes=(), **MOMENT
        )
        event, calls = run(conversation, reply(metadata))
    else:
        answers = [] if endpoint == "jwks_uri" else [reply(KEYS)]
        event, calls = identify(signed(), *answers, metadata=metadata)
    assert event.slug == "endpoint_not_allowed"
    assert all(call.url.startswith("https://") for call in calls)


@pytest.mark.parametrize(
    ("supported", "asked"),
    [
        (["openid", "offline_access"], True),
        (["openid"], False),
        (None, False),
        ("offline_access", False),
        ({"offline_access": 1}, False),
    ],
    ids=str,
)
def test_offline_scope_only_where_listed(supported, asked):
    """A provider that does not list `offline_access` may refuse it (OIDC Core §11)."""
    event, _ = start(oidc(), reply(METADATA | {"scopes_supported": supported}))
    assert query(event.url)["scope"] == "openid profile email" + " offline_access" * asked
    event, _ = start(oidc({"refresh": "none"}), reply(METADATA))
    assert query(event.url)["scope"] == "openid profile email"


def test_nonce_can_be_off():
    """LinkedIn puts no nonce into its id_tokens; PKCE then binds the code (RFC 9700 §2.1.1)."""
    provider = oidc({"oidc": {"nonce": "off"}})
    event, _ = start(provider, reply(METADATA))
    assert "nonce" not in query(event.url)
    claims = {key: value for key, value in CLAIMS.items() if key != "nonce"}
    event, _ = identify(signed(claims), reply(KEYS), reply(USERINFO), provider=provider)
    assert isinstance(event, Identified)


# --- id_tokens -------------------------------------------------------------------------------------------------------


def test_identity_of_an_id_token():
    """OIDC Core §3.1.3.7, §5.3: claims and userinfo; an address and its verification come from the same document."""
    event, calls = identify(signed(), reply(KEYS), reply(USERINFO))
    identity = event.identity
    assert lines(calls)[1:] == [f"GET {ISSUER}/keys", f"GET {ISSUER}/userinfo"]
    assert (identity.provider, identity.subject, identity.name) == ("oidc", "u1", "From Token")
    assert (identity.email, identity.email_verified) == ("info@x.example", True)
    assert (identity.login, identity.groups) == ("u", ("g",))
    event, _ = identify(signed(), reply(KEYS), reply({"sub": "u1", "email_verified": False}))
    assert (event.identity.email, event.identity.email_verified) == ("id@x.example", True)
    event, _ = identify(signed(), reply(KEYS), reply({"sub": "u1", "email": "new@x.example"}))
    assert (event.identity.email, event.identity.email_verified) == ("new@x.example", False)


def test_elliptic_curves_are_allowed():
    """RFC 8725 §3.2: any of the listed public-key algorithms."""
    event, _ = identify(signed(key=EC, alg="ES256"), reply(KEYS), reply(USERINFO))
    assert isinstance(event, Identified)


def test_provider_without_userinfo():
    """The endpoint is only RECOMMENDED (OIDC Discovery §3)."""
    metadata = {key: value for key, value in METADATA.items() if key != "userinfo_endpoint"}
    event, calls = identify(signed(), reply(KEYS), metadata=metadata)
    assert event.identity.email == "id@x.example"
    assert len(calls) == 2


def hs256_with_the_public_key():
    """The oldest trick: the RSA public key, which everybody has, as an HMAC secret."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head = part(json.dumps({"alg": "HS256", "kid": "r1"}).encode()) + b"." + part(json.dumps(CLAIMS).encode())
    return (head + b"." + part(hmac.digest(RSA.export_to_pem(), head, hashlib.sha256))).decode()


def unsigned():
    def part(document):
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'kid': 'r1'})}.{part(CLAIMS)}."


@pytest.mark.parametrize(
    ("id_token", "slug"),
    [
        (unsigned(), "id_token_signature"),
        (hs256_with_the_public_key(), "id_token_signature"),
        (signed(key=OTHER), "id_token_signature"),
        (signed()[:-8], "id_token_signature"),
        (signed(CLAIMS | {"sub": "u2"}).rpartition(".")[0] + "." + signed().rpartition(".")[2], "id_token_signature"),
        ("not a token", "id_token_signature"),
        ("a.b.c", "id_token_signature"),
        (signed("text"), "id_token_signature"),
        (signed(CLAIMS | {"iss": "https://evil.example"}), "id_token_issuer"),
        (signed(CLAIMS | {"aud": "another client"}), "id_token_audience"),
        (signed(CLAIMS | {"aud": ["the client", "another"]}), "id_token_authorized_party"),
        (signed(CLAIMS | {"exp": NOW - 3600}), "id_token_expired"),
        (signed({key: value for key, value in CLAIMS.items() if key != "exp"}), "id_token_expired"),
        (signed(CLAIMS | {"iat": NOW + 3600}), "id_token_issued_at"),
        (signed(CLAIMS | {"nonce": "of another login"}), "id_token_nonce"),
        (signed({key: value for key, value in CLAIMS.items() if key != "nonce"}), "id_token_nonce"),
        (signed(CLAIMS | {"sub": None}), "id_token_subject"),
    ],
    ids=lambda value: value[-24:],
)
def test_attack_id_token(id_token, slug):
    """OIDC Core §3.1.3.7: alg none, HS256 with an RSA key, forged, foreign, expired, replayed: the end."""
    event, calls = identify(id_token, reply(KEYS))
    assert isinstance(event, ProviderFailed)
    assert (event.kind, event.slug) == ("misconfigured", slug)
    assert len(calls) == 2


def test_algorithms_can_be_narrowed():
    """RFC 8725 §3.1: the caller names the algorithms, not the token."""
    provider = oidc({"oidc": {"algs": ["ES256"]}})
    assert identify(signed(), reply(KEYS), provider=provider)[0].slug == "id_token_signature"


def test_unknown_kid_is_looked_for_once():
    """OIDC Core §10.1.1: keys rotate. The second look skips the cache."""
    old = {"keys": [EC.export_public(as_dict=True)]}
    event, calls = identify(signed(), reply(old), reply(KEYS), reply(USERINFO))
    assert isinstance(event, Identified)
    assert [(call.url, call.fresh) for call in calls[1:3]] == [(f"{ISSUER}/keys", False), (f"{ISSUER}/keys", True)]


def test_attack_made_up_kid():
    """A kid that nobody has costs one more request and no more."""
    event, calls = identify(signed(kid="made-up"), reply(KEYS), reply(KEYS))
    assert event.slug == "id_token_signature"
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (reply([]), "misconfigured"),
        (reply({"keys": 5}), "misconfigured"),
        (reply({"keys": [5]}), "misconfigured"),
        (reply({"keys": [{"kty": "RSA", "kid": "r1"}]}), "misconfigured"),
        (reply(b"<html>"), "misconfigured"),
        (reply(None, 500), "unavailable"),
        (HttpFailure("connect"), "unavailable"),
    ],
    ids=str,
)
def test_key_set_that_cannot_be_read(keys, kind):
    """Malformed key sets never raise, and never verify."""
    tokens = Tokens(access_token=Secret("at"), id_token=Secret(signed()))
    conversation = wire.identify(oidc(), tokens, nonce="the-nonce", **MOMENT)
    try:
        event, _ = run(conversation, reply(METADATA), keys)
    except IndexError:  # a set without the key is asked for once more
        event, _ = run(wire.identify(oidc(), tokens, nonce="the-nonce", **MOMENT), reply(METADATA), keys, keys)
    assert event.kind == kind


@pytest.mark.parametrize("userinfo", [{"sub": "u2"}, {}, {"sub": None}, {"sub": ["u1"]}, ["u1"]], ids=str)
def test_attack_userinfo_of_somebody_else(userinfo):
    """OIDC Core §5.3.2: an access token of another user, slipped in beside this id_token."""
    event, _ = identify(signed(), reply(KEYS), reply(userinfo))
    assert (event.kind, event.slug) == ("misconfigured", "userinfo_subject")


def test_id_token_is_required_at_login():
    """Without it an access token of another client would log its user in (RFC 9700 §4.15 by another door)."""
    event, _ = identify(None)
    assert (event.kind, event.slug) == ("misconfigured", "id_token_missing")
    event, _ = identify(None, reply(USERINFO), provider=oidc({"oidc": {"id_token": "optional"}}))
    assert event.identity.subject == "u1"


def test_renewed_tokens_need_no_id_token():
    """OIDC Core §12.2: a refresh may bring none, and one without nonce; what is brought is verified all the same."""
    event, _ = identify(None, reply(USERINFO), nonce=None)
    assert event.identity.subject == "u1"
    claims = {key: value for key, value in CLAIMS.items() if key != "nonce"}
    event, _ = identify(signed(claims), reply(KEYS), reply(USERINFO), nonce=None)
    assert isinstance(event, Identified)
    event, _ = identify(signed(claims | {"iss": "https://evil.example"}), reply(KEYS), nonce=None)
    assert event.slug == "id_token_issuer"


def test_issuer_with_a_claim():
    """Entra: discovery names a placeholder, the id_token the tenant; both must fit the template."""
    provider = oidc({"oidc": {"issuer": "https://idp.example/${id.tid}", "discovery": "${p.issuer}/.well-known/x"}})
    metadata = METADATA | {"issuer": "https://idp.example/{tenantid}"}
    good = CLAIMS | {"tid": "t1", "iss": "https://idp.example/t1"}
    event, calls = identify(signed(good), reply(KEYS), reply(USERINFO), provider=provider, metadata=metadata)
    assert isinstance(event, Identified)
    assert calls[0].url == f"{ISSUER}/.well-known/x"
    for claims in (good | {"tid": "t2"}, good | {"tid": None}, good | {"iss": "https://idp.example/{tenantid}"}):
        event, _ = identify(signed(claims), reply(KEYS), provider=provider, metadata=metadata)
        assert event.slug == "id_token_issuer"


def test_attack_id_token_of_another_tenant():
    """OIDC Core §3.1.3.7: where discovery names one tenant, a token of another is not filled into the template."""
    provider = oidc({"oidc": {"issuer": "https://idp.example/${id.tid}", "discovery": "${p.issuer}/.well-known/x"}})
    metadata = METADATA | {"issuer": "https://idp.example/t1"}
    own = CLAIMS | {"tid": "t1", "iss": "https://idp.example/t1"}
    event, _ = identify(signed(own), reply(KEYS), reply(USERINFO), provider=provider, metadata=metadata)
    assert isinstance(event, Identified)
    other = CLAIMS | {"tid": "t2", "iss": "https://idp.example/t2"}
    event, _ = identify(signed(other), reply(KEYS), provider=provider, metadata=metadata)
    assert event.slug == "id_token_issuer"


# --- the callback ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{"code": "c"}, {"error": "access_denied"}], ids=str)
def test_attack_mix_up(params):
    """RFC 9207 §2.4: an answer that names another issuer is not read at all, errors included."""
    event = wire.read_callback(oidc(), params | {"iss": "https://evil.example"})
    assert (event.kind, event.slug) == ("refused", "callback_issuer")
    assert not isinstance(wire.read_callback(oidc(), params | {"iss": ISSUER}), ProviderFailed)
    assert not isinstance(wire.read_callback(oidc(), params), ProviderFailed)


@pytest.mark.parametrize("error", ["access_denied", "login_required", "consent_required", "interaction_required"])
def test_denial_at_the_provider(error):
    """RFC 6749 §4.1.2.1 and OIDC Core §3.1.2.6: the person or the provider said no."""
    event = wire.read_callback(oidc(), {"error": error, "error_description": 'No "way"\n<b>'})
    assert event == Denied(error, "No  way  <b>")
