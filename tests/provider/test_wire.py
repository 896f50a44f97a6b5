"""The life of a connection at each provider of the catalog: the requests, word for word, and the quirks."""

import base64
import json

import pytest

from provider.driver import (
    METADATA,
    MOMENT,
    NOW,
    PLAIN,
    REDIRECT,
    compiled,
    form,
    lines,
    query,
    reply,
    run,
)
from provider.id_tokens import CLAIMS, KEYS, signed
from vestibule.crypto.digests import s256
from vestibule.model import HttpFailure, Secret, Tokens
from vestibule.provider import wire
from vestibule.provider.defaults import merge
from vestibule.provider.flow import CodeReturned, Denied, Identified, ProviderFailed

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
BASIC = "Basic " + base64.b64encode(b"the%20client:s%3Acret%26").decode()
CLIENT = {"client_id": "the client", "client_secret": "s:cret&"}
CLERK = "https://clerk.example.com"
CLERK_METADATA = {
    key: value.replace("https://idp.example", CLERK) if isinstance(value, str) else value
    for key, value in METADATA.items()
}
OLD = Tokens(access_token=Secret("old-at"), refresh_token=Secret("old-rt"))


def start(provider, *answers, scopes=()):
    return run(
        wire.start(
            provider,
            redirect_uri=REDIRECT,
            state="the.state",
            nonce="the-nonce",
            scopes=provider.scopes_for(scopes),
            verifier=VERIFIER,
            **MOMENT,
        ),
        *answers,
    )


def redeem(provider, *answers):
    conversation = wire.redeem(
        provider, code="the-code", callback={}, redirect_uri=REDIRECT, verifier=VERIFIER, scopes=(), **MOMENT
    )
    return run(conversation, *answers)


def identify(provider, tokens, *answers):
    return run(wire.identify(provider, tokens, nonce="the-nonce", **MOMENT), *answers)


def refresh(provider, *answers, scopes=("a", "b")):
    return run(wire.refresh(provider, OLD, scopes=scopes, redirect_uri=REDIRECT, **MOMENT), *answers)


def headers(call):
    assert len(dict(call.headers)) == len(call.headers)
    return dict(call.headers)


# --- GitHub ----------------------------------------------------------------------------------------------------------

GITHUB = compiled("github")
GITHUB_USER = {
    "id": 583231,
    "login": "octocat",
    "name": None,
    "avatar_url": "https://a.example/u/583231",
    "email": "p@x",
}
GITHUB_EMAILS = [
    {"email": "old@x.example", "primary": False, "verified": True},
    {"email": "octo@x.example", "primary": True, "verified": True},
]


def test_github_authorize():
    """docs.github.com "Authorizing OAuth apps"; PKCE S256 (RFC 7636 appendix B) since 2025-07-14."""
    event, calls = start(GITHUB, scopes=["read:org"])
    assert calls == []
    assert event.url.partition("?")[0] == "https://github.com/login/oauth/authorize"
    assert query(event.url) == {
        "response_type": "code",
        "client_id": "the client",
        "redirect_uri": REDIRECT,
        "scope": "read:user user:email read:org",
        "state": "the.state",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }
    assert "%20" in event.url
    assert "the.state" not in repr(event)


