"""Every key of the language: what is sent because of it, and what is read. One life of a connection, driven by hand."""

import base64
import hashlib
import hmac
import json
from urllib.parse import urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from provider.driver import (
    ISSUER,
    METADATA,
    MOMENT,
    NOW,
    PLAIN,
    REDIRECT,
    compiled,
    form,
    lines,
    oidc,
    problems,
    query,
    reply,
    run,
)
from provider.id_tokens import CLAIMS, KEYS, signed
from vestibule.crypto.digests import b64url
from vestibule.model import Secret, Tokens
from vestibule.provider import wire
from vestibule.provider.flow import CodeReturned, Denied, Identified, ProviderFailed, TokensReceived

VERIFIER = "v" * 43
CLIENT = {"client_id": "the client", "client_secret": "s:cret&"}
GRANT = {"grant_type": "authorization_code", "code": "the-code", "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
OLD = Tokens(access_token=Secret("old-at"), refresh_token=Secret("old-rt"))
AT = {"access_token": "at"}


def start(over=None, *answers, provider=None, scopes=(), **more):
    provider = provider or compiled(PLAIN, over, **more)
    conversation = wire.start(
        provider,
        redirect_uri=REDIRECT,
        state="the.state",
        nonce="the-nonce",
        scopes=provider.scopes_for(scopes),
        verifier=VERIFIER,
        **MOMENT,
    )
    return run(conversation, *answers)


def redeem(over=None, *answers, provider=None, callback=None, scopes=(), **more):
    conversation = wire.redeem(
        provider or compiled(PLAIN, over, **more),
        code="the-code",
        callback=callback or {},
        redirect_uri=REDIRECT,
        verifier=VERIFIER,
        scopes=scopes,
        **MOMENT,
    )
    return run(conversation, *(answers or [reply(AT)]))


def refresh(over=None, *answers, tokens=OLD, scopes=("a",), **more):
    conversation = wire.refresh(compiled(PLAIN, over, **more), tokens, scopes=scopes, redirect_uri=REDIRECT, **MOMENT)
    return run(conversation, *(answers or [reply(AT)]))


def revoke(over=None, *answers, **more):
    return run(wire.revoke(compiled(PLAIN, over, **more), OLD, **MOMENT), *(answers or [reply(None)]))


def identify(over=None, *answers, tokens=None, provider=None, callback=None):
    tokens = tokens or Tokens(access_token=Secret("at"), raw={"team": {"id": "T1"}}, scopes=("a",))
    conversation = wire.identify(
        provider or compiled(PLAIN, over), tokens, nonce="the-nonce", callback=callback, **MOMENT
    )
    return run(conversation, *answers)


def body(call):
    return json.loads(call.body)


# --- client authentication -------------------------------------------------------------------------------------------


def pem(key):
    return Secret(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
    )


RSA, SMALL = (rsa.generate_private_key(65537, bits) for bits in (2048, 1024))
P256, P384 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1()))
EDWARDS = ed25519.Ed25519PrivateKey.generate()
LONG_SECRET = Secret("s" * 32)
OCT = JWK(kty="oct", k=b64url(b"s" * 32))
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def opened(token, key):
    """Header and claims of a JWT whose signature fits."""
    jws = JWS()
    jws.allowed_algs = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "HS256"]
    jws.deserialize(token, key if isinstance(key, JWK) else JWK.from_pyca(key.public_key()))
    return jws.jose_header, json.loads(jws.payload)


@pytest.mark.parametrize(
    ("auth", "jwt", "key", "header"),
    [
        ("private_key_jwt", {}, RSA, {"alg": "RS256", "typ": "JWT"}),
        ("private_key_jwt", {"alg": "PS256", "kid": "k1"}, RSA, {"alg": "PS256", "typ": "JWT", "kid": "k1"}),
        ("private_key_jwt", {"alg": "ES256"}, P256, {"alg": "ES256", "typ": "JWT"}),
        ("private_key_jwt", {"alg": "ES384"}, P384, {"alg": "ES384", "typ": "JWT"}),
        ("private_key_jwt", {"alg": "EdDSA"}, EDWARDS, {"alg": "EdDSA", "typ": "JWT"}),
        ("client_secret_jwt", {}, None, {"alg": "HS256", "typ": "JWT"}),
    ],
    ids=str,
)
def test_client_assertion(auth, jwt, key, header):
    """RFC 7523 §2.2 and §3: issuer and subject are the client, the audience is the token endpoint, five minutes."""
    over = {"client": {"auth": auth, "jwt": jwt}}
    _, (call,) = redeem(over, client_key=pem(key) if key else None, client_secret=LONG_SECRET)
    sent = form(call)
    found, claims = opened(sent.pop("client_assertion"), key or OCT)
    assert sent == GRANT | {"client_id": "the client", "client_assertion_type": ASSERTION}
    assert found == header
    assert claims == {
        "iss": "the client",
        "sub": "the client",
        "aud": "https://plain.example/token",
        "jti": "the-uuid.1",
        "iat": NOW,
        "exp": NOW + 300,
    }


def test_client_assertion_is_for_the_issuer():
    """RFC 7523bis: where there is an issuer, it is the audience."""
    over = {"client": {"auth": "client_secret_jwt"}}
    provider = compiled("oidc", over, params={"issuer": ISSUER}, client_secret=LONG_SECRET)
    conversation = wire.revoke(provider, OLD, **MOMENT)
    _, calls = run(conversation, reply(METADATA), reply(None))
    assert opened(form(calls[1])["client_assertion"], OCT)[1]["aud"] == ISSUER


def test_client_assertion_without_discovery():
    """The issuer that is written down is the audience all the same: a null one would be sent to nobody."""
    urls = {"authorize": {"url": f"{ISSUER}/a"}, "token": {"url": f"{ISSUER}/t"}, "revoke": {"url": f"{ISSUER}/r"}}
    off = {"client": {"auth": "client_secret_jwt"}, "oidc": {"discovery": "off", "jwks": f"{ISSUER}/keys"}, **urls}
    off["identity"] = {"calls": {"userinfo": None}}
    provider = compiled("oidc", off, params={"issuer": ISSUER}, client_secret=LONG_SECRET)
    _, (call,) = run(wire.revoke(provider, OLD, **MOMENT), reply(None))
    assert opened(form(call)["client_assertion"], OCT)[1]["aud"] == ISSUER


