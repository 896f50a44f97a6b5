"""Operators' keys: what is refused at creation, with what advice, and what becomes of a key."""

import pytest
from msgspec import UNSET, structs

from service.world import NOW
from vestibule.config import AllowRule, Authorization, Send
from vestibule.crypto.digests import well_formed_key
from vestibule.errors import KeyInvalid
from vestibule.model import KeyKind, Secret, Service
from vestibule.service import keys
from vestibule.service.keys import KeyRefused

DAY = 86400


def create(world, route="issues", *, config=None, **change):
    values = {
        "prefix": "vst",
        "service": "ci",
        "name": "nightly",
        "permissions": (),
        "expires_at": NOW + DAY,
        "now": NOW,
    }
    config = config or world.gateway.routes[route].config
    return keys.create(world.gateway.database, config, **values | change)


async def test_a_key_without_a_person(world):
    """Decision 13: it belongs to the service, is shown once, and passes as `client:<id>`."""
    made = await create(world, permissions=("read",))
    text = made.text.reveal()
    assert well_formed_key(text)
    assert text.startswith("vst_key_")
    assert text not in repr(made)
    assert made.record == (await world.facts(text)).key
    assert (made.record.kind, made.record.service, made.record.family_id) == (KeyKind.API_KEY, "ci", None)
    admission = await world.admit(text)
    assert (admission.principal, admission.permissions) == (Service("ci"), {"read"})


async def test_without_permissions_it_gets_the_routes_defaults(world):
    """As a client that names no scope."""
    assert (await create(world)).record.permissions == ("read",)


@pytest.mark.parametrize(
    ("route", "change", "advice"),
    [
        ("issues", {"permissions": ("read", "admin")}, ["'issues'", "'admin'", "read, write"]),
        ("issues", {"service": "nightly"}, ["'issues'", "'nightly'", "`- service: nightly`", "`allow`"]),
        ("signed", {}, ["'signed'", "'ci'", "`- service: ci`"]),
        ("tokens", {}, ["'tokens'", "provider token", "let a person sign in"]),
    ],
    ids=["unknown permission", "not on the list", "anyone means any person", "provider token"],
)
async def test_a_key_that_could_never_pass_is_refused_with_advice(world, route, change, advice):
    """Decision 13: at creation, saying what to change; and nothing is stored."""
    with pytest.raises(KeyRefused) as refused:
        await create(world, route, **change)
    for words in advice:
        assert words in str(refused.value)
    assert await keys.listing(world.gateway.database, NOW, everything=True) == []


@pytest.mark.parametrize(
    "send", [Send(), Send(authorization="signed_jwt"), Send(authorization=Authorization(static=Secret("x")))], ids=str
)
@pytest.mark.parametrize("allow", [[{"service": "*"}], [{"email": "a@b.c"}, {"service": "ci"}]], ids=str)
async def test_routes_that_take_services(world, send, allow):
    """Whatever else they send, as long as it is not a person's token."""
    rules = tuple(AllowRule(**rule) for rule in allow)
    config = structs.replace(world.gateway.routes["issues"].config, send=send, allow=rules)
    assert (await create(world, config=config)).record.route == "issues"


async def test_a_route_without_rules_is_the_config_checks_business(world):
    """An offline command may run on it; the gateway itself refuses to start."""
    config = structs.replace(world.gateway.routes["issues"].config, allow=UNSET)
    assert await create(world, config=config)


async def test_a_revoked_key_is_dead_at_once(world):
    """RFC 7009's spirit for operators: by the log, also in a gateway that runs elsewhere; twice is no error."""
    made = await create(world)
    text = made.text.reveal()
    await world.admit(text)
    assert (await keys.revoke(world.gateway.database, made.record.id, NOW)).revoked_at == NOW
    assert await keys.revoke(world.gateway.database, made.record.id, NOW) is None
    assert await keys.revoke(world.gateway.database, "unknown", NOW) is None
    await world.gateway.revocations.catch_up()
    with pytest.raises(KeyInvalid):
        await world.admit(text)


async def test_a_key_ends(world):
    """It was given an end, and that is when it ends."""
    text = (await create(world, expires_at=NOW + 30)).text.reveal()
    world.clock.advance(29)
    await world.admit(text)
    world.clock.advance(1)
    with pytest.raises(KeyInvalid):
        await world.admit(text)


async def test_listing(world):
    """Live keys of people and services; with `everything` the dead ones, too."""
    made, signed_in = await create(world), await world.sign_in()
    await keys.revoke(world.gateway.database, made.record.id, NOW)
    live = await keys.listing(world.gateway.database, NOW, everything=False)
    assert [facts.user and facts.user.name for facts in live] == ["Ada"]
    assert len(await keys.listing(world.gateway.database, NOW, everything=True)) == 2
    await world.revoke(signed_in.refresh)
    assert await keys.listing(world.gateway.database, NOW, everything=False) == []
