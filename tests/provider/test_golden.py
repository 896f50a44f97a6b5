"""Every definition of the catalog, walked through the life that its provider's documentation describes."""

import pytest

from provider.lifecycle import GOLDEN, compiled, golden, walk
from vestibule import catalog

NAMES = sorted({*catalog.names(), *(path.stem for path in GOLDEN.glob("*.yaml"))})


@pytest.mark.parametrize("name", NAMES)
def test_definition_follows_its_documentation(name):
    """RFC 6749 as the provider does it: authorize, callback, exchange, identity, refresh, revoke, API calls. Each
    request is held against the one that the documentation shows, each reply is the documented one.
    """
    path = GOLDEN / f"{name}.yaml"
    assert name in catalog.names(), "a golden life cycle without a definition: write providers/<name>.yaml"
    assert path.is_file(), "a definition without a golden life cycle: nobody knows that it is right"
    facts = golden(path)
    assert facts["provider"] == name
    differences = walk(compiled(name, facts), facts)
    assert not differences, "\n\n" + "\n\n".join(differences)


@pytest.mark.parametrize("name", NAMES)
def test_golden_life_names_its_sources(name):
    """A fact without a source is a guess: what was read, where and when; and what could not be had."""
    facts = golden(GOLDEN / f"{name}.yaml")
    assert facts["documentation"]
    for source in facts["documentation"]:
        assert source.keys() >= {"url", "what", "read"}, source
    assert isinstance(facts["undocumented"], list)


BROKEN = [
    ({"token": {"form": {"client_id": None}}}, "- form.client_id: CLIENT_ID"),
    ({"token": {"url": "https://evil.example/token"}}, "+ url: https://evil.example/token"),
    ({"token": {"query": {"secret": "${client.secret}"}}}, "+ query.secret: CLIENT_SECRET"),
    ({"token": {"headers": {"Authorization": "Basic ${client.basic}"}}}, "+ headers.authorization: Basic "),
    ({"pkce": "off"}, "- query.code_challenge: "),
    ({"refresh": {"form": {"scope": "${scope}"}}}, "+ form.scope: org:read project:read"),
    ({"refresh": "none"}, "+ documented: refresh: none"),
    ({"revoke": {"url": "https://sentry.io/revoke"}}, "+ url: https://sentry.io/revoke"),
    ({"identity": {"map": {"email_verified": "t.user.email"}}, "callback": {"mode": "form_post"}}, "+ mode: form_post"),
    ({"identity": {"map": {"sub": "t.user.email"}}}, "+ subject: user1@test.com"),
    ({"api": {"header": {"X-Key": "${access_token}"}}}, "+ headers.x-key: "),
]


@pytest.mark.parametrize(("change", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_walk_notices(change, told):
    """A walk that finds nothing must have looked: one change of a good definition, and what the walk says of it."""
    facts = golden(GOLDEN / "sentry.yaml")
    differences = walk(compiled("sentry", facts, over=change), facts)
    assert told in "\n".join(differences)