def test_jwt_as_secret():
    """developer.apple.com "Creating a client secret": ES256, the team as issuer, the key's id in the header."""
    over = {
        "params": {"team": {"required": True}, "key_id": {"required": True}},
        "client": {
            "auth": "jwt_as_secret",
            "jwt": {"kid": "${p.key_id}", "iss": "${p.team}", "aud": "https://appleid.apple.com", "ttl": 600},
        },
    }
    settings = {"client_key": pem(P256), "client_secret": None, "params": {"team": "TEAM", "key_id": "KEY"}}
    for _, (call,) in (redeem(over, **settings), refresh(over, **settings), revoke(over, **settings)):
        sent = form(call)
        assert sent["client_id"] == "the client"
        header, claims = opened(sent["client_secret"], P256)
        assert header == {"alg": "ES256", "typ": "JWT", "kid": "KEY"}
        assert (claims["iss"], claims["sub"], claims["aud"]) == ("TEAM", "the client", "https://appleid.apple.com")
        assert claims["exp"] == NOW + 600


def test_attack_assertion_used_twice():
    """RFC 7523 §3: each request has a `jti` of its own, within one conversation too."""
    over = {
        "client": {"auth": "client_secret_jwt"},
        "exchange": {"more": {"url": "https://plain.example/more"}},
    }
    _, calls = redeem(over, reply(AT), reply({"access_token": "at2"}), client_secret=LONG_SECRET)
    ids = [opened(form(call)["client_assertion"], OCT)[1]["jti"] for call in calls]
    assert ids == ["the-uuid.1", "the-uuid.2"]


@pytest.mark.parametrize(
    ("client", "settings", "place", "says"),
    [
        ({"auth": "private_key_jwt"}, {}, "@client.key", "needs a private key"),
        ({"auth": "private_key_jwt"}, {"client_key": Secret("nonsense")}, "@client.key", "PEM"),
        ({"auth": "private_key_jwt"}, {"client_key": pem(P256)}, "@client.key", "RS256"),
        ({"auth": "private_key_jwt"}, {"client_key": pem(SMALL)}, "@client.key", "RS256"),
        ({"auth": "private_key_jwt", "jwt": {"alg": "ES256"}}, {"client_key": pem(P384)}, "@client.key", "ES256"),
        ({"auth": "jwt_as_secret"}, {"client_key": pem(RSA)}, "@client.key", "ES256"),
        ({"auth": "client_secret_jwt"}, {"client_secret": None}, "@client.secret", "needs a client secret"),
        ({"auth": "client_secret_jwt"}, {"client_secret": Secret("s" * 31)}, "@client.secret", "32 bytes"),
        ({"auth": "private_key_jwt", "jwt": {"alg": "none"}}, {"client_key": pem(RSA)}, "client.jwt.alg", "Invalid"),
        (
            {"auth": "private_key_jwt", "jwt": {"iss": "${client.secret.x}"}},
            {"client_key": pem(RSA)},
            "client.jwt.iss",
            "unknown",
        ),
        ({"jwt": {"iss": "x"}}, {}, "client.jwt", "`alg` is missing"),
        ({"basic_user": "${client.basic}"}, {}, "client.basic_user", "unknown"),
    ],
    ids=str,
)
def test_key_that_does_not_fit(client, settings, place, says):
    """Found when the config loads, with what was expected; the key itself is never quoted."""
    found = problems(PLAIN, over={"client": client}, **settings)
    assert [path for path, _ in found] == [place], found
    assert says in found[0][1]
    assert "nonsense" not in found[0][1]


def test_secret_as_user_name():
    """Two providers of the catalog want the secret as user name and no password."""
    _, (call,) = redeem({"client": {"auth": "basic", "basic_user": "${client.secret}", "basic_pass": ""}})
    assert dict(call.headers)["Authorization"] == "Basic " + base64.b64encode(b"s:cret&:").decode()
    assert form(call) == GRANT


# --- authorize -------------------------------------------------------------------------------------------------------


def test_parameters_behind_a_fragment():
    """Pages that route by fragment read their parameters there."""
    over = {"authorize": {"url": "https://plain.example/?a=b", "fragment": "/oauth/authorize"}}
    event, _ = start(over)
    head, tail = event.url.split("#")
    assert head == "https://plain.example/?a=b"
    assert tail.startswith("/oauth/authorize?response_type=code&")


@pytest.mark.parametrize("fragment", ["/a#b", "/a b", "/${p.x}"])
def test_attack_fragment_with_another(fragment):
    event, _ = start({"params": {"x": {"default": "#"}}, "authorize": {"fragment": fragment}})
    assert event.slug == "template_unrenderable"


def test_scopes_as_they_are():
    """`scopes.raw`: not encoded, for providers that do not decode."""
    over = {"scopes": {"raw": True, "sep": "+", "default": ["a:b", "c,d"]}}
    event, _ = start(over)
    assert urlsplit(event.url).query.endswith("&scope=a:b+c,d")
    assert "scope" not in urlsplit(start({"scopes": {"raw": True}})[0].url).query


@pytest.mark.parametrize("scope", ["a&admin=1", "a#", "a b", "a\nb", "é"])
def test_attack_raw_scope_with_another_parameter(scope):
    event, _ = start({"scopes": {"raw": True}}, scopes=[scope])
    assert event.slug == "template_unrenderable"


@pytest.mark.parametrize(
    ("pkce", "challenge", "verifier"),
    [
        ("plain", {"code_challenge": VERIFIER, "code_challenge_method": "plain"}, VERIFIER),
        ("off", {}, None),
    ],
)
def test_pkce_plain_and_off(pkce, challenge, verifier):
    """RFC 7636 §4.2."""
    event, _ = start({"pkce": pkce})
    sent = query(event.url)
    assert {name: value for name, value in sent.items() if name.startswith("code_")} == challenge
    assert form(redeem({"pkce": pkce})[1][0]).get("code_verifier") == verifier


