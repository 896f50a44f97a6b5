"""A hostile callback cannot choose where a client secret or a token is sent."""

import pytest

from provider.driver import MOMENT, PLAIN, REDIRECT, compiled, lines, problems, reply, run
from vestibule.model import Secret, Tokens
from vestibule.provider import wire
from vestibule.provider.flow import ProviderFailed, TokensReceived
from vestibule.provider.provider import DefinitionError


def captured(pattern, url, *, source="cb.host", **more):
    return {"params": {"host": {"from": source, "pattern": pattern, **more}}, "token": {"url": url}, "refresh": "none"}


def compiles(over):
    try:
        compiled(PLAIN, over)
    except DefinitionError:
        return False
    return True


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        (r"https://accounts\.zoho\.(com|eu|in|com\.au|jp)", "${p.host}/oauth/v2/token"),
        (r"https://accounts\.zoho\.(com|eu|in|com\.au|jp)", "${p.host}"),
        (r"[a-z0-9][a-z0-9-]*\.myshopify\.com", "https://${p.host}/admin/oauth/access_token"),
        ("[a-z0-9-]{1,63}", "https://${p.host}.myshopify.com/token"),
        ("us|eu|in", "https://api-${p.host}.example.com/token"),
        (r"https://[A-Za-z0-9-]+(\.sandbox)?\.my\.salesforce\.com", "${p.host}/token"),
        (r"https://[a-z]+\.[a-z]+\.example\.com", "${p.host}/token"),
        ("[a-z]+", "https://${p.host}.example.co.uk/token"),
        (r"\d+", "https://api.example.com/${p.host}/token"),
        (r"https://login\.example\.com/id/[A-Za-z0-9]{15,18}/[A-Za-z0-9]+", "${p.host}"),
        (".*", "https://api.example.com/${p.host|urlencode}/token"),
    ],
)
def test_captured_value_in_a_url(pattern, url):
    """A closed list, or a label below a fixed domain; in the path without dots and slashes, or encoded."""
    assert compiles(captured(pattern, url))


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        # evil suffix
        (r"https://accounts\.zoho\..*", "${p.host}/token"),
        (r"https://accounts\.zoho\.[a-z.]+", "${p.host}/token"),
        (r"https://accounts\.zoho\.[a-z]+", "${p.host}/token"),
        (r"https://accounts.zoho.com", "${p.host}/token"),
        (r"https://accounts\.zoho\.com.*", "${p.host}/token"),
        (r"https://accounts\.zoho\.com[^/]*", "${p.host}/token"),
        (r".*\.zoho\.com", "https://${p.host}/token"),
        ("[a-z.]+", "https://${p.host}/token"),
        ("[a-z]+", "https://${p.host}/token"),
        ("[a-z]+", "https://accounts.${p.host}/token"),
        ("[a-z]+", "https://accounts.${p.host}.com/token"),
        ("[a-z]+", "https://${p.host}.com/token"),
        ("[a-z]+", "https://accounts.zoho.com${p.host}/token"),
        (r"(\.[a-z]+)?", "https://accounts.zoho.com${p.host}/token"),
        ("[a-z]+|[a-z.]+", "https://${p.host}.myshopify.com/token"),
        (r"https://[^/]+\.zoho\.com", "${p.host}/token"),
        # suffixes of registries
        ("[a-z]+", "https://${p.host}.co.uk/token"),
        ("[a-z]+", "https://zoho-${p.host}.com.au/token"),
        (r"https://[a-z]+\.Ac\.JP", "${p.host}/token"),
        (r"https://[a-z]+\.(gov|zoho)\.in", "${p.host}/token"),
        # user information, port, scheme
        ("[a-z:@]+", "https://${p.host}.zoho.com/token"),
        ("[a-z@]+", "https://${p.host}/token"),
        (r"https://(user@)?accounts\.zoho\.com", "${p.host}/token"),
        (r"https://accounts\.zoho\.com(:\d+)?", "${p.host}/token"),
        (r"https://accounts\.zoho\.com:8443", "${p.host}/token"),
        (r"https?://accounts\.zoho\.com", "${p.host}/token"),
        (r"(https|javascript)://accounts\.zoho\.com", "${p.host}/token"),
        ("https|http", "${p.host}://accounts.zoho.com/token"),
        # addresses
        (r"https://127\.0\.0\.1", "${p.host}/token"),
        (r"\d+\.\d+\.\d+\.\d+", "https://${p.host}/token"),
        (r"https://\[::1\]", "${p.host}/token"),
        (r"[0-9]+", "https://10.0.0.${p.host}/token"),
        ("localhost", "https://${p.host}/token"),
        # encodings and white space
        ("[a-z%]+", "https://${p.host}.zoho.com/token"),
        (r"[^/]+", "https://${p.host}.zoho.com/token"),
        (r"[a-z\s]+", "https://${p.host}.zoho.com/token"),
        (r"\S+", "https://${p.host}.zoho.com/token"),
        (r"[a-z\\]+", "https://${p.host}.zoho.com/token"),
        # paths
        ("[a-z/.]+", "https://api.zoho.com/${p.host}/token"),
        (r"[\w.]+", "https://api.zoho.com/${p.host}/token"),
        ("[^/]+", "https://api.zoho.com/${p.host}/token"),
        (r".*", "https://api.zoho.com/${p.host}"),
        ("[a-z?]+", "https://api.zoho.com/${p.host}"),
        ("[a-z#]+", "https://api.zoho.com/${p.host}"),
        (r"https://api\.zoho\.com/.*", "${p.host}"),
        # around a filter or a choice
        (".*", "https://${p.host|urlencode}/token"),
        (".*", "https://${p.host|lower}/token"),
        (r".*", "${p.host ?? 'https://api.zoho.com'}/token"),
        (r".*", "https://${client.id ?? p.host}.zoho.com/${p.host}"),
        # too much to be judged
        ("(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)", "https://${p.host}.zoho.com/token"),
    ],
)
def test_attack_callback_chooses_the_host(pattern, url):
    """Refused when the definition loads, for every value that the pattern admits: suffix, userinfo, port, IP, path."""
    assert not compiles(captured(pattern, url))
    assert not compiles(captured(pattern, url, source="t.host") | {"token": {}, "revoke": {"url": url}})


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://${t.host}/me",
            "https://api.${t.host}/me",
            "https://in.cluster${t.at}",
            "${t.url}",
            "http://${t.host}/me",
        ),
        *(
            "https://good.example@${t.host}/",
            "https://${t.host}.example.com/me",
            "https://${t.host|lower}.example.com/",
        ),
        *("https://api.example.com/${t.id}", "https://api.example.com/${me.id}/x", "https://${me.host|urlencode}/x"),
        *("https://api.example.com/${access_token}", "https://${x.a}.example.com/", "//${t.host}/x"),
    ],
)
def test_attack_reply_chooses_the_host(url):
    """What a token reply or an identity document says has no pattern: behind the host, and encoded, or not at all."""
    calls = {"me": {"url": "https://plain.example/me"}, "more": {"url": url}}
    assert [path for path, _ in problems(PLAIN, over={"identity": {"calls": calls}})] == ["identity.calls.more.url"]