def test_github_exchange():
    """Credentials in the body, an answer in JSON, scopes separated by commas."""
    answer = reply({"access_token": "gho_x", "scope": "read:org,read:user,user:email", "token_type": "bearer"})
    event, (call,) = redeem(GITHUB, answer)
    assert (call.method, call.url) == ("POST", "https://github.com/login/oauth/access_token")
    assert headers(call) == {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    assert form(call) == CLIENT | {
        "grant_type": "authorization_code",
        "code": "the-code",
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    assert call.trusted
    assert call.cache_seconds == 0
    assert event.tokens.access_token == Secret("gho_x")
    assert event.tokens.scopes == ("read:org", "read:user", "user:email")
    assert event.tokens.refresh_token is event.tokens.expires_at is None


@pytest.mark.parametrize(
    ("error", "kind", "slug"),
    [
        ("bad_verification_code", "refused", "provider_refused"),
        ("bad_refresh_token", "refused", "provider_refused"),
        ("incorrect_client_credentials", "misconfigured", "provider_error"),
        ("redirect_uri_mismatch", "misconfigured", "provider_error"),
        ("unverified_user_email", "misconfigured", "provider_error"),
        ("slow_down", "unavailable", "slow_down"),
    ],
)
def test_github_errors_come_with_http_200(error, kind, slug):
    """docs.github.com "Troubleshooting OAuth app access token request errors"."""
    for answer in (
        reply({"error": error, "error_description": "Why."}),
        reply(f"error={error}&error_description=Why.".encode(), content_type="application/x-www-form-urlencoded"),
    ):
        for event, _ in (redeem(GITHUB, answer), refresh(GITHUB, answer)):
            assert (event.kind, event.slug) == (kind, slug)
            assert event.detail.endswith("Why.")


def github_tokens(*scopes):
    return Tokens(access_token=Secret("gho_x"), scopes=scopes)


def test_github_identity_with_organisations_over_several_pages():
    """`/user`, the primary verified address, organisations and teams with Link paging when read:org was granted."""
    api = "https://api.github.com"
    event, calls = identify(
        GITHUB,
        github_tokens("read:org", "read:user", "user:email"),
        reply(GITHUB_USER),
        reply(GITHUB_EMAILS),
        reply([{"login": "acme"}], link=f'<{api}/user/orgs?per_page=100&page=2>; rel="next"'),
        reply([{"login": "other"}], link=f'<{api}/user/orgs?per_page=100&page=1>; rel="prev"'),
        reply([{"slug": "platform", "organization": {"login": "acme"}}], link=f'<{api}/user/teams?page=2>; rel="next"'),
        reply([{"slug": "ops", "organization": {"login": "acme"}}]),
    )
    assert lines(calls) == [
        f"GET {api}/user",
        f"GET {api}/user/emails?per_page=100",
        f"GET {api}/user/orgs?per_page=100",
        f"GET {api}/user/orgs?per_page=100&page=2",
        f"GET {api}/user/teams?per_page=100",
        f"GET {api}/user/teams?page=2",
    ]
    assert all(headers(call) == {"Authorization": "Bearer gho_x", "Accept": "application/json"} for call in calls)
    identity = event.identity
    assert (identity.provider, identity.subject, identity.login, identity.name) == ("github", "583231", "octocat", None)
    assert (identity.email, identity.email_verified) == ("octo@x.example", True)
    assert identity.groups == ("acme", "other", "acme/platform", "acme/ops")


@pytest.mark.parametrize(
    ("scopes", "asked"),
    [
        (("read:org",), True),
        (("write:org", "repo"), True),
        (("admin:org",), True),
        (("admin:org_hook",), False),
        ((), False),
    ],
    ids=str,
)
def test_github_organisations_need_their_scope(scopes, asked):
    """docs.github.com "Normalized scopes": what another scope includes is not listed, so `admin:org` stands for all."""
    answers = [reply([]), reply([])] if asked else []
    event, _ = identify(GITHUB, github_tokens(*scopes), reply(GITHUB_USER), reply(GITHUB_EMAILS), *answers)
    assert event.identity.groups == (() if asked else None)


@pytest.mark.parametrize(
    "emails",
    [
        reply([{"email": "a@x.example", "primary": True, "verified": False}]),
        reply([{"email": "a@x.example", "primary": False, "verified": True}]),
        reply([]),
        reply({"message": "Resource not accessible by integration"}, 403),
        reply({"message": "Not Found"}, 404),
    ],
    ids=str,
)
def test_attack_github_unverified_address(emails):
    """Anybody can add an address; only the primary verified one counts, and the public one of the profile never."""
    event, _ = identify(GITHUB, github_tokens(), reply(GITHUB_USER), emails)
    assert (event.identity.email, event.identity.email_verified) == (None, False)


def test_github_rate_limit_is_no_refusal():
    """docs.github.com "Rate limits for the REST API": 403 too; whoever asks often must not be signed out."""
    limited = reply({"message": "API rate limit exceeded"}, 403, x_ratelimit_remaining="0")
    event, _ = identify(GITHUB, github_tokens(), reply(GITHUB_USER), limited)
    assert event.kind == "unavailable"


def test_github_refresh():
    """GitHub Apps only: eight hours, and both tokens are replaced."""
    answer = reply({"access_token": "ghu_2", "expires_in": 28800, "refresh_token": "ghr_2", "scope": ""})
    event, (call,) = refresh(GITHUB, answer)
    assert call.url == "https://github.com/login/oauth/access_token"
    assert form(call) == CLIENT | {"grant_type": "refresh_token", "refresh_token": "old-rt"}
    assert event.tokens.refresh_token == Secret("ghr_2")
    assert event.tokens.expires_at == NOW + 28800


def test_github_revocation():
    """REST API "Delete an app token": DELETE with basic authentication and a JSON body, for this token alone."""
    event, (call,) = run(wire.revoke(GITHUB, OLD, **MOMENT), reply(None, 204))
    assert event is None
    assert (call.method, call.url) == ("DELETE", "https://api.github.com/applications/the%20client/token")
    assert headers(call) == {"Authorization": BASIC, "Accept": "application/json", "Content-Type": "application/json"}
    assert json.loads(call.body) == {"access_token": "old-at"}


def test_github_enterprise_server():
    """Other hosts, the same definition."""
    provider = compiled("github", params={"base": "https://ghe.example", "api": "https://ghe.example/api/v3"})
    assert start(provider)[0].url.startswith("https://ghe.example/login/oauth/authorize?")
    _, calls = identify(provider, github_tokens(), reply(GITHUB_USER), reply(GITHUB_EMAILS))
    assert calls[0].url == "https://ghe.example/api/v3/user"


# --- Sentry ----------------------------------------------------------------------------------------------------------

SENTRY = compiled("sentry")
SENTRY_REPLY = {
    "access_token": "sntrya_1",
    "refresh_token": "sntryr_1",
    "expires_in": 2591999,
    "expires_at": "2027-02-14T08:00:00.054320Z",
    "token_type": "bearer",
    "scope": "org:read project:read",
    "user": {"id": "123", "name": "Jane Doe", "email": "jane@x.example"},
}


def test_sentry_authorize():
    """docs.sentry.io/api/auth: paths end with a slash; without scopes there is no parameter."""
    event, _ = start(SENTRY, scopes=["org:read"])
    assert event.url.partition("?")[0] == "https://sentry.io/oauth/authorize/"
    assert query(event.url)["scope"] == "org:read"
    assert query(event.url)["code_challenge"] == s256(VERIFIER)
    assert "scope" not in query(start(SENTRY)[0].url)


def test_sentry_exchange_and_identity():
    """The user comes with the tokens: no further call, and no address is said to be verified."""
    received, (call,) = redeem(SENTRY, reply(SENTRY_REPLY))
    assert call.url == "https://sentry.io/oauth/token/"
    assert form(call) == CLIENT | {
        "grant_type": "authorization_code",
        "code": "the-code",
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    assert received.tokens.expires_at == NOW + 2591999
    event, calls = identify(SENTRY, received.tokens)
    assert calls == []
    assert (event.identity.subject, event.identity.name) == ("123", "Jane Doe")
    assert (event.identity.email, event.identity.email_verified) == ("jane@x.example", False)


def test_sentry_expiry_as_text():
    """`expires_in` may be null, `expires_at` is ISO 8601."""
    received, _ = redeem(SENTRY, reply(SENTRY_REPLY | {"expires_in": None}))
    assert received.tokens.expires_at == NOW + 30 * 86400


def test_sentry_user_without_name():
    """`name` and `email` may be null; without the user there is nobody."""
    received, _ = redeem(SENTRY, reply(SENTRY_REPLY | {"user": {"id": "123", "name": None, "email": None}}))
    event, _ = identify(SENTRY, received.tokens)
    assert (event.identity.subject, event.identity.name, event.identity.email) == ("123", None, None)
    received, _ = redeem(SENTRY, reply(SENTRY_REPLY | {"user": None}))
    event, _ = identify(SENTRY, received.tokens)
    assert event.slug == "subject_missing"


def test_sentry_refresh_names_no_scope():
    """oauth_token.py refuses a refresh with `scope` as invalid_request."""
    event, (call,) = refresh(SENTRY, reply(SENTRY_REPLY))
    assert call.url == "https://sentry.io/oauth/token/"
    assert form(call) == CLIENT | {"grant_type": "refresh_token", "refresh_token": "old-rt"}
    assert event.tokens.refresh_token == Secret("sntryr_1")
    assert event.tokens.scopes == ("org:read", "project:read")


def test_sentry_has_no_revocation():
    """No route is known, and a POST to an unknown path would look like a success: nothing is sent."""
    assert run(wire.revoke(SENTRY, OLD, **MOMENT)) == (None, [])


def test_revocation_by_default():
    """RFC 7009 §2.1: POST, the client's credentials in the body, the refresh token."""
    event, (call,) = run(wire.revoke(compiled(PLAIN), OLD, **MOMENT), reply(None))
    assert event is None
    assert (call.method, call.url) == ("POST", "https://plain.example/revoke")
    assert form(call) == CLIENT | {"token": "old-rt"}


def test_sentry_self_hosted():
    """Another base, with a path."""
    provider = compiled("sentry", params={"base": "https://apps.example/sentry"})
    _, (call,) = redeem(provider, reply(SENTRY_REPLY))
    assert call.url == "https://apps.example/sentry/oauth/token/"


# --- Clerk -----------------------------------------------------------------------------------------------------------


def clerk():
    return compiled("clerk", params={"issuer": CLERK})


def test_clerk_life_cycle():
    """OIDC from end to end: discovery, basic authentication, id_token, userinfo, refresh, revocation."""
    found = reply(CLERK_METADATA)
    event, _ = start(clerk(), found)
    assert event.url.partition("?")[0] == f"{CLERK}/authorize"
    assert query(event.url)["scope"] == "openid profile email offline_access"
    assert query(event.url)["nonce"] == "the-nonce"

    tokens = {
        "access_token": "oat_1",
        "refresh_token": "ort_1",
        "expires_in": 86400,
        "id_token": signed(CLAIMS | {"iss": CLERK}),
    }
    received, calls = redeem(clerk(), found, reply(tokens))
    assert lines(calls) == [f"GET {CLERK}/.well-known/openid-configuration", f"POST {CLERK}/token"]
    assert headers(calls[1])["Authorization"] == BASIC
    assert form(calls[1]) == {
        "grant_type": "authorization_code",
        "code": "the-code",
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    userinfo = {"sub": "u1", "email": "u@x.example", "email_verified": True, "preferred_username": "u"}
    event, calls = identify(clerk(), received.tokens, found, reply(KEYS), reply(userinfo))
    assert lines(calls)[1:] == [f"GET {CLERK}/keys", f"GET {CLERK}/userinfo"]
    assert headers(calls[2])["Authorization"] == "Bearer oat_1"
    assert isinstance(event, Identified)
    assert (event.identity.provider, event.identity.subject, event.identity.login) == ("clerk", "u1", "u")

    event, calls = refresh(clerk(), found, reply({"access_token": "oat_2", "expires_in": 86400}))
    assert form(calls[1]) == {"grant_type": "refresh_token", "refresh_token": "old-rt"}
    assert headers(calls[1])["Authorization"] == BASIC
    assert event.tokens.refresh_token == Secret("old-rt")

    event, calls = run(wire.revoke(clerk(), OLD, **MOMENT), found, reply(None))
    assert event is None
    assert lines(calls)[1:] == [f"POST {CLERK}/revoke"]
    assert form(calls[1]) == {"token": "old-rt"}


def test_no_revocation_endpoint_is_no_failure():
    """RFC 8414 §2: the endpoint is optional."""
    metadata = {key: value for key, value in CLERK_METADATA.items() if key != "revocation_endpoint"}
    event, calls = run(wire.revoke(clerk(), OLD, **MOMENT), reply(metadata))
    assert event is None
    assert len(calls) == 1


# --- the development provider ----------------------------------------------------------------------------------------


def test_development_life_cycle():
    """Plain OAuth 2.0 on loopback."""
    base = "http://127.0.0.1:8080/dev"
    provider = compiled("development", params={"base": base})
    event, _ = start(provider)
    assert event.url.startswith(f"{base}/authorize?")
    assert query(event.url)["scope"] == "openid profile email"
    assert "code_challenge" in query(event.url)
    received, (call,) = redeem(provider, reply({"access_token": "d1", "refresh_token": "r1", "expires_in": 60}))
    assert (call.url, call.trusted) == (f"{base}/token", True)
    person = {"sub": "ada", "email": "ada@x.example", "email_verified": True, "name": "Ada", "groups": ["admins"]}
    event, (call,) = identify(provider, received.tokens, reply(person))
    assert call.url == f"{base}/userinfo"
    assert event.identity.groups == ("admins",)
    assert event.identity.email_verified
    event, _ = refresh(provider, reply({"access_token": "d2", "refresh_token": "r2"}))
    assert event.tokens.refresh_token == Secret("r2")
    event, (call,) = run(wire.revoke(provider, OLD, **MOMENT), reply(None))
    assert (event, call.url) == (None, f"{base}/revoke")


# --- what no definition changes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rotate", "replied", "kept"),
    [
        ("auto", "new", "new"),
        ("auto", None, "old-rt"),
        ("auto", "", "old-rt"),
        ("replace", "new", "new"),
        ("replace", None, None),
        ("keep", "new", "old-rt"),
        ("keep", None, "old-rt"),
    ],
)
def test_refresh_token_rotation(rotate, replied, kept):
    """RFC 6749 §6: a new refresh token replaces the old one, none leaves it in force."""
    provider = compiled(PLAIN, {"refresh": {"rotate": rotate}})
    event, _ = refresh(provider, reply({"access_token": "a", "refresh_token": replied}))
    assert event.tokens.refresh_token == (None if kept is None else Secret(kept))


EXCHANGED = {
    "params": {"site": {"from": "t.site", "pattern": "[a-z]+"}},
    "exchange": {"more": {"url": "https://plain.example/more", "at": ["login", "refresh"]}},
}


@pytest.mark.parametrize(
    ("over", "answers", "slug"),
    [
        ({}, [{}, reply(None, 503)], "provider_unavailable"),
        ({}, [{}, HttpFailure("timeout")], "provider_timeout"),
        ({}, [{}, reply({"error": "invalid_grant"}, 400)], "invalid_grant"),
        ({}, [{}, reply({})], "access_token_missing"),
        ({"exchange": {"more": {"headers": {"X-A": "${t.a}"}}}}, [{"a": "\n"}], "template_unrenderable"),
        ({}, [{"site": "../evil"}], "captured_value"),
        ({}, [{"expires_in": -1}], "expires_in_malformed"),
        ({}, [{"access_token": None}], "access_token_missing"),
    ],
    ids=str,
)
def test_attack_refresh_token_lost_after_rotation(over, answers, slug):
    """RFC 9700 §4.14.2: the old token is spent once the provider has answered, and its reuse ends everything."""
    provider = compiled(PLAIN, merge(EXCHANGED, over))
    first, *others = answers
    event, _ = refresh(provider, reply({"access_token": "a", "refresh_token": "new-rt"} | first), *others)
    assert (event.slug, event.tokens.refresh_token) == (slug, Secret("new-rt"))
    assert event.tokens.access_token == OLD.access_token
    assert "tokens" not in repr(event).lower()
    kept = compiled(PLAIN, merge(EXCHANGED, over) | {"refresh": {"rotate": "keep"}})
    for other in (
        refresh(provider, reply({"access_token": "a"} | first), *others),
        refresh(kept, reply({"access_token": "a", "refresh_token": "new-rt"} | first), *others),
        refresh(provider, reply({"error": "invalid_grant", "refresh_token": "new-rt"}, 400)),
    ):
        assert other[0].tokens is None


def test_refresh_token_of_an_exchange_before_the_failure():
    """The newest one that the provider gave out is the one that lives."""
    more = {"more": {"url": "https://plain.example/2", "at": ["refresh"]}}
    provider = compiled(PLAIN, {"exchange": {"first": more["more"] | {"url": "https://plain.example/1"}, **more}})
    answers = [reply({"access_token": "a", "refresh_token": rt}) for rt in ("r2", "r3")]
    event, _ = refresh(provider, *answers, HttpFailure("connect"))
    assert event.tokens.refresh_token == Secret("r3")


def test_refresh_keeps_the_scopes():
    """RFC 6749 §5.1: `scope` may be left out when it has not changed."""
    assert refresh(compiled(PLAIN), reply({"access_token": "a"}))[0].tokens.scopes == ("a", "b")
    assert refresh(compiled(PLAIN), reply({"access_token": "a", "scope": "a"}))[0].tokens.scopes == ("a",)


def test_refresh_with_scopes_or_the_access_token():
    """Both are overlays, no flags: Entra wants `scope`, Facebook the access token."""
    over = {"form": {"refresh_token": None, "fb_exchange_token": "${access_token}", "scope": "${scope}"}}
    _, (call,) = refresh(compiled(PLAIN, {"refresh": over, "scopes": {"sep": ","}}), reply({"access_token": "a"}))
    assert form(call) == CLIENT | {"grant_type": "refresh_token", "fb_exchange_token": "old-at", "scope": "a,b"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply({"error": "invalid_grant"}, 400), "refused"),
        (reply({"error": "interaction_required"}, 400), "refused"),
        (reply({"error": "invalid_scope"}, 400), "misconfigured"),
        (reply({"error": "invalid_client"}, 401), "misconfigured"),
        (reply({"error": "invalid_grant"}, 503), "unavailable"),
        (reply(None, 429), "unavailable"),
        (HttpFailure("timeout"), "unavailable"),
        (reply(b"<html>", 200, content_type="text/html"), "misconfigured"),
    ],
    ids=str,
)
def test_only_a_refusal_ends_a_connection(answer, kind):
    """A provider in trouble must not sign anybody out."""
    event, _ = refresh(compiled(PLAIN), answer)
    assert isinstance(event, ProviderFailed)
    assert event.kind == kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(None), None),
        (reply(None, 204), None),
        (reply(b"<html>OK</html>"), None),
        (reply({"error": "invalid_token"}, 400), None),
        (reply({"error": "invalid_client"}, 401), "misconfigured"),
        (reply(None, 503), "unavailable"),
    ],
    ids=str,
)
def test_revocation_outcome(answer, kind):
    """RFC 7009 §2.2: the body says nothing, and a token that is invalid already is revoked."""
    event, _ = run(wire.revoke(compiled(PLAIN), OLD, **MOMENT), answer)
    assert (event and event.kind) == kind