def test_templated_query():
    """A parameter of the config, a literal, a renamed one, and one that has no value."""
    over = {
        "params": {"audience": {"default": "api.plain.example"}, "gone": {}},
        "authorize": {
            "query": {
                "client_id": None,
                "app_id": "${client.id}",
                "audience": "${p.audience}",
                "prompt": "consent",
                "gone": "${p.gone}",
                "ts": "${now}",
            }
        },
    }
    sent = query(start(over)[0].url)
    assert "client_id" not in sent
    assert "gone" not in sent
    assert (sent["app_id"], sent["audience"], sent["prompt"]) == ("the client", "api.plain.example", "consent")
    assert sent["ts"] == str(NOW)


PAR = {"authorize": {"par": {"url": "https://plain.example/par"}}}


def test_pushed_authorization_request():
    """RFC 9126 §2.1 and §4: all parameters and the client's credentials first, then the reference alone."""
    event, (call,) = start(PAR, reply({"request_uri": "urn:x:1", "expires_in": 60}, 201), scopes=["a"])
    assert call.url == "https://plain.example/par"
    assert form(call) == CLIENT | {
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "state": "the.state",
        "scope": "a",
        "code_challenge": query(start()[0].url)["code_challenge"],
        "code_challenge_method": "S256",
    }
    assert query(event.url) == {"client_id": "the client", "request_uri": "urn:x:1"}


@pytest.mark.parametrize(
    ("answer", "kind", "slug"),
    [
        (reply({}, 201), "misconfigured", "request_uri_missing"),
        (reply([], 201), "misconfigured", "request_uri_missing"),
        (reply({"request_uri": "a b"}, 201), "misconfigured", "request_uri_missing"),
        (reply({"request_uri": "u" * 5000}, 201), "misconfigured", "request_uri_missing"),
        (reply({"error": "invalid_request"}, 400), "misconfigured", "provider_error"),
        (reply({}, 503), "unavailable", "provider_unavailable"),
    ],
    ids=str,
)
def test_pushed_request_that_fails(answer, kind, slug):
    """The browser is not sent on with half a request."""
    event, _ = start(PAR, answer)
    assert (event.kind, event.slug) == (kind, slug)


@pytest.mark.parametrize(
    ("required", "over", "pushed"), [(True, {}, True), (False, {}, False), (False, {"when": None}, True)]
)
def test_request_is_pushed_where_discovery_says_so(required, over, pushed):
    """RFC 9126 §5."""
    metadata = METADATA | {
        "pushed_authorization_request_endpoint": f"{ISSUER}/par",
        "require_pushed_authorization_requests": required,
    }
    answers = [reply({"request_uri": "urn:x"}, 201)] if pushed else []
    provider = oidc({"authorize": {"par": over}})
    event, calls = start(None, reply(metadata), *answers, provider=provider)
    assert [call.url for call in calls[1:]] == ([f"{ISSUER}/par"] if pushed else [])
    assert ("request_uri" in query(event.url)) is pushed


# --- what is checked when the config loads ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("over", "settings", "place"),
    [
        ({"redirect": {"https_only": True}}, {"redirect_uri": "http://localhost:8080/cb"}, "@"),
        ({"redirect": {"loopback": False}}, {"redirect_uri": "https://localhost/cb"}, "@"),
        ({"redirect": {"loopback": False}}, {"redirect_uri": "https://127.0.0.1/cb"}, "@"),
        ({"redirect": {"loopback": False}}, {"redirect_uri": "https://10.0.0.1/cb"}, "@"),
        ({"redirect": {"loopback": False}}, {"redirect_uri": "https://[::1]/cb"}, "@"),
        ({"state": {"max": 100}}, {"state": "s" * 101}, "state.max"),
        ({"state": {"pattern": "[a-z]+"}}, {"state": "s.s"}, "state.pattern"),
    ],
    ids=str,
)
def test_provider_that_would_refuse_every_login(over, settings, place):
    """Told before the first user finds out."""
    assert [path for path, _ in problems(PLAIN, over=over, **settings)] == [place]


def test_provider_that_takes_what_there_is():
    over = {"redirect": {"https_only": True, "loopback": False}, "state": {"max": 100, "pattern": r"[\w.]+"}}
    assert compiled(PLAIN, over, redirect_uri="https://gate.example.com/cb", state="s.s")
    assert compiled(PLAIN, over)


# --- callback --------------------------------------------------------------------------------------------------------


def test_form_post_is_asked_for():
    """OAuth 2.0 Form Post Response Mode §2."""
    assert query(start({"callback": {"mode": "form_post"}})[0].url)["response_mode"] == "form_post"
    assert "response_mode" not in query(start()[0].url)


def test_other_names_in_the_callback():
    """Errors too; a code of the provider's own can mean "no" or "later"."""
    over = {
        "callback": {
            "code": "auth_code",
            "state": "st",
            "err": {"code": "fail", "description": "why", "refused": ["user_cancelled"], "unavailable": ["busy"]},
        }
    }
    provider = compiled(PLAIN, over)
    assert wire.read_callback(provider, {"auth_code": "c"}) == CodeReturned("c", {"auth_code": "c"})
    assert wire.read_callback(provider, {"fail": "user_cancelled", "why": "No."}) == Denied("user_cancelled", "No.")
    later = wire.read_callback(provider, {"fail": "busy"})
    assert (later.kind, later.slug) == ("unavailable", "provider_unavailable")
    odd = wire.read_callback(provider, {"fail": "???", "code": "c"})
    assert (odd.kind, odd.slug) == ("misconfigured", "provider_error")


def test_issuer_of_a_plain_provider():
    """RFC 9207 is for OAuth without OpenID Connect too."""
    provider = compiled(PLAIN, {"callback": {"iss": "https://plain.example"}})
    good, evil = ({"code": "c", "iss": iss} for iss in ("https://plain.example", "https://evil.example"))
    assert isinstance(wire.read_callback(provider, good), CodeReturned)
    assert wire.read_callback(provider, evil).slug == "callback_issuer"
    provider = oidc({"callback": {"iss": None}})
    assert isinstance(wire.read_callback(provider, evil), CodeReturned)


