"""Compiling: every problem at once, each at its place."""

import base64
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider.driver import ISSUER, PLAIN, compiled, oidc, problems
from vestibule.model import Secret
from vestibule.provider.definition import Definition
from vestibule.provider.provider import DefinitionError, Provider, compile_provider

LOOPBACK = {"base": "http://127.0.0.1:8080/dev"}


def over(**changes):
    """PLAIN with dotted paths (`__` for a dot) replaced."""
    raw = {}
    for path, value in changes.items():
        raw |= reduce(lambda inner, step: {step: inner}, reversed(path.split("__")), value)
    return raw


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        ({"titel": "x"}, "titel", "unknown key"),
        ({"title": 5}, "title", "Expected `str`"),
        ({"title": None}, "", "`title` is missing"),
        (over(token__url=None), "token", "`url` is missing"),
        (over(token__urll="x"), "token.urll", "unknown key"),
        (over(token__method="FETCH"), "token.method", "Invalid enum value"),
        (over(token__auth="jwt"), "token.auth", "Invalid enum value"),
        (over(token__out={"acces_token": "a"}), "token.out.acces_token", "unknown key"),
        (over(token__form=["a"]), "token.form", "Expected `object`"),
        (over(token__form={"a": "${p.base"}), "token.form.a", "without its"),
        (over(token__form={"a": "${x|rot13}"}), "token.form.a", "unknown filter"),
        (over(token__form={"a": "${state}"}), "token.form.a", "unknown name `state`"),
        (over(token__form={"a": "${p.base}"}), "token.form.a", "unknown parameter `base`"),
        (over(token__form={"a": "${client.name}"}), "token.form.a", "unknown `client.name`"),
        (over(token__form={"a": "${d.x}"}), "token.form.a", "unknown name `d`"),
        (over(token__headers={"X Y": "a"}), "token.headers.X Y", "not a header name"),
        (over(token={"json": {"a": "b"}, "form": {"c": "d"}}, refresh="none"), "token.json", "one body"),
        (over(token__ok="a["), "token.ok", "JMESPath"),
        (over(token__optional=True), "token.optional", "unknown key"),
        (over(refresh="never"), "refresh", "Invalid enum value"),
        (over(refresh__early=-1), "refresh.early", "int"),
        (over(refresh__form={"a": "${code}"}), "refresh.form.a", "unknown name `code`"),
        (over(pkce="S384"), "pkce", "Invalid enum value"),
        (over(client__auth="bearer"), "client.auth", "Invalid enum value"),
        (over(authorize__query={"a": "${code}"}), "authorize.query.a", "unknown name `code`"),
        (over(authorize__url="http://plain.example/"), "authorize.url", "must be https"),
        (over(token__url="http://plain.example/"), "token.url", "must be https"),
        (over(revoke__url="https://a@plain.example/"), "revoke.url", "user information"),
        (over(oidc={"issuer": "http://plain.example"}), "oidc.issuer", "must be https"),
        (over(oidc={"issuer": "https://i", "algs": ["HS256"]}), "oidc.algs", "Invalid enum value"),
        (over(oidc={"issuer": "https://i", "algs": ["none"]}), "oidc.algs", "Invalid enum value"),
        (over(oidc={"issuer": "https://i", "algs": []}), "oidc.algs", "length"),
        (over(oidc={"issuer": "${client.id}"}), "oidc.issuer", "unknown name `client`"),
        (over(identity__calls={"t": {"url": "https://x"}}), "identity.calls.t", "taken"),
        (over(identity__calls={"A b": {"url": "https://x"}}), "identity.calls.A b", "lower-case"),
        (over(identity__calls={"y": {}}), "identity.calls.y", "`url` is missing"),
        (over(identity__calls={"y": {"url": "https://x", "form": {"a": "b"}}}), "identity.calls.y.method", "no body"),
        (over(identity__calls={"y": {"url": "https://x", "when": "z.a"}}), "identity.calls.y.when", "unknown name `z`"),
        (over(identity__map={"sub": "mee.id"}), "identity.map.sub", "unknown name `mee`"),
        (over(identity__map={"sub": None}), "identity.map", "`sub` is missing"),
        (over(identity__map={"phone": "me.x"}), "identity.map.phone", "unknown key"),
        (over(identity__allow="contains(orgs, 'x')"), "identity.allow", "unknown name `orgs`"),
        (over(api__header={"A": "${client.secret}"}), "api.header.A", "not shown the client secret"),
        (over(params={"a": {"pattern": "("}}), "params.a.pattern", "regular expression"),
        (over(params={"a": {"default": "x", "pattern": "y"}}), "params.a.default", "does not match"),
        (over(params={"a": {"required": True}}), "@params.a", "required"),
    ],
    ids=str,
)
def test_definition_is_refused(change, place, says):
    """One problem, at the path that has to be changed, in words that say what was expected."""
    found = problems(PLAIN, over=change)
    assert [path for path, _ in found] == [place], found
    assert says in found[0][1]


