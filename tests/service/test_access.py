"""Admission: what ends a key, what the backend is told, and what a request costs."""

import asyncio
import json
import re

import httpx
import pytest
from jwcrypto.jwk import JWKSet
from jwcrypto.jws import JWS
from msgspec import structs
from structlog.testing import capture_logs

from service.world import ADA, ISSUER, NOW
from storage.records import CONNECTION, FAMILY, KEY
from vestibule.config import AllowRule, PermissionConfig
from vestibule.crypto import random
from vestibule.errors import KeyInvalid, Unavailable
from vestibule.model import GrantRecord, KeyFacts, KeyKind, UserRecord
from vestibule.policy.permissions import compile_permissions
from vestibule.policy.rules import compile_rules
from vestibule.service import access as module
from vestibule.service import keys as operator_keys
from vestibule.service.access import admission_of

DAY = 86400


FACTS = KeyFacts(
    key=structs.replace(KEY, permissions=("read", "write")),
    family=FAMILY,
    grant=GrantRecord(
        id="grant-1", user_id="user-1", client_id="portal", route="issues", created_at=NOW, revoked_at=None
    ),
    user=UserRecord(
        id="user-1",
        provider="acme",
        tenant="",
        subject="1",
        email="ada@acme.com",
        email_verified=True,
        name="Ada",
        login=None,
        picture=None,
        groups=("platform",),
    ),
    connection=structs.replace(CONNECTION, provider="acme"),
)
"""A key of the route `issues` that may pass."""


def changed(facts, changes):
    """`{"family.revoked_at": 1}`: one field of one record, or a whole record."""
    for path, value in changes.items():
        name, _, field = path.partition(".")
        part = structs.replace(getattr(facts, name), **{field: value}) if field else value
        facts = structs.replace(facts, **{name: part})
    return facts


async def service_key(world, service="ci", route="issues", **change):
    """An operator's key; the service need not be on the allow list."""
    config = structs.replace(world.gateway.routes[route].config, allow=(AllowRule(service=service),))
    values = {"service": service, "name": "", "permissions": (), "expires_at": NOW + DAY, "now": NOW, "prefix": "vst"}
    return (await operator_keys.create(world.gateway.database, config, **values | change)).text.reveal()


PERSONS_PARTS = {"family": None, "grant": None, "user": None}

ENDS = [
    ({"key.revoked_at": NOW}, "key_revoked"),
    ({"key.expires_at": NOW}, "key_expired"),
    ({"key.expires_at": 0}, "key_expired"),
    ({"key.route": "removed"}, "route_gone"),
    ({"family": None}, "family_gone"),
    ({"grant": None}, "family_gone"),
    ({"user": None}, "family_gone"),
    (PERSONS_PARTS, "family_gone"),
    ({"family.revoked_at": NOW}, "family_revoked"),
    ({"family.expires_at": NOW}, "family_revoked"),
    ({"grant.revoked_at": NOW}, "grant_revoked"),
    ({"grant.route": "tokens"}, "grant_revoked"),
    ({"user.disabled_at": NOW}, "user_disabled"),
    ({"user.provider": "github"}, "provider_not_on_route"),
    ({"user.email": "ada@elsewhere.com"}, "not_on_allow_list"),
    ({"user.email": None}, "not_on_allow_list"),
    ({"user.email_verified": False}, "email_not_verified"),
    ({"connection.ended_at": NOW}, "connection_ended"),
    ({"key.family_id": None, **PERSONS_PARTS}, "owner_missing"),
    ({"key.family_id": None, "key.service": "nightly", **PERSONS_PARTS}, "service_not_allowed"),
]