def test_attack_issuer_left_out():
    """RFC 9207 §2.4: who says that it always names itself has to."""
    metadata = reply(METADATA | {"authorization_response_iss_parameter_supported": True})
    event, calls = redeem(None, metadata, provider=oidc(), callback={"code": "c"})
    assert (event.kind, event.slug, len(calls)) == ("refused", "callback_issuer", 1)
    event, _ = redeem(None, metadata, reply(AT), provider=oidc(), callback={"code": "c", "iss": ISSUER})
    assert isinstance(event, TokensReceived)


SHOPIFY = {"callback": {"verify": {"param": "hmac", "key": "${client.secret}", "without": ["signature"]}}}
QUERY = {"code": "c", "shop": "acme.myshopify.com", "state": "the.state", "timestamp": "1337178173"}


def mac(params, key="s:cret&"):
    return hmac.new(key.encode(), urlencode(sorted(params.items())).encode(), hashlib.sha256).hexdigest()


def test_signed_callback():
    """shopify.dev "Verify the installation request"."""
    provider = compiled(PLAIN, SHOPIFY)
    params = QUERY | {"hmac": mac(QUERY), "signature": "old"}
    assert isinstance(wire.read_callback(provider, params), CodeReturned)


@pytest.mark.parametrize(
    "change",
    [
        *({"hmac": value} for value in ("", "0" * 64, mac(QUERY, "other"), mac(QUERY).upper(), "ü", mac(QUERY) + " ")),
        *({"shop": "evil.myshopify.com"}, {"code": "d"}, {"more": "x"}, {"state": ""}, {"error": "access_denied"}),
    ],
    ids=str,
)
def test_attack_callback_without_its_signature(change):
    """Nothing of it is read, errors included."""
    event = wire.read_callback(compiled(PLAIN, SHOPIFY), QUERY | {"hmac": mac(QUERY)} | change)
    assert (event.kind, event.slug) == ("refused", "callback_signature")
    assert wire.read_callback(compiled(PLAIN, SHOPIFY), QUERY).slug == "callback_signature"


# --- token and refresh requests --------------------------------------------------------------------------------------


def test_json_body():
    """One line: the defaults go where the definition's own parameters are, credentials included."""
    over = {"token": {"json": {"code": None, "auth_code": "${code}", "nested": {"a": ["${client.id}", 5, "${nope}"]}}}}
    over["params"] = {"nope": {}}
    over["token"]["json"]["nested"]["a"][2] = "${p.nope}"
    _, (call,) = redeem(over)
    expected = {key: value for key, value in GRANT.items() if key != "code"}
    assert body(call) == CLIENT | expected | {"auth_code": "the-code", "nested": {"a": ["the client", 5]}}
    assert dict(call.headers)["Content-Type"] == "application/json"
    _, (call,) = refresh(over)
    assert body(call) == CLIENT | {
        "grant_type": "refresh_token",
        "refresh_token": "old-rt",
        "nested": {"a": ["the client", 5]},
    }


def test_basic_with_json():
    """Notion."""
    _, (call,) = redeem({"client": {"auth": "basic"}, "token": {"json": {}}})
    assert body(call) == GRANT
    assert dict(call.headers)["Authorization"].startswith("Basic ")


def test_get_token_endpoint():
    """The defaults go into the query."""
    for over in ({"method": "GET"}, {"method": "GET", "form": {}}):
        _, (call,) = redeem({"token": over})
        assert (call.method, call.body) == ("GET", b"")
        assert query(call.url) == CLIENT | GRANT
    _, (call,) = refresh({"token": {"method": "GET"}})
    assert query(call.url) == CLIENT | {"grant_type": "refresh_token", "refresh_token": "old-rt"}


def test_query_and_json():
    """Some parameters here, some there."""
    over = {"token": {"json": {"client_id": None, "grant_type": None}, "query": {"client_id": "${client.id}"}}}
    _, (call,) = redeem(over)
    assert query(call.url) == {"client_id": "the client"}
    assert body(call).keys() == {"client_secret", "code", "redirect_uri", "code_verifier"}


def test_body_as_text():
    """Anything else; the defaults are not in it."""
    over = {"token": {"body": "<code>${code}</code>", "headers": {"Content-Type": "text/xml"}}, "refresh": "none"}
    _, (call,) = redeem(over)
    assert call.body == b"<code>the-code</code>"
    assert dict(call.headers)["Content-Type"] == "text/xml"


def test_omitted_and_renamed_parameters():
    """TikTok's client_key; a grant type that is left out; a refresh that says it again."""
    over = {
        "token": {"form": {"client_id": None, "client_key": "${client.id}", "grant_type": None, "redirect_uri": None}}
    }
    _, (call,) = redeem(over)
    assert form(call).keys() == {"client_key", "client_secret", "code", "code_verifier"}
    _, (call,) = refresh(over)
    assert form(call).keys() == {"client_key", "client_secret", "grant_type", "refresh_token"}


def test_scope_and_redirect_uri_where_a_provider_wants_them():
    token = {"form": {"scope": "${scope}"}}
    _, (call,) = redeem({"token": token}, scopes=("a", "b"))
    assert form(call)["scope"] == "a b"
    _, (call,) = refresh(
        {"refresh": {"form": {"scope": "${scope}", "redirect_uri": "${redirect_uri}"}}}, scopes=("a", "b")
    )
    assert (form(call)["scope"], form(call)["redirect_uri"]) == ("a b", REDIRECT)


def test_what_carries_the_code_is_not_inherited():
    """A refresh has no code: what the definition sends it in is left out without being deleted again."""
    over = {"token": {"form": {"code": None, "auth_code": "${code}", "v": "${verifier ?? ''}", "app": "1"}}}
    _, (call,) = refresh(over)
    assert form(call) == CLIENT | {"grant_type": "refresh_token", "refresh_token": "old-rt", "app": "1"}