def test_captured_value_needs_a_pattern():
    """Design decision 22."""
    over = {"params": {"host": {"from": "cb.host"}}}
    assert [path for path, _ in problems(PLAIN, over=over)] == ["params.host.pattern"]


@pytest.mark.parametrize("root", ["start.shop", "id.sub", "client.secret", "access_token", "p.x", "me.host"])
def test_captured_values_come_from_callback_and_replies(root):
    """From nothing that is not there yet, and from no secret."""
    over = {"params": {"host": {"from": root, "pattern": "[a-z]+"}}}
    assert [path for path, _ in problems(PLAIN, over=over)] == ["params.host.from"]


def test_the_authorize_url_cannot_wait_for_the_callback():
    """What is known only afterwards leads nowhere, unless the definition or the config says what stands for it."""
    over = captured("[a-z]+", "https://plain.example/token") | {
        "authorize": {"url": "https://${p.host}.plain.example/"}
    }
    assert [path for path, _ in problems(PLAIN, over=over)] == ["authorize.url"]
    assert compiles({**over, "params": {"host": {**over["params"]["host"], "default": "www"}}})


# --- at a login ------------------------------------------------------------------------------------------------------

ZOHO = {
    "params": {
        "accounts": {
            "from": 'cb."accounts-server"',
            "pattern": r"https://accounts\.zoho\.(com|eu|in)",
            "default": "https://accounts.zoho.com",
        },
        "api": {"from": "t.api_domain", "pattern": r"https://www\.zohoapis\.(com|eu|in)", "required": True},
    },
    "token": {"url": "${p.accounts}/oauth/v2/token"},
    "identity": {"calls": {"me": {"url": "${p.api}/me"}}},
    "revoke": {"url": "${p.accounts}/oauth/v2/token/revoke"},
}
ANSWER = {"access_token": "at", "refresh_token": "rt", "api_domain": "https://www.zohoapis.eu"}


def redeem(callback, answer=None, **more):
    answers = [reply(answer)] if answer is not None else []
    provider = compiled(PLAIN, ZOHO, **more)
    conversation = wire.redeem(
        provider, code="c", callback=callback, redirect_uri=REDIRECT, verifier="v" * 43, scopes=(), **MOMENT
    )
    return *run(conversation, *answers), provider