def test_call_sees_only_what_came_before():
    """Identity calls are made in order: a later document does not exist yet, not even its own."""
    calls = {
        "a": {"url": "https://x/${b.id}"},
        "b": {"url": "https://x/${a.id}", "when": "a.id && me.id"},
        "c": {"url": "https://x/${c.id}"},
    }
    assert [path for path, _ in problems(PLAIN, over=over(identity__calls=calls))] == [
        "identity.calls.a.url",
        "identity.calls.c.url",
    ]


def test_all_problems_are_told_at_once():
    """Nobody fixes a file one restart at a time."""
    change = {
        "titel": "x",
        "token": {"url": "${", "form": {"a": "${nope}"}},
        "identity": {"map": {"sub": "["}},
        "params": {"need": {"required": True}},
    }
    found = [path for path, _ in problems(PLAIN, over=change, client_secret=None, params={"odd": "1"})]
    assert sorted(found) == sorted(
        ["titel", "token.url", "token.form.a", "identity.map.sub", "@params.need", "@params.odd", "@client.secret"]
    )


def test_inherited_problem_is_told_once():
    """`refresh` inherits from `token`; a problem of its own is its own."""
    assert [path for path, _ in problems(PLAIN, over=over(token__form={"a": "${"}))] == ["token.form.a"]
    both = {"token": {"form": {"a": "${"}}, "refresh": {"form": {"a": "${nope}"}}}
    assert [path for path, _ in problems(PLAIN, over=both)] == ["token.form.a", "refresh.form.a"]


@pytest.mark.parametrize(
    ("base", "fits"),
    [
        ("http://127.0.0.1:8080/dev", True),
        ("http://localhost", True),
        ("http://[::1]:8080", True),
        ("https://127.0.0.1", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://localhost.evil.example/", False),
        ("http://evil.example/http://localhost", False),
        ("http://localhost:80\n", False),
        ("http://localhost@evil.example", False),
        ("http://10.0.0.1", False),
        ("http://localhost:8080/..\\evil", False),
        ("", False),
    ],
)
def test_attack_development_provider_elsewhere(base, fits):
    """Its users log in without a password, so it is loopback only: patterns match the whole value."""
    if fits:
        assert compiled("development", params={"base": base}).params == {"base": base}
    else:
        assert problems("development", params={"base": base})[0][0] == "@params.base"


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("github", {"base": "http://github.com"}),
        ("github", {"base": "https://github.com/"}),
        ("github", {"api": "https://x@api.github.com"}),
        ("sentry", {"base": "https://sentry.io/"}),
        ("clerk", {"issuer": "https://clerk.example.com/"}),
        ("clerk", {}),
        ("oidc", {"issuer": "http://idp.example"}),
        ("oidc", {}),
    ],
    ids=str,
)
def test_catalog_parameters_are_checked(name, params):
    """A slash too many would be found at the first login otherwise."""
    assert [path for path, _ in problems(name, params=params)] == [f"@params.{next(iter(params), 'issuer')}"]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("github", {}),
        ("github", {"base": "https://ghe.example", "api": "https://ghe.example/api/v3"}),
        ("sentry", {}),
        ("sentry", {"base": "https://apps.example/sentry"}),
        ("clerk", {"issuer": "https://clerk.example.com"}),
        ("oidc", {"issuer": "https://idp.example/realms/a/"}),
        ("oidc", {"issuer": "http://localhost:5556/dex"}),
        ("development", LOOPBACK),
    ],
    ids=str,
)
def test_catalog_compiles(name, params):
    """Hosted, self-hosted and on loopback."""
    provider = compiled(name, params=params)
    assert isinstance(provider.definition, Definition)
    assert provider.id == name
    assert provider.pkce
    assert provider.refreshes


OFF = {"issuer": "https://idp.example", "discovery": "off", "jwks": "https://idp.example/keys"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("oidc.issuer", "https://idp.example/${p.site}"),
        ("oidc.discovery", "https://idp.example/${p.site|urlencode}"),
        ("oidc.jwks", "https://idp.example/${p.site}/keys"),
        ("oidc.jwks", "https://${p.site}.idp.example/keys"),
        ("oidc.audience", "${p.site}"),
        ("oidc.audience", "${p.site ?? client.id}"),
        ("callback.iss", "https://idp.example/${p.site}"),
    ],
)
def test_attack_captured_value_decides_who_is_believed(path, value):
    """OIDC Core §3.1.3.7, RFC 9207 §2.4: issuer, keys and audience are never a callback's or a reply's choice."""
    section, name = path.split(".")
    change = {"params": {"site": {"from": "cb.site", "pattern": "[a-z]+"}}, "oidc": OFF}
    change = change | {section: {**(OFF if section == "oidc" else {}), name: value}}
    assert [place for place, _ in problems(PLAIN, over=change)] == [path]
    assert compiled(PLAIN, change, params={"site": "ours"}).params == {"site": "ours"}