# --- reading replies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "document", "access_token", "refresh_token", "expires_at", "scopes"),
    [
        ({"out": "data"}, {"data": {"access_token": "a", "expires_in": 5}}, "a", None, NOW + 5, None),
        (
            {"out": {"access_token": "token", "refresh_token": None, "scope": "granted"}},
            {"token": "a", "refresh_token": "r", "granted": ["x", "y"]},
            *("a", None, None, ("x", "y")),
        ),
        ({"lifetime": 60}, {"access_token": "a"}, "a", None, NOW + 60, None),
        ({"lifetime": 60}, {"access_token": "a", "expires_in": 5}, "a", None, NOW + 5, None),
        ({}, {"access_token": "a", "expires_at": (NOW + 7) * 1000}, "a", None, NOW + 7, None),
        (
            {"out": {"expires_at": "until"}},
            {"access_token": "a", "until": "2027-01-15T08:00:05Z"},
            "a",
            None,
            NOW + 5,
            None,
        ),
        (
            {"out": "authed_user"},
            {
                "ok": True,
                "access_token": "bot",
                "authed_user": {"access_token": "user", "refresh_token": "r", "scope": "x,y"},
            },
            *("user", "r", None, ("x", "y")),
        ),
    ],
    ids=str,
)
def test_token_reply(token, document, access_token, refresh_token, expires_at, scopes):
    """Envelopes, nested tokens, other names, absolute expiries, none at all."""
    event, _ = redeem({"token": token}, reply(document))
    tokens = event.tokens
    assert tokens.access_token == Secret(access_token)
    assert tokens.refresh_token == (Secret(refresh_token) if refresh_token else None)
    assert (tokens.expires_at, tokens.scopes) == (expires_at, scopes)


def test_nested_token_refreshed_at_the_top():
    """Slack: the user's token is below authed_user at first, and a refreshed one stands alone."""
    over = {"token": {"out": "authed_user"}, "refresh": {"out": "@"}}
    event, _ = refresh(over, reply({"access_token": "new", "refresh_token": "r2"}))
    assert (event.tokens.access_token, event.tokens.refresh_token) == (Secret("new"), Secret("r2"))


@pytest.mark.parametrize(
    ("token", "document", "kind", "slug"),
    [
        ({"ok": "ok"}, {"ok": False, "error": "invalid_grant"}, "refused", "invalid_grant"),
        ({"ok": "ok"}, {"ok": False, **AT}, "misconfigured", "provider_not_ok"),
        ({"ok": "code == `0`"}, {"code": 7, "msg": "no", **AT}, "misconfigured", "provider_not_ok"),
        ({"err": {"refused": ["code_expired"]}}, {"error": "code_expired"}, "refused", "provider_refused"),
        ({"err": {"unavailable": ["ratelimited"]}}, {"error": "ratelimited"}, "unavailable", "provider_unavailable"),
        ({"err": {"code": "errcode", "refused": ["40029"]}}, {"errcode": 40029}, "refused", "provider_refused"),
        ({"err": {"code": "errcode"}}, {"errcode": 1, **AT}, "misconfigured", "provider_error"),
        ({"out": "data"}, AT, "misconfigured", "access_token_missing"),
        ({"out": "data"}, {"data": "x"}, "misconfigured", "access_token_missing"),
        ({"out": "data"}, {"data": {"access_token": 5}}, "misconfigured", "access_token_malformed"),
    ],
    ids=str,
)
def test_errors_with_status_200(token, document, kind, slug):
    event, _ = redeem({"token": token}, reply(document))
    assert isinstance(event, ProviderFailed)
    assert (event.kind, event.slug) == (kind, slug)


def test_no_error_by_number():
    """Errcode 0, error "" and error null are no errors."""
    for document in ({"errcode": 0}, {"errcode": ""}, {"errcode": None}, {"errcode": False}):
        event, _ = redeem({"token": {"err": {"code": "errcode"}}}, reply(document | AT))
        assert isinstance(event, TokensReceived)


# --- exchanges -------------------------------------------------------------------------------------------------------

LONG = {
    "exchange": {
        "long": {
            "method": "GET",
            "url": "https://plain.example/long",
            "query": {"grant_type": "fb_exchange_token", "fb_exchange_token": "${access_token}"},
        }
    }
}


def test_long_lived_token():
    """Facebook: the second token replaces the first, and what it does not say stays."""
    first = {"access_token": "short", "expires_in": 3600, "refresh_token": "r", "scope": "a"}
    event, calls = redeem(LONG, reply(first), reply({"access_token": "long", "expires_in": 5_184_000}))
    assert lines(calls)[0] == "POST https://plain.example/token"
    assert query(calls[1].url) == CLIENT | {"grant_type": "fb_exchange_token", "fb_exchange_token": "short"}
    tokens = event.tokens
    assert (tokens.access_token, tokens.refresh_token) == (Secret("long"), Secret("r"))
    assert (tokens.expires_at, tokens.scopes) == (NOW + 5_184_000, ("a",))
    event, _ = redeem(LONG, reply(first), reply({"access_token": "long"}))
    assert event.tokens.expires_at is None, "the first token's end is not the second one's"


@pytest.mark.parametrize(
    ("answer", "kind", "slug"),
    [
        (reply({}), "misconfigured", "access_token_missing"),
        (reply([]), "misconfigured", "token_reply_unreadable"),
        (reply({"error": "invalid_grant"}, 400), "refused", "invalid_grant"),
        (reply({}, 500), "unavailable", "provider_unavailable"),
        (reply(b"<html>"), "misconfigured", "exchange_reply_unreadable"),
    ],
    ids=str,
)
def test_exchange_that_fails_is_no_login(answer, kind, slug):
    """Half of two tokens is no grant."""
    event, _ = redeem(LONG, reply(AT), answer)
    assert isinstance(event, ProviderFailed)
    assert (event.kind, event.slug) == (kind, slug)