def test_revocation_of_what_there_is():
    """RFC 7009 §2.1: the refresh token if there is one, else the access token; no call where none is defined."""
    _, (call,) = run(wire.revoke(compiled(PLAIN), Tokens(access_token=Secret("at")), **MOMENT), reply(None))
    assert form(call)["token"] == "at"
    assert run(wire.revoke(compiled(PLAIN, {"revoke": None}), OLD, **MOMENT)) == (None, [])


@pytest.mark.parametrize(
    ("params", "event"),
    [
        ({"code": "c"}, CodeReturned("c", {"code": "c"})),
        ({"code": "4/0A-x_y.z~"}, CodeReturned("4/0A-x_y.z~", {"code": "4/0A-x_y.z~"})),
        (
            {"code": "c", "state": "s", "more": "x"},
            CodeReturned("c", {"code": "c", "state": "s", "more": "x"}),
        ),
        (
            {"code": "c", "iss": "https://any.example"},
            CodeReturned("c", {"code": "c", "iss": "https://any.example"}),
        ),
        ({"error": "access_denied"}, Denied("access_denied")),
        ({"error": "access_denied", "error_description": "No."}, Denied("access_denied", "No.")),
        ({"error": "access_denied", "code": "c"}, Denied("access_denied")),
        ({"error": "temporarily_unavailable"}, ("unavailable", "temporarily_unavailable")),
        ({"error": "server_error"}, ("unavailable", "server_error")),
        ({"error": "invalid_scope"}, ("misconfigured", "provider_error")),
        ({"error": "unauthorized_client"}, ("misconfigured", "provider_error")),
        ({"error": "<script>\r\n"}, ("misconfigured", "provider_error")),
        ({}, ("misconfigured", "code_missing")),
        ({"code": ""}, ("misconfigured", "code_missing")),
        ({"code": "a\nb"}, ("misconfigured", "code_malformed")),
        ({"code": "ü"}, ("misconfigured", "code_malformed")),
        ({"code": "c" * 5000}, ("misconfigured", "code_malformed")),
    ],
    ids=str,
)
def test_callback(params, event):
    """RFC 6749 §4.1.2 and §4.1.2.1; an error wins over a code."""
    found = wire.read_callback(compiled(PLAIN), params)
    assert ((found.kind, found.slug) if isinstance(found, ProviderFailed) else found) == event