@pytest.mark.parametrize(("changes", "slug"), ENDS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_key_may_not_pass_when(world, changes, slug):
    """Everything that ends a key (decisions 7, 8, 10, 11, 13, 19), each with its reason in the log."""
    assert admission_of(world.gateway, FACTS) is not None
    with capture_logs() as logs:
        assert admission_of(world.gateway, changed(FACTS, changes)) is None
    assert [(entry["event"], entry["reason"]) for entry in logs] == [("key_refused", slug)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"key.expires_at": NOW + 1},
        {"family.expires_at": NOW + 1},
        {"user.email": "ADA@ACME.COM"},
        {"connection": None},
        {"key.family_id": None, "key.service": "ci", **PERSONS_PARTS},
    ],
    ids=str,
)
async def test_a_key_may_pass_when(world, changes):
    """The rows above, one step on the other side."""
    assert admission_of(world.gateway, changed(FACTS, changes)) is not None


@pytest.mark.parametrize(
    ("changes", "until"),
    [
        ({}, NOW + 60),
        ({"key.expires_at": NOW + 59}, NOW + 59),
        ({"family.expires_at": NOW + 30}, NOW + 30),
        ({"key.expires_at": NOW + 20, "family.expires_at": NOW + 30}, NOW + 20),
    ],
    ids=str,
)
async def test_an_admission_is_good_for_a_minute_and_never_past_its_end(world, changes, until):
    """Design decision 16."""
    assert admission_of(world.gateway, changed(FACTS, changes)).until == until


@pytest.mark.parametrize(
    ("granted", "configured", "effective"),
    [
        (("read", "write"), ("read", "write"), {"read", "write"}),
        (("read",), ("read", "write"), {"read"}),
        (("read", "write"), ("read",), {"read"}),
        (("read",), ("read", "admin"), {"read"}),
        (("read",), ("admin",), set()),
    ],
)
async def test_effective_permissions(world, granted, configured, effective):
    """Design decision 9: granted ∩ configured; a new permission is never added to an old grant."""
    permissions = compile_permissions({name: PermissionConfig(title=name) for name in configured})
    later = world.with_route("issues", permissions=permissions)
    assert admission_of(later.gateway, changed(FACTS, {"key.permissions": granted})).permissions == effective


# --- admit ------------------------------------------------------------------------------------------------------------


async def test_a_key_of_one_route_is_refused_on_another(world):
    """CVE-2025-69196, decision 10: audience; refused in both directions, cached or not."""
    issues, signed = await world.sign_in(), await world.sign_in(route="signed", permissions=("access",))
    for _ in range(2):
        for text, route in ((issues.access, "signed"), (signed.access, "issues")):
            with pytest.raises(KeyInvalid) as refused:
                await world.admit(text, route)
            assert refused.value.slug == "key_of_other_route"
    await world.admit(issues.access)


async def test_attack_truncated_token(world):
    """CVE-2026-27840: a prefix, a suffix, another's checksum; refused before the database is asked."""
    keys = await world.sign_in()
    await world.admit(keys.access)
    whole = keys.access
    for text in (whole[:-1], whole[:-6], whole[:20], whole[1:], whole + "0", "", "vst_at_"):
        with pytest.raises(KeyInvalid) as refused:
            await world.admit(text)
        assert refused.value.slug == "key_malformed"


async def test_a_well_formed_key_that_nobody_made(world):
    """The checksum proves nothing; the answer is remembered for 5 s and asks the database once."""
    text = random.key_text("vst", KeyKind.ACCESS_TOKEN)
    for _ in range(3):
        with pytest.raises(KeyInvalid) as refused:
            await world.admit(text)
        assert refused.value.slug == "key_unknown"


async def test_a_cached_admission_asks_no_database(world, monkeypatch):
    """The gated path: every request but the first works with the database gone."""
    keys = await world.sign_in()
    first = await world.admit(keys.access)
    monkeypatch.setattr(world.gateway.database, "read", None)
    assert await world.admit(keys.access) is first


async def test_a_revoked_key_is_refused_at_once(world):
    """What users complain about, 5, the other half: a sign-out that leaves access alive."""
    keys = await world.sign_in()
    await world.admit(keys.access)
    await world.revoke(keys.refresh)
    with pytest.raises(KeyInvalid):
        await world.admit(keys.access)