@pytest.mark.parametrize("jwks", ["http://idp.example/keys", "ftp://idp.example/", "https://a@idp.example/", "keys"])
def test_attack_keys_without_tls(jwks):
    """Keys that anybody on the way may swap verify anything: https, or loopback."""
    assert [path for path, _ in problems(PLAIN, over={"oidc": OFF | {"jwks": jwks}})] == ["oidc.jwks"]
    assert compiled(PLAIN, {"oidc": OFF | {"jwks": "http://127.0.0.1:8080/keys"}})


def test_attack_issuer_of_the_tokens_own_choice():
    """With a claim in the issuer and no discovery nothing would say which tenants there are."""
    found = problems(PLAIN, over={"oidc": OFF | {"issuer": "https://idp.example/${id.tid}"}})
    assert [path for path, _ in found] == ["oidc.issuer"]


def test_public_client_needs_no_secret():
    """RFC 6749 §2.3: with `auth: none` nothing is missing, otherwise the gateway refuses to start."""
    assert [path for path, _ in problems(PLAIN, client_secret=None)] == ["@client.secret"]
    assert compiled(PLAIN, {"client": {"auth": "none"}}, client_secret=None).client_secret is None
    revoke = {"client": {"auth": "none"}, "revoke": {"auth": "basic"}}
    assert [path for path, _ in problems(PLAIN, over=revoke, client_secret=None)] == ["@client.secret"]


def test_scopes_are_in_stable_order_without_repeats():
    """Default, required, the config's, then those of the permissions: the order is part of the connection's key."""
    provider = compiled(PLAIN, {"scopes": {"default": ["a", "b"], "required": ["r", "a"]}}, extra_scopes=("x", "b"))
    assert provider.scopes_for(["z", "r", "y"]) == ("a", "b", "r", "x", "z", "y")
    assert provider.scopes_for([]) == ("a", "b", "r", "x")
    assert oidc().scopes_for([]) == ("openid", "profile", "email")


def test_basic_credentials_are_form_encoded_first():
    """RFC 6749 §2.3.1: a colon in the id must not move the boundary."""
    provider = compiled(PLAIN, client_id="a:b c", client_secret=Secret("d/é%"))
    assert base64.b64decode(provider.names()["client"]["basic"]) == b"a%3Ab%20c:d%2F%C3%A9%25"


def test_secret_is_not_shown():
    """A provider may end up in a log line."""
    assert "s:cret&" not in repr(compiled(PLAIN))


def test_refresh_properties():
    """What the connection's owner asks."""
    assert compiled(PLAIN).refresh_early == 120
    never = compiled(PLAIN, {"refresh": "none"})
    assert (never.refreshes, never.refresh_early) == (False, 0)
    assert compiled(PLAIN, {"pkce": "off"}).pkce is False


def test_issuer_may_use_a_claim():
    """Entra's issuer names the tenant: known only from the id_token, but never another host."""
    provider = oidc({"oidc": {"issuer": "https://login.example/${id.tid}/v2.0"}})
    pattern = provider.issuer()
    assert pattern is not None
    assert pattern.fullmatch("https://login.example/{tenantid}/v2.0")
    assert not pattern.fullmatch("https://evil.example/x/v2.0")
    assert oidc().issuer().pattern == ISSUER.replace(".", r"\.")
    assert compiled(PLAIN).issuer() is None


WORDS = ["url", "form", "json", "calls", "map", "sub", "err", "code", "auth", "headers", "pattern", "me", "from", "jwt"]
WORDS += ["alg", "out", "par", "paginate", "by", "mode", "verify", "when", "at", "lifetime", "query", "method", "body"]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["${", "${p.x}", "a["]),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS),
            values,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def outcome(raw):
    try:
        return compile_provider("x", raw, client_id="c", client_secret=Secret("s"))
    except DefinitionError as error:
        return error.problems


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(st.sampled_from([*Definition.__struct_fields__, "x"]), JUNK, max_size=5))
def test_junk_is_refused_with_problems(raw):
    """Any YAML mapping either compiles or is a DefinitionError with at least one problem."""
    found = outcome(raw)
    assert isinstance(found, Provider) or len(found) > 0