def test_introspection_for_the_expiry():
    """RFC 7662, Salesforce: no `expires_in`, but an introspection endpoint says it; at each refresh again."""
    over = {
        "exchange": {
            "info": {
                "url": "https://plain.example/introspect",
                "form": {"token": "${access_token}"},
                "out": {"access_token": None, "refresh_token": None, "expires_at": "exp"},
                "at": ["login", "refresh"],
                "optional": True,
            }
        }
    }
    for converse in (redeem, refresh):
        event, calls = converse(over, reply(AT), reply({"active": True, "exp": NOW + 900, "access_token": "evil"}))
        assert form(calls[1]) == CLIENT | {"token": "at"}
        assert (event.tokens.access_token, event.tokens.expires_at) == (Secret("at"), NOW + 900)
        event, _ = converse(over, reply(AT), reply({}, 403))
        assert event.tokens.expires_at is None


def test_second_token_for_a_resource():
    """Each sees the documents of those before; with `at` it is fetched anew after a refresh."""
    over = {
        "exchange": {
            "sites": {"method": "GET", "url": "https://plain.example/sites", "auth": "bearer", "out": None},
            "site": {
                "url": "https://plain.example/site",
                "json": {"site": "${p.site}", "client_secret": None},
                "auth": "bearer",
                "at": ["login", "refresh"],
            },
        },
        "params": {"site": {"from": "x.sites[0].id", "pattern": "[a-z0-9-]+", "required": True}},
    }
    event, calls = redeem(over, reply(AT), reply([{"id": "s-1"}]), reply({"access_token": "site"}))
    assert [dict(call.headers).get("Authorization") for call in calls] == [None, "Bearer at", "Bearer at"]
    assert body(calls[2]) == {"site": "s-1"}
    assert event.tokens.access_token == Secret("site")
    assert event.tokens.kept == {"site": "s-1"}
    assert event.tokens.exchanged == {"sites": [{"id": "s-1"}], "site": {"access_token": "site"}}
    tokens = Tokens(access_token=Secret("site"), refresh_token=Secret("r"), kept=event.tokens.kept)
    event, calls = refresh(over, reply(AT), reply({"access_token": "site2"}), tokens=tokens)
    assert body(calls[1]) == {"site": "s-1"}
    assert event.tokens.access_token == Secret("site2")


def test_exchange_when():
    """A predicate over what is known; x has only what was done."""
    over = {
        "exchange": {
            "more": {"url": "https://plain.example/more", "when": "t.wants && contains(scopes, 'a')", "out": None}
        }
    }
    for document, made in (({"wants": True, "scope": "a"}, 1), ({"wants": True}, 0), ({"scope": "a"}, 0)):
        event, calls = redeem(over, reply(AT | document), *([reply({"k": 1})] * made))
        assert len(calls) == 1 + made
        assert event.tokens.exchanged == ({"more": {"k": 1}} if made else {})


# --- refresh and revocation ------------------------------------------------------------------------------------------


def test_refresh_with_the_access_token():
    """No refresh token is needed where none is sent."""
    over = {"refresh": {"form": {"refresh_token": None, "access_token": "${access_token}"}, "early": 604_800}}
    provider = compiled(PLAIN, over)
    assert (provider.needs_refresh_token, provider.refresh_early) == (False, 604_800)
    assert compiled(PLAIN).needs_refresh_token
    assert not compiled(PLAIN, {"refresh": "none"}).needs_refresh_token
    event, (call,) = refresh(over, tokens=Tokens(access_token=Secret("old")))
    assert form(call) == CLIENT | {"grant_type": "refresh_token", "access_token": "old"}
    assert event.tokens.refresh_token is None


def test_refresh_elsewhere_and_otherwise():
    """Another URL, method and authentication than the token request's."""
    over = {"refresh": {"url": "https://plain.example/renew", "method": "GET", "auth": "basic", "query": {"v": "2"}}}
    _, (call,) = refresh(over)
    assert (call.method, call.url.partition("?")[0]) == ("GET", "https://plain.example/renew")
    assert query(call.url) == {"grant_type": "refresh_token", "refresh_token": "old-rt", "v": "2"}
    assert dict(call.headers)["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("rotate", "answer", "kept"),
    [
        ("auto", {}, "old-rt"),
        ("auto", {"refresh_token": "new"}, "new"),
        ("replace", {}, None),
        ("replace", {"refresh_token": "new"}, "new"),
        ("keep", {"refresh_token": "new"}, "old-rt"),
    ],
)
def test_rotation(rotate, answer, kept):
    event, _ = refresh({"refresh": {"rotate": rotate}}, reply(AT | answer))
    assert event.tokens.refresh_token == (Secret(kept) if kept else None)


@pytest.mark.parametrize(
    ("over", "line", "sent"),
    [
        ({"method": "GET"}, "GET https://plain.example/revoke", CLIENT | {"token": "old-rt"}),
        ({"auth": "bearer", "form": {"token": None}}, "POST https://plain.example/revoke", {}),
        (
            {"method": "DELETE", "auth": "bearer", "url": "https://plain.example/tokens/${access_token|urlencode}"},
            "DELETE https://plain.example/tokens/old-at",
            {"token": "old-rt"},
        ),
        (
            {"json": {"token": None, "t": "${access_token}"}},
            "POST https://plain.example/revoke",
            CLIENT | {"t": "old-at"},
        ),
    ],
    ids=str,
)
def test_odd_revocations(over, line, sent):
    event, (call,) = revoke({"revoke": over})
    assert event is None
    assert lines([call])[0].partition("?")[0] == line
    found = (
        query(call.url) if "?" in call.url else body(call) if call.body[:1] == b"{" else form(call) if call.body else {}
    )
    assert found == sent


def test_revocation_when():
    over = {"revoke": {"when": "p.revocable"}, "params": {"revocable": {}}}
    assert run(wire.revoke(compiled(PLAIN, over), OLD, **MOMENT)) == (None, [])


# --- identity --------------------------------------------------------------------------------------------------------


def person(calls, fields, *answers, **more):
    over = {"identity": {"calls": {"me": None, **calls}, "map": fields}, **more}
    return identify(over, *answers)


