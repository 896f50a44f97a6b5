"""The general call: what is sent, and how every answer is understood."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider.driver import MOMENT, PLAIN, REDIRECT, compiled, form, reply, run
from vestibule.model import HttpFailure, HttpReply, Secret, Tokens
from vestibule.provider import wire
from vestibule.provider.calls import MAX_PAGES, document_of
from vestibule.provider.flow import Identified, ProviderFailed, TokensReceived

GIVEN = {
    "code": "the-code",
    "callback": {},
    "redirect_uri": REDIRECT,
    "verifier": "v" * 43,
    "scopes": (),
    **MOMENT,
}
TOKENS = Tokens(access_token=Secret("the-token"), raw={"host": "evil.example", "id": "7/../8"}, scopes=("a",))


def redeem(answer, over=None):
    return run(wire.redeem(compiled(PLAIN, over), **GIVEN), answer)


def identify(over, *answers, tokens=TOKENS, **more):
    return run(wire.identify(compiled(PLAIN, over, **more), tokens, nonce="n", **MOMENT), *answers)


# --- the table of answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "slug"),
    [
        *(
            (HttpFailure(reason, "why"), "unavailable", f"provider_{reason}")
            for reason in ("timeout", "connect", "tls")
        ),
        *(
            (reply({"error": "invalid_grant"}, status), "unavailable", "provider_unavailable")
            for status in (500, 503, 599)
        ),
        (reply({"error": "invalid_grant"}, 429), "unavailable", "provider_unavailable"),
        (reply(None, 408), "unavailable", "provider_unavailable"),
        (reply({}, 403, retry_after="60"), "unavailable", "provider_unavailable"),
        (reply({}, 403, x_ratelimit_remaining="0"), "unavailable", "provider_unavailable"),
        (reply({"error": "temporarily_unavailable"}, 400), "unavailable", "temporarily_unavailable"),
        (reply({"error": "server_error"}), "unavailable", "server_error"),
        (reply({"error": "invalid_grant"}, 400), "refused", "invalid_grant"),
        (reply({"error": "invalid_grant"}, 401), "refused", "invalid_grant"),
        (reply({"error": "invalid_grant"}, 200), "refused", "invalid_grant"),
        (reply({"error": "access_denied"}, 403), "refused", "access_denied"),
        (
            reply(b"error=invalid_grant", 400, content_type="application/x-www-form-urlencoded"),
            "refused",
            "invalid_grant",
        ),
        (reply({"error": "invalid_client"}, 401), "misconfigured", "provider_error"),
        (reply({"error": "unsupported_grant_type"}, 400), "misconfigured", "provider_error"),
        (reply({"error": {"code": "invalid_grant"}}, 400), "misconfigured", "provider_error"),
        (reply({"error": 5, "access_token": "a"}), "misconfigured", "provider_error"),
        (reply({"error": ["x"], "access_token": "a"}), "misconfigured", "provider_error"),
        (reply(None, 401), "misconfigured", "provider_status"),
        (reply({}, 404), "misconfigured", "provider_status"),
        (reply({"access_token": "a"}, 302, location="https://x"), "misconfigured", "provider_status"),
        (reply({"access_token": "a"}, 101), "misconfigured", "provider_status"),
        (reply(b"<html>Sign in</html>", content_type="text/html"), "misconfigured", "token_reply_unreadable"),
        (reply(b'{"access_token": "a'), "misconfigured", "token_reply_unreadable"),
        (reply(b'{"access_token": "a", "expires_in": NaN}'), "misconfigured", "token_reply_unreadable"),
        (reply(b'{"access_token": "a", "expires_in": 1e999}'), "misconfigured", "token_reply_unreadable"),
        (reply(b"\xff\xfe{"), "misconfigured", "token_reply_unreadable"),
        (reply(b"[" * 100_000), "misconfigured", "token_reply_unreadable"),
        (reply(None), "misconfigured", "token_reply_unreadable"),
        (reply(None, 204), "misconfigured", "token_reply_unreadable"),
        (reply([{"access_token": "a"}]), "misconfigured", "token_reply_unreadable"),
        (reply({}), "misconfigured", "access_token_missing"),
        (reply({"access_token": None}), "misconfigured", "access_token_missing"),
        (reply({"access_token": "a", "expires_in": -5}), "misconfigured", "expires_in_malformed"),
        (reply({"access_token": "a", "expires_in": "9" * 5000}), "misconfigured", "expires_in_malformed"),
    ],
    ids=str,
)
def test_answer_has_exactly_one_kind(answer, kind, slug):
    """Only a healthy "no" is refused; a provider in trouble is unavailable whatever its body says."""
    event, _ = redeem(answer)
    assert isinstance(event, ProviderFailed)
    assert (event.kind, event.slug) == (kind, slug)


@pytest.mark.parametrize(
    "answer",
    [
        reply({"access_token": "a"}),
        reply({"access_token": "a", "error": None}),
        reply({"access_token": "a", "error": ""}),
        reply({"access_token": "a", "error": False}),
        reply({"access_token": "a"}, 201),
        reply({"access_token": "a"}, content_type="text/html; charset=utf-8"),
        reply({"access_token": "a"}, content_type=""),
        reply({"access_token": "a"}, content_type="application/vnd.x+json"),
        reply(b'\n {"access_token": "a"}'),
        reply(b"access_token=a&scope=", content_type="application/x-www-form-urlencoded; charset=utf-8"),
        reply(b"access_token=a", content_type="text/plain"),
    ],
    ids=str,
)
def test_reply_is_read(answer):
    """By content type, then by look (RFC 6749 §5.1 wants JSON; GitHub and old Facebook sent forms)."""
    event, _ = redeem(answer)
    assert isinstance(event, TokensReceived)
    assert event.tokens.access_token == Secret("a")


def test_attack_duplicate_form_fields():
    """Two access tokens: which one counts would be a parser's opinion."""
    answer = reply(b"access_token=a&access_token=b", content_type="application/x-www-form-urlencoded")
    assert document_of(answer) is None


