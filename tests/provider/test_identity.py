"""From documents to a person."""

import pytest

from provider.driver import MOMENT, PLAIN, compiled, reply, run
from vestibule.model import Secret, Tokens
from vestibule.provider import wire
from vestibule.provider.flow import Identified, ProviderFailed

MAP = {
    "sub": "me.id",
    "email": "me.email",
    "email_verified": "me.email_verified",
    "name": "me.name",
    "login": "me.login",
    "picture": "me.picture",
    "groups": "me.groups",
}


def identify(document, over=None):
    provider = compiled(PLAIN, {"identity": {"map": MAP} | (over or {})})
    tokens = Tokens(access_token=Secret("t"))
    return run(wire.identify(provider, tokens, nonce=None, **MOMENT), reply(document))[0]


@pytest.mark.parametrize(
    ("field", "value", "mapped"),
    [
        ("subject", {"id": 7}, "7"),
        ("subject", {"id": 0}, "0"),
        ("subject", {"id": "0"}, "0"),
        ("subject", {"id": " u|1 "}, " u|1 "),
        ("email", {"email": "a@x"}, "a@x"),
        ("email", {"email": None}, None),
        ("email", {"email": ""}, None),
        ("email_verified", {"email": "a@x", "email_verified": True}, True),
        ("email_verified", {"email": "a@x", "email_verified": "true"}, True),
        ("email_verified", {"email": "a@x", "email_verified": "false"}, False),
        ("email_verified", {"email": "a@x", "email_verified": 1}, False),
        ("email_verified", {"email": "a@x", "email_verified": ["true"]}, False),
        ("email_verified", {"email": "a@x"}, False),
        ("email_verified", {"email_verified": True}, False),
        ("groups", {"groups": ["b", "a", "b"]}, ("b", "a")),
        ("groups", {"groups": None}, None),
        ("groups", {}, None),
        ("name", {"name": "Zoë 🦊"}, "Zoë 🦊"),
        ("login", {"login": 5}, "5"),
    ],
    ids=str,
)
def test_field_is_mapped(field, value, mapped):
    """Numbers are ids, Apple's booleans are strings, and what is not said is not assumed."""
    event = identify({"id": 1} | value)
    assert isinstance(event, Identified)
    assert getattr(event.identity, field) == mapped


@pytest.mark.parametrize(
    ("document", "slug"),
    [
        ({}, "subject_missing"),
        ({"id": None}, "subject_missing"),
        ({"id": ""}, "subject_missing"),
        ({"id": "x" * 256}, "subject_missing"),
        ([], "subject_missing"),
        ("text", "subject_missing"),
        (None, "identity_reply_unreadable"),
        ({"id": True}, "identity_malformed"),
        ({"id": 1.5}, "identity_malformed"),
        ({"id": 1 << 64}, "identity_malformed"),
        ({"id": ["a"]}, "identity_malformed"),
        ({"id": "a\nb"}, "identity_malformed"),
        ({"id": 1, "email": {"a": 1}}, "identity_malformed"),
        ({"id": 1, "email": "a@x\r\nBcc: b"}, "identity_malformed"),
        ({"id": 1, "name": "x" * 3000}, "identity_malformed"),
        ({"id": 1, "groups": "admins"}, "identity_malformed"),
        ({"id": 1, "groups": {"admins": True}}, "identity_malformed"),
        ({"id": 1, "groups": ["a", 5]}, "identity_malformed"),
        ({"id": 1, "groups": ["a\x00"]}, "identity_malformed"),
        ({"id": 1, "groups": ["a"] * 5001}, "identity_malformed"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_identity_is_misconfigured(document, slug):
    """Who cannot be named by a stable subject is nobody; a list that is none could hide a group."""
    event = identify(document)
    assert isinstance(event, ProviderFailed)
    assert (event.kind, event.slug) == ("misconfigured", slug)


def test_tenant_is_part_of_the_name():
    """Slack and Entra: the same subject in two tenants is two people, so a mapped tenant must be there."""
    over = {"map": MAP | {"tenant": "me.team"}}
    assert identify({"id": 1, "team": 9}, over).identity.tenant == "9"
    assert identify({"id": 1, "team": None}, over).slug == "tenant_missing"


@pytest.mark.parametrize(
    ("allow", "allowed"),
    [
        ("contains(me.groups, 'acme')", True),
        ("me.groups[?@ == 'acme']", True),
        ("contains(me.groups, 'other')", False),
        ("contains(me.nothing, 'acme')", False),
        ("me.hd == 'acme.com'", False),
        ("p.none", False),
    ],
)
def test_allow(allow, allowed):
    """A predicate that is false, null or fails refuses."""
    event = identify({"id": 1, "groups": ["acme"]}, {"allow": allow})
    if allowed:
        assert isinstance(event, Identified)
    else:
        assert (event.kind, event.slug) == ("refused", "identity_not_allowed")


def test_attack_mapping_a_secret():
    """Expressions see documents: neither the client's secret nor the token can become a claim."""
    for source in ("client.secret", "access_token"):
        with pytest.raises(Exception, match="unknown name"):
            compiled(PLAIN, {"identity": {"map": {"name": source}}})


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "refused"), (403, "misconfigured"), (404, "misconfigured"), (500, "unavailable")]
)
def test_identity_call_fails(status, kind):
    """RFC 6750 §3.1: 401 is the token, 403 is a scope that the definition does not ask for."""
    tokens = Tokens(access_token=Secret("t"))
    event, _ = run(wire.identify(compiled(PLAIN), tokens, nonce=None, **MOMENT), reply({"message": "no"}, status))
    assert event.kind == kind