def test_callback_parameter_is_renamed():
    """Three providers of the large catalog call it something else."""
    provider = compiled(PLAIN, {"callback": {"code": "auth_code"}})
    params = {"auth_code": "c", "code": "x"}
    assert wire.read_callback(provider, params) == CodeReturned("c", params)


@pytest.mark.parametrize("verifier", [None, ""])
def test_attack_pkce_left_out(verifier):
    """RFC 9700 §2.1.1: without a verifier nothing is sent at all; a downgrade must not happen by omission."""
    provider = compiled(PLAIN)
    with pytest.raises(ValueError, match="verifier"):
        next(wire.start(provider, redirect_uri=REDIRECT, state="s", nonce="n", scopes=(), verifier=verifier, **MOMENT))
    with pytest.raises(ValueError, match="verifier"):
        next(
            wire.redeem(provider, code="c", callback={}, redirect_uri=REDIRECT, verifier=verifier, scopes=(), **MOMENT)
        )


def test_pkce_off():
    """86 providers of the large catalog refuse the parameters."""
    provider = compiled(PLAIN, {"pkce": "off"})
    event, _ = start(provider)
    assert not {"code_challenge", "code_challenge_method"} & query(event.url).keys()
    _, (call,) = redeem(provider, reply({"access_token": "a"}))
    assert "code_verifier" not in form(call)