async def test_an_expired_key_is_refused_at_once(world):
    """RFC 6749 §5.1 `expires_in`: cached or not, to the second."""
    keys = await world.sign_in()
    world.clock.advance(3599)
    await world.admit(keys.access)
    world.clock.advance(1)
    with pytest.raises(KeyInvalid):
        await world.admit(keys.access)


async def test_attack_cache_key_collision_gives_no_other_identity(world):
    """CVE-2026-71326: fifty requests of five people at once, cold and warm; everybody is who they are."""
    people = []
    for number in range(5):
        world.network.person = ADA | {"id": str(number), "email": f"p{number}@acme.com", "name": f"P{number}"}
        people.append(await world.sign_in())
    for _ in range(2):
        found = await asyncio.gather(*(world.admit(people[n % 5].access) for n in range(50)))
        assert [entry.principal.name for entry in found] == [f"P{n % 5}" for n in range(50)]
        assert len({entry.sub for entry in found}) == 5


async def test_last_use_is_written_off_the_path(world):
    """Batched; a round that fails is made up for by the next."""
    keys = await world.sign_in()
    await world.admit(keys.access)
    assert (await world.facts(keys.access)).key.last_used_at is None
    await world.access.flush_used()
    await world.access.flush_used()
    assert (await world.facts(keys.access)).key.last_used_at == NOW


# --- identity headers -------------------------------------------------------------------------------------------------


def headers_of(world, **user):
    facts = changed(FACTS, {f"user.{name}": value for name, value in user.items()})
    return {name.decode(): value.decode() for name, value in admission_of(world.gateway, facts).headers}


async def test_identity_headers(world):
    """Gateway, identity: every configured header, with our own opaque id as `sub`."""
    assert headers_of(world) == {
        "x-sub": "user-1",
        "x-email": "ada@acme.com",
        "x-name": "Ada",
        "x-groups": "platform",
        "x-client": "portal",
        "x-scope": "read write",
    }


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        ("Zoë Müller", "Zo%C3%AB M%C3%BCller"),
        ("李", "%E6%9D%8E"),
        ("a\r\nX-Admin: 1", "a%0D%0AX-Admin: 1"),
        ("a\nb\x00c\x7f", "a%0Ab%00c%7F"),
        ("100% \u202e", "100%25 %E2%80%AE"),
        ('"quoted"; a=b', "%22quoted%22%3B a%3Db"),
        (" Ada ", "%20Ada%20"),
        ("  ", "%20%20"),
        (" ", "%20"),
        (None, ""),
        ("", ""),
    ],
)
async def test_attack_header_injection(world, name, header):
    """Gateway, identity: percent-encoded UTF-8, so that no claim ends its header or starts another."""
    found = (headers_of(world, name=name))["x-name"]
    assert found == header
    assert re.fullmatch(r"|[\x21-\x7e]|[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]", found)  # RFC 9110 §5.5


@pytest.mark.parametrize(
    ("groups", "header"),
    [
        (("a", "b c"), "a,b c"),
        (("a,b", "c"), "a%2Cb,c"),
        ((" a", "b "), "%20a,b%20"),
        ((), ""),
        (None, ""),
    ],
)
async def test_attack_group_with_a_comma(world, groups, header):
    """A list is joined by commas, so no group may hold one: else `x,admin` would be two."""
    assert (headers_of(world, groups=groups))["x-groups"] == header


@pytest.mark.parametrize("settings", [{"[{email_domain: acme.com}, {service: ci}]": "anyone"}])
@pytest.mark.parametrize("user", [{"email_verified": False}, {"email": None}], ids=str)
async def test_an_unverified_address_is_not_sent(world, user):
    """CVE-2026-40574: a backend takes it for the person; the header is there and empty."""
    assert (headers_of(world, **user))["x-email"] == ""


@pytest.mark.parametrize(("name", "length"), [("x" * 4096, 4096), ("é" * 682, 4092)], ids=["plain", "encoded"])
async def test_a_long_header_is_sent_whole(world, name, length):
    """Up to the cap, as encoded."""
    assert len((headers_of(world, name=name))["x-name"]) == length