def test_graphql_identity():
    """Linear: a POST with a query; errors come with status 200."""
    call = {"method": "POST", "url": "https://plain.example/graphql", "json": {"query": "{ viewer { id email } }"}}
    call["err"] = {
        "code": "errors[0].extensions.code",
        "description": "errors[0].message",
        "refused": ["AUTHENTICATION_ERROR"],
    }
    fields = {"sub": "viewer.data.viewer.id", "email": "viewer.data.viewer.email"}
    event, (sent,) = person({"viewer": call}, fields, reply({"data": {"viewer": {"id": "u1", "email": "a@b"}}}))
    assert body(sent) == {"query": "{ viewer { id email } }"}
    assert dict(sent.headers)["Authorization"] == "Bearer at"
    assert (event.identity.subject, event.identity.email) == ("u1", "a@b")
    error = {"errors": [{"message": "no", "extensions": {"code": "AUTHENTICATION_ERROR"}}]}
    assert person({"viewer": call}, fields, reply(error))[0].kind == "refused"


def paged(paginate, *answers):
    calls = {"all": {"url": "https://plain.example/all?size=2", "paginate": paginate}}
    return person(calls, {"sub": "all[0]", "groups": "all"}, *answers)


def test_pages_by_cursor():
    """The reply holds the cursor of the next page, null or empty at the end."""
    rules = {"by": "cursor", "items": "members", "next": "meta.next_cursor", "param": "cursor"}
    pages = [{"members": ["a"], "meta": {"next_cursor": "c/1"}}, {"members": ["b"], "meta": {"next_cursor": ""}}]
    event, calls = paged(rules, *map(reply, pages))
    assert event.identity.groups == ("a", "b")
    assert [call.url.partition("?")[2] for call in calls] == ["size=2", "size=2&cursor=c%2F1"]


def test_pages_by_url_in_the_body():
    """Bitbucket: the reply holds the whole URL, which stays on this origin."""
    rules = {"by": "cursor", "items": "values", "next": "next"}
    pages = [{"values": ["a"], "next": "https://plain.example/all?page=2"}, {"values": ["b"]}]
    event, calls = paged(rules, *map(reply, pages))
    assert event.identity.groups == ("a", "b")
    assert calls[1].url == "https://plain.example/all?page=2"


def test_pages_by_number():
    """Until a page is empty; the first is asked for without a number."""
    event, calls = paged({"by": "page", "items": "@", "param": "page"}, reply(["a"]), reply(["b"]), reply([]))
    assert event.identity.groups == ("a", "b")
    assert [call.url.partition("?")[2] for call in calls] == ["size=2", "size=2&page=2", "size=2&page=3"]
    _, calls = paged({"by": "page", "param": "p", "first": 0}, reply(["a"]), reply([]))
    assert calls[1].url.endswith("&p=1")


def test_link_pages_with_an_envelope():
    answers = [reply({"d": ["a"]}, link='<?page=2>; rel="next"'), reply({"d": ["b"]})]
    event, _ = paged({"by": "link", "items": "d"}, *answers)
    assert event.identity.groups == ("a", "b")


@pytest.mark.parametrize(
    ("rules", "answer", "slug"),
    [
        (
            {"by": "cursor", "items": "v", "next": "next"},
            {"v": ["a"], "next": "https://evil.example/"},
            "page_on_another_origin",
        ),
        ({"by": "cursor", "items": "v", "next": "next"}, {"v": ["a"], "next": {"a": 1}}, "page_on_another_origin"),
        ({"by": "cursor", "items": "v", "next": "next"}, {"v": None}, "page_not_an_array"),
        ({"by": "page", "items": "v", "param": "p"}, [1], "page_not_an_array"),
    ],
    ids=str,
)
def test_attack_pages_that_lead_away(rules, answer, slug):
    """The request carries the user's token."""
    event, calls = paged(rules, reply(answer))
    assert (event.kind, event.slug, len(calls)) == ("misconfigured", slug, 1)


def test_attack_endless_cursor():
    """Ten pages and no more."""
    rules = {"by": "cursor", "items": "v", "next": "'again'", "param": "c"}
    _, calls = paged(rules, *[reply({"v": ["a"]})] * 10)
    assert len(calls) == 10


@pytest.mark.parametrize(
    ("paginate", "says"),
    [
        ({"by": "cursor"}, "`next` is missing"),
        ({"by": "page"}, "`param` is missing"),
        ({"by": "offset"}, "Invalid enum"),
    ],
)
def test_pagination_that_says_too_little(paginate, says):
    calls = {"all": {"url": "https://plain.example/all", "paginate": paginate}}
    assert says in problems(PLAIN, over={"identity": {"calls": calls}})[0][1]


def test_attack_definition_with_endless_calls():
    """What `outbound` would break off is refused when the definition loads."""
    many = {f"c{n}": {"url": "https://plain.example/x"} for n in range(12)}
    assert problems(PLAIN, over={"identity": {"calls": many}})[0][0] == "identity.calls"
    paged_calls = {f"c{n}": {"url": "https://plain.example/x", "paginate": "link"} for n in range(5)}
    assert problems(PLAIN, over={"identity": {"calls": paged_calls}})[0][0] == "identity.calls"
    assert problems(PLAIN, over={"exchange": {key: {"url": "https://x.y"} for key in map(str.lower, "ABCDEFGHI")}})


def test_subject_within_a_tenant():
    """Slack and Entra: the same id in two workspaces is two people."""
    event, _ = identify({"identity": {"map": {"tenant": "t.team.id"}}}, reply({"id": "U1"}))
    assert (event.identity.tenant, event.identity.subject) == ("T1", "U1")


@pytest.mark.parametrize(("allow", "admitted"), [("me.hd == 'acme.com'", True), ("me.hd == 'other.com'", False)])
def test_allow(allow, admitted):
    event, _ = identify({"identity": {"allow": allow}}, reply({"id": 1, "hd": "acme.com"}))
    assert isinstance(event, Identified) is admitted
    assert admitted or event.slug == "identity_not_allowed"