def test_captured_values_last_as_long_as_the_connection():
    """Token host from the callback, API host from the reply; both stand for the refresh and the revocation too."""
    event, (call,), provider = redeem({"code": "c", "accounts-server": "https://accounts.zoho.eu"}, ANSWER)
    assert (call.url, call.trusted) == ("https://accounts.zoho.eu/oauth/v2/token", False)
    assert event.tokens.kept == {"accounts": "https://accounts.zoho.eu", "api": "https://www.zohoapis.eu"}
    _, (call,) = run(wire.identify(provider, event.tokens, nonce=None, **MOMENT), reply({"id": 1}))
    assert (call.url, call.trusted) == ("https://www.zohoapis.eu/me", False)
    moved = reply(ANSWER | {"api_domain": "https://www.zohoapis.in"})
    renewed, (call,) = run(wire.refresh(provider, event.tokens, scopes=(), redirect_uri=REDIRECT, **MOMENT), moved)
    assert call.url == "https://accounts.zoho.eu/oauth/v2/token"
    assert renewed.tokens.kept == {"accounts": "https://accounts.zoho.eu", "api": "https://www.zohoapis.in"}
    _, (call,) = run(wire.revoke(provider, renewed.tokens, **MOMENT), reply(None))
    assert call.url == "https://accounts.zoho.eu/oauth/v2/token/revoke"


def test_default_stands_for_what_does_not_come():
    event, (call,), _ = redeem({"code": "c"}, ANSWER)
    assert call.url == "https://accounts.zoho.com/oauth/v2/token"
    assert "accounts" not in event.tokens.kept


def test_the_config_has_the_last_word():
    """A host that the admin names is the admin's, and no callback moves it."""
    params = {"accounts": "https://accounts.zoho.in"}
    hostile = {"code": "c", "accounts-server": "https://accounts.zoho.eu"}
    event, (call,), _ = redeem(hostile, ANSWER, params=params)
    assert (call.url, call.trusted) == ("https://accounts.zoho.in/oauth/v2/token", True)
    assert event.tokens.kept == {"api": "https://www.zohoapis.eu"}


@pytest.mark.parametrize(
    "host",
    [
        *("https://evil.example", "https://accounts.zoho.com.evil.example", "https://accounts.zoho.com@evil.example"),
        *(
            "https://accounts.zoho.com:8443",
            "http://accounts.zoho.com",
            "https://127.0.0.1",
            "https://accounts.zoho.com/x",
        ),
        *("https://accounts.zoho.com\n", " https://accounts.zoho.com", "https://accounts.zoho.com#", "x" * 5000),
    ],
)
def test_attack_hostile_callback(host):
    """Nothing is sent: the secret does not leave."""
    event, calls, _ = redeem({"code": "c", "accounts-server": host})
    assert (event.kind, event.slug, calls) == ("misconfigured", "captured_value", [])
    assert host.strip() not in event.detail


@pytest.mark.parametrize("value", [5, True, ["https://www.zohoapis.eu"], {"a": 1}, "https://evil.example"], ids=str)
def test_captured_value_of_a_reply_is_checked(value):
    event, _, _ = redeem({"code": "c"}, ANSWER | {"api_domain": value})
    assert isinstance(event, ProviderFailed)
    assert event.slug == "captured_value"


def test_required_value_has_to_come():
    event, _, _ = redeem({"code": "c"}, {"access_token": "at"})
    assert (event.kind, event.slug) == ("misconfigured", "captured_value_missing")


def test_kept_values_of_an_older_definition_are_ignored():
    """The definition in force says what is captured, not the row."""
    tokens = Tokens(access_token=Secret("at"), refresh_token=Secret("rt"), kept={"base": "https://evil.example"})
    over = {"params": {"base": {"default": "https://plain.example"}}, "token": {"url": "${p.base}/token"}}
    conversation = wire.refresh(compiled(PLAIN, over), tokens, scopes=(), redirect_uri=REDIRECT, **MOMENT)
    event, calls = run(conversation, reply({"access_token": "new"}))
    assert isinstance(event, TokensReceived)
    assert lines(calls) == ["POST https://plain.example/token"]


@pytest.mark.parametrize(
    "host", ["https://evil.example", "https://accounts.zoho.com", "https://www.zohoapis.com@x", ""]
)
def test_attack_kept_value_that_no_longer_matches(host):
    """A pattern that was tightened holds for connections made before: refresh, revocation, identity and API alike."""
    over = ZOHO | {"api": {"header": {"X-Host": "${p.api}"}, "query": {"host": "${p.api}"}}}
    provider = compiled(PLAIN, over | {"identity": {"calls": {"me": {"url": "${p.accounts}/me"}}}})
    stored = {"accounts": host + ".evil", "api": host}
    tokens = Tokens(access_token=Secret("at"), refresh_token=Secret("rt"), kept=stored)
    renewed, (call,) = run(wire.refresh(provider, tokens, scopes=(), redirect_uri=REDIRECT, **MOMENT), reply(ANSWER))
    assert call.url == "https://accounts.zoho.com/oauth/v2/token"
    assert renewed.tokens.kept == {"api": "https://www.zohoapis.eu"}
    _, (call,) = run(wire.revoke(provider, tokens, **MOMENT), reply(None))
    assert call.url == "https://accounts.zoho.com/oauth/v2/token/revoke"
    _, (call,) = run(wire.identify(provider, tokens, nonce=None, **MOMENT), reply({"id": 1}))
    assert call.url == "https://accounts.zoho.com/me"
    assert wire.api_headers(provider, Secret("at"), stored) == (("Authorization", "Bearer at"),)
    assert wire.api_query(provider, Secret("at"), stored) == {}