def test_ok_is_a_predicate_on_top_of_2xx():
    """Slack answers errors as HTTP 200 with `ok: false`."""
    over = {"token": {"ok": "ok"}}
    assert isinstance(redeem(reply({"ok": True, "access_token": "a"}), over)[0], TokensReceived)
    event, _ = redeem(reply({"ok": False, "access_token": "a"}), over)
    assert (event.kind, event.slug) == ("misconfigured", "provider_not_ok")
    event, _ = redeem(reply({"ok": False, "error": "invalid_grant"}), over)
    assert event.kind == "refused"


def test_attack_secrets_repeated_in_an_error():
    """Some providers say which token they refuse; what we sent is blotted out, line breaks are no lines."""
    told = "no code the-code\r\nINFO fake line of s:cret& " + "v" * 43 + " " + "x" * 900
    event, _ = redeem(reply({"error": "invalid_grant", "error_description": told}, 400))
    assert "no code ***" in event.detail
    for secret in ("the-code", "s:cret&", "v" * 43, "\n", "\r"):
        assert secret not in event.detail
    assert len(event.detail) < 500


def test_attack_tokens_repeated_in_an_error():
    """Of earlier replies too, the credentials as they were sent, and all of it URL-encoded; the longest first."""
    basic = "dGhlJTIwY2xpZW50OnMlM0FjcmV0JTI2"
    raw = {"id_token": "to ken/1", "bot": [{"accessToken": "bot+t"}], "access_token": "the-token"}
    tokens = Tokens(access_token=Secret("the-token"), raw=raw, exchanged={"more": {"page_token": "the-token-2"}})
    told = f"Basic {basic}, s%3Acret%26, to%20ken%2F1, to+ken%2F1, bot+t, bot%2Bt, the-token-2; the-token"
    event, _ = identify({}, reply({"error": "invalid_token", "error_description": told}, 401), tokens=tokens)
    assert event.detail.endswith("invalid_token Basic ***, ***, ***, ***, ***, ***, ***; ***")


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.integers(100, 599), st.binary(max_size=60), st.sampled_from(["application/json", "text/plain", "", "text/html"])
)
def test_any_bytes_end_in_an_event(status, body, content_type):
    """Malformed answers never raise."""
    event, _ = redeem(HttpReply(status=status, headers={"content-type": content_type}, body=body))
    assert isinstance(event, TokensReceived | ProviderFailed)


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(["access_token", "error", "expires_in", "expires_at", "scope", "id", "sub", "x"]),
            values,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None)  # a busy machine is no failure
@given(DOCUMENTS, st.integers(200, 499))
def test_any_json_ends_in_an_event(document, status):
    """As JSON, of any shape, for tokens, refresh, identity and revocation alike."""
    provider = compiled(PLAIN)
    answer = reply(json.dumps(document).encode(), status)
    refreshed = wire.refresh(provider, TOKENS, scopes=(), redirect_uri=REDIRECT, **MOMENT)
    for conversation, good in (
        (wire.redeem(provider, **GIVEN), TokensReceived),
        (refreshed, TokensReceived),
        (wire.identify(provider, TOKENS, nonce="n", **MOMENT), Identified),
        (wire.revoke(provider, TOKENS, **MOMENT), type(None)),
    ):
        assert isinstance(run(conversation, answer)[0], good | ProviderFailed)


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_body_is_a_form_or_json():
    """Null parameters are left out; JSON keeps types; the content type can be overridden."""
    over = {"token": {"form": {"gone": "${p.gone ?? p.gone}", "n": 5}}, "params": {"gone": {}}}
    _, (call,) = redeem(reply({}), over)
    assert form(call)["n"] == "5"
    assert "gone" not in form(call)
    assert dict(call.headers)["Content-Type"] == "application/x-www-form-urlencoded"
    over = {"token": {"json": {"code": None, "c": "${code}", "n": 5, "gone": "${p.gone}"}}, "params": {"gone": {}}}
    _, (call,) = redeem(reply({}), over)
    assert json.loads(call.body) == {
        "client_id": "the client",
        "client_secret": "s:cret&",
        "grant_type": "authorization_code",
        "redirect_uri": REDIRECT,
        "code_verifier": "v" * 43,
        "c": "the-code",
        "n": 5,
    }
    assert dict(call.headers)["Content-Type"] == "application/json"
    over["token"]["headers"] = {"content-type": "application/vnd.x+json"}
    _, (call,) = redeem(reply({}), over)
    assert [value for name, value in call.headers if name.lower() == "content-type"] == ["application/vnd.x+json"]