def test_authorize_url_keeps_its_own_query():
    """RFC 6749 §3.1; renamed, added and deleted parameters are overlays."""
    over = {
        "authorize": {"url": "https://plain.example/a?tenant=1", "query": {"client_id": None, "app": "${client.id}"}}
    }
    event, _ = start(compiled(PLAIN, over | {"scopes": {"param": "user_scope", "sep": ",", "default": ["a", "b"]}}))
    found = query(event.url)
    assert (found["tenant"], found["app"], found["user_scope"]) == ("1", "the client", "a,b")
    assert not {"client_id", "scope"} & found.keys()


def test_api_headers():
    """RFC 6750 §2.1, or whatever the definition says; a token cannot break out of its header."""
    assert wire.api_headers(compiled(PLAIN), Secret("t"), {}) == (("Authorization", "Bearer t"),)
    over = {"api": {"header": {"Authorization": None, "X-Token": "${access_token}"}}}
    assert wire.api_headers(compiled(PLAIN, over), Secret("t"), {}) == (("X-Token", "t"),)
    with pytest.raises(ValueError, match="header"):
        wire.api_headers(compiled(PLAIN), Secret("t\r\nX: y"), {})


def test_nothing_secret_is_shown():
    """Calls and events end up in logs and tracebacks."""
    received, (call,) = redeem(SENTRY, reply(SENTRY_REPLY))
    for shown in (repr(call), repr(received), repr(SENTRY)):
        for secret in ("s:cret&", "the-code", VERIFIER, "sntrya_1", "sntryr_1"):
            assert secret not in shown