@pytest.mark.parametrize("user", [{"name": "x" * 4097}, {"name": "é" * 683}, {"groups": ("g" * 50,) * 90}], ids=list)
async def test_a_header_that_is_too_long_fails_loudly(world, user):
    """Cut off, it would name somebody else, or leave out the group that forbids."""
    with pytest.raises(Unavailable) as refused:
        headers_of(world, **user)
    assert refused.value.slug == "identity_header_too_long"


async def test_a_service_is_no_person(world):
    """RFC 9700 §4.15, decision 13: `client:<id>`, and nothing that a person would have."""
    admission = await world.admit(await service_key(world))
    headers = {name.decode(): value.decode() for name, value in admission.headers}
    assert headers["x-sub"] == "client:ci"
    assert (headers["x-email"], headers["x-name"], headers["x-groups"]) == ("", "", "")
    assert (admission.sub, admission.client_id) == ("client:ci", "ci")


# --- identity JWT (design decision 15) --------------------------------------------------------------------------------


def verified(world, token):
    """As a backend does it, with the published keys and nothing of ours."""
    jws = JWS()
    jws.allowed_algs = ["ES256"]
    jws.deserialize(token, JWKSet.from_json(json.dumps(world.gateway.identity_keys.jwks())))
    return json.loads(jws.payload)


async def jwt_of(world, text):
    admission = await world.admit(text, "signed")
    return world.access.identity_jwt(admission, world.gateway.routes["signed"])


async def test_identity_jwt(world):
    """Gateway, identity: `iss, aud = route, sub, email, groups, client_id, scope, jti`, a minute long."""
    keys = await world.sign_in(route="signed", permissions=("access",))
    claims = verified(world, await jwt_of(world, keys.access))
    facts = await world.facts(keys.access)
    assert re.fullmatch(r"[A-Za-z0-9_-]{16}", claims.pop("jti"))
    assert claims == {
        "iss": ISSUER,
        "aud": f"{ISSUER}/signed",
        "iat": NOW,
        "exp": NOW + 60,
        "sub": facts.user.id,
        "email": "ada@acme.com",
        "name": "Ada",
        "groups": ["platform"],
        "provider": "acme",
        "client_id": "portal",
        "scope": "access",
    }


@pytest.mark.parametrize(("after", "same"), [(0, True), (29, True), (30, False), (59, False)])
async def test_identity_jwt_is_reused_for_thirty_seconds(world, after, same):
    """Signed once per key and route: at least half a minute is left of it, whenever it is sent."""
    keys = await world.sign_in(route="signed", permissions=("access",))
    first = await jwt_of(world, keys.access)
    world.clock.advance(after)
    later = await jwt_of(world, keys.access)
    assert (later == first) is same
    assert verified(world, later)["exp"] >= world.clock() + 30


async def test_identity_jwts_of_two_keys_are_two(world):
    """No claim of one person is ever sent for another."""
    ada = await world.sign_in(route="signed", permissions=("access",))
    world.network.person = ADA | {"id": "2", "name": "Grace", "email": "grace@acme.com"}
    grace = await world.sign_in(route="signed", permissions=("access",))
    tokens = [await jwt_of(world, keys.access) for keys in (ada, grace, ada)]
    assert [verified(world, token)["name"] for token in tokens] == ["Ada", "Grace", "Ada"]


async def test_identity_jwt_leaves_out_what_is_not_known_or_not_proven(world):
    """An unverified address, and what a service does not have, are no claims at all."""
    world.network.person = {"id": "3", "email": "eve@acme.com", "verified": False}
    keys = await world.sign_in(route="signed", permissions=("access",))
    assert verified(world, await jwt_of(world, keys.access)).keys().isdisjoint({"email", "name", "groups"})


# --- the provider's token ---------------------------------------------------------------------------------------------


async def provider_token(world, keys):
    admission = await world.admit(keys.access, "tokens")
    ((name, value),) = world.access.provider_headers(admission)
    assert name == b"authorization"
    return value.decode()


async def test_the_users_own_token_is_presented(world):
    """`send: provider_token`, as the definition's `api` says."""
    assert await provider_token(world, await world.sign_in(route="tokens", permissions=("read",))) == "Bearer access-1"