def test_attack_header_injection():
    """RFC 9110 §5.5: a value with a line break never becomes a header, and nothing is sent."""
    over = {"params": {"x": {}}, "token": {"headers": {"X-Param": "${p.x}"}}}
    event, calls = run(wire.redeem(compiled(PLAIN, over, params={"x": "a\r\nHost: evil"}), **GIVEN))
    assert (event.kind, event.slug, calls) == ("misconfigured", "template_unrenderable", [])


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://plain.example/me", "https://plain.example/me"),
        ("${p.base}/me", "https://in.cluster/me"),
        ("${p.base}/users/${t.id|urlencode}", "https://in.cluster/users/7%2F..%2F8"),
        ("https://api.example?id=${t.id|urlencode}", "https://api.example?id=7%2F..%2F8"),
    ],
)
def test_host_that_the_admin_chose(url, asked):
    """Exempt from the SSRF guard, whatever a reply adds behind it."""
    over = {"params": {"base": {"default": "https://in.cluster"}}, "identity": {"calls": {"me": {"url": url}}}}
    _, (call,) = identify(over, reply({"id": 1}))
    assert (call.url, call.trusted) == (asked, True)


# --- pages -----------------------------------------------------------------------------------------------------------

PAGED = {
    "identity": {
        "calls": {"me": None, "teams": {"url": "https://plain.example/teams", "paginate": "link"}},
        "map": {"sub": "teams[0]", "groups": "teams"},
    }
}


def link(target):
    return {"link": f'<{target}>; rel="next"'}


def test_pages_are_joined():
    """RFC 8288; every page is asked for with the token, the last one has no `next`."""
    event, calls = identify(
        PAGED, reply(["a"], **link("https://plain.example/teams?page=2")), reply(["b"], **link("?page=3")), reply(["c"])
    )
    assert event.identity.groups == ("a", "b", "c")
    assert [call.url.partition("?")[2] for call in calls] == ["", "page=2", "page=3"]
    assert all(dict(call.headers)["Authorization"] == "Bearer the-token" for call in calls)


def test_pages_are_bounded():
    """A `next` that never ends costs ten requests."""
    answers = [reply([str(n)], **link(f"?page={n}")) for n in range(MAX_PAGES)]
    event, calls = identify(PAGED, *answers)
    assert len(calls) == MAX_PAGES
    assert len(event.identity.groups) == MAX_PAGES


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/teams",
        "https://plain.example.evil.example/",
        "http://plain.example/teams",
        "https://plain.example:444/teams",
        "//evil.example/",
        "https://plain.example@evil.example/",
        "https://[::1",
        "javascript:alert(1)",
        "https://plain.example/a b",
    ],
)
def test_attack_page_on_another_origin(target):
    """The request carries the user's token; and half a list is no list."""
    event, calls = identify(PAGED, reply(["a"], **link(target)))
    assert (event.kind, event.slug) == ("misconfigured", "page_on_another_origin")
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("second", "kind"),
    [(reply({"a": 1}), "misconfigured"), (reply({}, 401), "refused"), (HttpFailure("timeout"), "unavailable")],
    ids=["object", "401", "timeout"],
)
def test_half_a_list_is_no_list(second, kind):
    """A group list that ends early must not look like a short one."""
    event, _ = identify(PAGED, reply(["a"], **link("?page=2")), second)
    assert event.kind == kind


# --- optional and conditional calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (reply({"x": "y"}), "y"),
        (reply({}, 403), None),
        (reply({}, 401), None),
        (reply(b"<html>"), None),
        (reply({}, 503), "unavailable"),
        (reply({}, 403, retry_after="1"), "unavailable"),
        (HttpFailure("timeout"), "unavailable"),
    ],
    ids=str,
)
def test_optional_call(answer, outcome):
    """A refusal is null, trouble is trouble."""
    over = {"identity": {"calls": {"more": {"url": "https://plain.example/more", "optional": True}}}}
    over["identity"]["map"] = {"name": "more.x"}
    event, _ = identify(over, reply({"id": 1}), answer)
    assert (event.identity.name if isinstance(event, Identified) else event.kind) == outcome


def test_call_when():
    """`when` reads parameters, tokens, granted scopes and earlier documents."""
    for when, made in {
        "contains(scopes, 'a')": True,
        "contains(scopes, 'b')": False,
        "t.host": True,
        "me.admin": False,
        "me.id": True,
        "contains(t.none, 'x')": False,
    }.items():
        over = {"identity": {"calls": {"more": {"url": "https://plain.example/more", "when": when}}}}
        _, calls = identify(over, reply({"id": 1}), *([reply({})] if made else []))
        assert len(calls) == 1 + made