APPLE = {
    "oidc": {"issuer": ISSUER},
    "identity": {
        "calls": None,
        "map": {
            "name": "from_json(cb.user).name.[firstName, lastName] | join(' ', [?@])",
            "email": "id.email",
            "email_verified": "id.email_verified",
            "login": None,
            "picture": None,
            "groups": None,
        },
    },
}


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ('{"name": {"firstName": "Ada", "lastName": "Lovelace"}, "email": "evil@x.example"}', "Ada Lovelace"),
        ('{"name": {"firstName": "Ada"}}', "Ada"),
        *((text, None) for text in ("{", "[]", "5", '{"name": []}', None)),
    ],
    ids=str,
)
def test_identity_from_the_id_token_alone(user, name):
    """Apple: `user` is posted once and unsigned, so it names the person and nothing else; true is written "true"."""
    provider = compiled({"title": "Apple"}, APPLE, params={})
    tokens = Tokens(access_token=Secret("at"), id_token=Secret(signed(CLAIMS | {"email_verified": "true"})))
    callback = {"code": "c"} | ({"user": user} if user else {})
    event, _ = identify(None, reply(METADATA), reply(KEYS), provider=provider, tokens=tokens, callback=callback)
    assert (event.identity.name, event.identity.email) == (name, "id@x.example")
    assert event.identity.email_verified


@pytest.mark.parametrize("field", ["sub", "tenant", "email", "email_verified", "login", "groups"])
def test_attack_identity_out_of_the_callback(field):
    """The browser can write anything there."""
    assert problems(PLAIN, over={"identity": {"map": {field: "cb.user"}}})[0][0] == f"identity.map.{field}"
    assert problems(PLAIN, over={"identity": {"allow": "cb.user"}})[0][0] == "identity.allow"


def test_openid_without_discovery():
    """Every URL written down, and the keys too."""
    over = {
        "oidc": {"issuer": ISSUER, "discovery": "off", "jwks": f"{ISSUER}/jwks", "nonce": "off"},
        "identity": {"calls": {"me": None}, "map": {"sub": "id.sub"}},
    }
    provider = compiled(PLAIN, over)
    event, calls = start(None, provider=provider)
    assert calls == []
    assert "nonce" not in query(event.url)
    tokens = Tokens(
        access_token=Secret("at"), id_token=Secret(signed({k: v for k, v in CLAIMS.items() if k != "nonce"}))
    )
    event, calls = identify(None, reply(KEYS), provider=provider, tokens=tokens)
    assert lines(calls) == [f"GET {ISSUER}/jwks"]
    assert event.identity.subject == "u1"


# --- presenting the token --------------------------------------------------------------------------------------------


def test_token_in_headers_and_query():
    """As the provider wants it, by identity calls and by the gate alike; `/…` is below the API's base."""
    over = {
        "params": {"version": {"default": "2"}},
        "api": {
            "base": "https://api.plain.example/v${p.version}",
            "header": {"Authorization": None, "X-Token": "${access_token}", "Client-Id": "${client.id}"},
            "query": {"key": "${access_token}", "proof": "${access_token|hmac_sha256_hex(client.secret)}"},
        },
        "identity": {"calls": {"me": {"url": "/me"}}},
    }
    provider = compiled(PLAIN, over)
    proof = hmac.new(b"s:cret&", b"at", hashlib.sha256).hexdigest()
    _, (call,) = identify(None, reply({"id": 1}), provider=provider)
    assert call.url.partition("?")[0] == "https://api.plain.example/v2/me"
    assert query(call.url) == {"key": "at", "proof": proof}
    assert dict(call.headers) == {"X-Token": "at", "Client-Id": "the client", "Accept": "application/json"}
    assert wire.api_headers(provider, Secret("at"), {}) == (("X-Token", "at"), ("Client-Id", "the client"))
    assert wire.api_query(provider, Secret("at"), {}) == {"key": "at", "proof": proof}
    assert wire.api_query(compiled(PLAIN), Secret("at"), {}) == {}


@pytest.mark.parametrize(
    "value",
    [
        "${client.secret}",
        "${client.basic}",
        "${client.jwt}",
        "${access_token|concat(client.secret)}",
        "${client.secret|base64}",
    ],
)
def test_attack_secret_shown_to_an_api(value):
    """The gate would send it to a backend. As the key of an HMAC it may be used."""
    assert problems(PLAIN, over={"api": {"header": {"X": value}}})[0][0] == "api.header.X"


@pytest.mark.parametrize(
    "value", ["${client.secret}", "${client.basic}", "${client.jwt}", "x${client.secret|sha256_hex}"]
)
@pytest.mark.parametrize("place", ["query", "fragment", "url"])
def test_attack_secret_shown_to_a_browser(place, value):
    """RFC 6749 §10.1, RFC 9700 §4.3: the URL stays in histories and logs. A pushed request is ours (RFC 9126)."""
    settings = {
        "query": {"query": {"s": value}},
        "fragment": {"fragment": value},
        "url": {"url": f"https://plain.example/{value}"},
    }
    found = problems(PLAIN, over={"authorize": settings[place]})
    assert (found[0][0].rpartition(".s")[0] or found[0][0]) == f"authorize.{place}"
    assert "a browser is not shown the client secret" in found[0][1]


def test_secret_of_a_pushed_request_and_of_an_hmac():
    """What may hold it: the request that this gateway makes itself, and a proof that does not tell it."""
    push = {"url": "https://plain.example/par", "form": {"s": "${client.secret}"}}
    proof = {"query": {"proof": "${state|hmac_sha256_hex(client.secret)}", "id": "${client.id}"}}
    assert compiled(PLAIN, {"authorize": {"par": push}})
    assert compiled(PLAIN, {"authorize": proof})


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "Connection", "TE", "Upgrade", "Trailer"]
)
def test_attack_header_of_the_connection(name):
    """RFC 9112 §11.2: a definition that frames messages smuggles them, by the gate and by calls alike."""
    over = {"api": {"header": {name: "x"}}, "token": {"headers": {name: "x"}}, "refresh": "none"}
    assert [(path, "RFC 9110 §7.6.1" in why) for path, why in problems(PLAIN, over=over)] == [
        (f"token.headers.{name}", True),
        (f"identity.calls.me.headers.{name}", True),  # which carry what the API wants
        (f"api.header.{name}", True),
    ]