@pytest.mark.parametrize(("after", "token", "calls"), [(3479, "access-1", 0), (3480, "access-2", 1)])
async def test_it_is_refreshed_two_minutes_before_its_end(world, after, token, calls):
    """Design decision 17; the keys that we issue live on meanwhile."""
    keys = await world.sign_in(route="tokens", permissions=("read",))
    await provider_token(world, keys)
    world.clock.advance(after)
    assert await provider_token(world, keys) == f"Bearer {token}"
    assert len(world.network.asked("/refresh")) == calls


async def test_a_provider_in_trouble_keeps_the_session(world):
    """The old token while it is good, then 503 and never 401; asked again only after a pause; then all is well."""
    keys = await world.sign_in(route="tokens", permissions=("read",))
    world.network.fails = [httpx.Response(500), httpx.ReadTimeout("slow"), httpx.Response(503)]
    world.clock.advance(3480)
    assert [await provider_token(world, keys) for _ in range(5)] == ["Bearer access-1"] * 5
    assert len(world.network.asked("/refresh")) == 1
    world.clock.advance(15)
    assert await provider_token(world, keys) == "Bearer access-1"
    assert len(world.network.asked("/refresh")) == 2
    answer = await world.refresh(keys.refresh)
    keys.access = answer["access_token"]
    world.clock.advance(105)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await provider_token(world, keys)
    assert len(world.network.asked("/refresh")) == 3
    world.clock.advance(15)
    assert await provider_token(world, keys) == "Bearer access-2"


async def test_a_slow_provider_holds_nobody_up(world, monkeypatch):
    """While the old token is good a request waits for a moment only; the refresh goes on and is found by the next."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    keys = await world.sign_in(route="tokens", permissions=("read",))
    world.clock.advance(3480)
    world.network.open.clear()
    assert await provider_token(world, keys) == "Bearer access-1"
    world.network.open.set()
    await asyncio.sleep(0.1)
    assert await provider_token(world, keys) == "Bearer access-2"
    assert len(world.network.asked("/refresh")) == 1


async def test_a_refusal_ends_the_key(world):
    """The user withdrew the consent at the provider: 401, so that the client signs in again."""
    keys = await world.sign_in(route="tokens", permissions=("read",))
    world.network.good.clear()
    world.clock.advance(3480)
    with pytest.raises(KeyInvalid):
        await provider_token(world, keys)
    with pytest.raises(KeyInvalid):
        await provider_token(world, keys)


async def test_a_token_that_cannot_be_refreshed_lives_to_its_end(world):
    """No refresh token came with it: there is nothing to do two minutes early, and nothing to end."""
    world.network.gives_refresh_token = False
    keys = await world.sign_in(route="tokens", permissions=("read",))
    world.clock.advance(3599)
    assert await provider_token(world, keys) == "Bearer access-1"
    keys.access = (await world.refresh(keys.refresh))["access_token"]
    world.clock.advance(1)
    with pytest.raises(KeyInvalid) as refused:
        await provider_token(world, keys)
    assert refused.value.slug == "provider_token_expired"


async def test_a_token_without_an_end_is_never_refreshed(world):
    """GitHub's OAuth apps."""
    world.network.expires_in = None
    keys = await world.sign_in(route="tokens", permissions=("read",))
    world.clock.advance(20 * DAY)
    keys.access = (await world.refresh(keys.refresh))["access_token"]
    assert await provider_token(world, keys) == "Bearer access-1"
    assert world.network.asked("/refresh") == []


async def test_a_service_key_is_refused_where_a_provider_token_is_sent(world):
    """Design decision 13: made by another way than ours, such a key still gets nothing."""
    text = await service_key(world)
    facts = await world.facts(text)
    moved = changed(facts, {"key.route": "tokens"})
    later = world.with_route("tokens", allow=compile_rules((AllowRule(service="ci"),)))
    admission = admission_of(later.gateway, moved)
    with pytest.raises(KeyInvalid):
        later.access.provider_headers(admission)
