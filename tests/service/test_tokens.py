"""The token endpoint: codes (design decision 18), rotation (decision 17), policy at each issue (19), revocation."""

import asyncio
import re
import sqlite3

import pytest

from service.world import ISSUER, NOW, REDIRECTS
from vestibule.config import AllowRule
from vestibule.crypto.digests import sha256
from vestibule.crypto.sealing import SealBroken, open_under
from vestibule.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    KeyInvalid,
    OAuthError,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from vestibule.policy.rules import compile_rules

DAY = 86400
NOBODY = compile_rules((AllowRule(email="nobody@acme.com"),))


async def refused(awaitable, kind=InvalidGrant):
    """The slug; the answer on the wire says no more than its class does."""
    with pytest.raises(kind) as error:
        await awaitable
    assert isinstance(error.value, OAuthError)
    return error.value.slug


async def lives(world, keys):
    return (await world.family(keys.family)).revoked_at is None


# --- codes ------------------------------------------------------------------------------------------------------------


async def test_a_code_gives_keys(world):
    """RFC 6749 §5.1: bearer, lifetime, scope; the keys work on their route."""
    answer = await world.redeem(await world.code(), redirect_uri=REDIRECTS["portal"], resource=f"{ISSUER}/mcp")
    assert answer.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 3600, "read write")
    assert re.fullmatch(r"vst_at_[A-Za-z0-9]{49}", answer["access_token"])
    assert re.fullmatch(r"vst_rt_[A-Za-z0-9]{49}", answer["refresh_token"])
    assert (await world.admit(answer["access_token"])).permissions == {"read", "write"}


@pytest.mark.parametrize(("after", "good"), [(59, True), (60, False)])
async def test_a_code_lives_sixty_seconds(world, after, good):
    """Design decision 18; the interval excludes its end."""
    code = await world.code()
    world.clock.advance(after)
    if good:
        await world.redeem(code)
    else:
        assert await refused(world.redeem(code)) == "code_expired"


WRONG = [
    ({"code_verifier": "w" * 43}, InvalidGrant, "verifier_wrong"),
    ({"code_verifier": None}, InvalidGrant, "verifier_missing"),
    ({"client_id": "other"}, InvalidGrant, "code_of_another_client"),
    ({"redirect_uri": "https://other.example.com/cb"}, InvalidGrant, "redirect_uri_differs"),
    ({"resource": f"{ISSUER}/tokens"}, InvalidTarget, "resource_differs"),
]


@pytest.mark.parametrize(("change", "kind", "slug"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
async def test_attack_a_thief_cannot_burn_a_code(world, change, kind, slug):
    """Design decision 18, protocol rule 7: what is refused leaves the code as it was, for its owner."""
    code = await world.code()
    assert await refused(world.redeem(code, **change), kind) == slug
    await world.redeem(code)


async def test_attack_code_replayed(world):
    """RFC 6749 §4.1.2: a fully valid replay revokes what the code gave, at once; a sibling authorization lives."""
    sibling = await world.sign_in()
    code = await world.code()
    answer = await world.redeem(code)
    await world.admit(answer["access_token"])
    world.clock.advance(600)
    assert await refused(world.redeem(code)) == "code_replayed"
    with pytest.raises(KeyInvalid):
        await world.admit(answer["access_token"])
    assert await refused(world.refresh(answer["refresh_token"])) == "family_revoked"
    assert await lives(world, sibling)


@pytest.mark.parametrize(("change", "kind", "slug"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
async def test_attack_signing_people_out_with_a_seen_code(world, change, kind, slug):
    """Design decision 18: a replay that is not fully valid is only refused, or anybody who saw the URL could end it."""
    code = await world.code()
    answer = await world.redeem(code)
    assert await refused(world.redeem(code, **change), kind) == slug
    await world.admit(answer["access_token"])


async def test_fifty_redemptions_at_once_have_one_winner(world):
    """Exactly one answer; the others were fully valid replays, so what it gave is revoked (decision 18)."""
    code = await world.code()
    finished = await asyncio.gather(*(world.redeem(code) for _ in range(50)), return_exceptions=True)
    answers = [answer for answer in finished if isinstance(answer, dict)]
    assert len(answers) == 1
    assert {getattr(error, "slug", error) for error in finished if error is not answers[0]} == {"code_replayed"}
    with pytest.raises(KeyInvalid):
        await world.admit(answers[0]["access_token"])


async def test_fifty_redemptions_by_a_thief_do_no_harm(world):
    """The owner among fifty who lack the verifier gets the keys, and keeps them."""
    code = await world.code()
    attempts = [world.redeem(code, code_verifier="w" * 43) for _ in range(50)]
    attempts.insert(25, world.redeem(code))
    finished = await asyncio.gather(*attempts, return_exceptions=True)
    answer = finished.pop(25)
    assert {error.slug for error in finished} == {"verifier_wrong"}
    await world.admit(answer["access_token"])


async def test_policy_is_asked_when_a_code_is_redeemed(world):
    """Design decision 19: offboarded between sign-in and redemption; the family is revoked, too."""
    code = await world.code()
    changed = world.with_route("issues", allow=NOBODY)
    assert await refused(changed.redeem(code)) == "not_on_allow_list"
    assert await refused(world.redeem(code)) == "family_revoked"


# --- rotation (design decision 17) ------------------------------------------------------------------------------------


async def test_rotation(world):
    """RFC 9700 §4.14.2: a new pair each time; the old access token lives to its end."""
    keys = await world.sign_in()
    answer = await world.refresh(keys.refresh)
    assert answer["scope"] == "read write"
    assert len({keys.access, keys.refresh, answer["access_token"], answer["refresh_token"]}) == 4
    for text in (keys.access, answer["access_token"]):
        assert (await world.admit(text)).permissions == {"read", "write"}
    assert (await world.refresh_record(answer["refresh_token"])).generation == 1


REFRESH = [
    # (after, successor used, outcome, family lives)
    (0, False, "repeated", True),
    (29, False, "repeated", True),
    (30, False, "refresh_token_late", True),
    (59, False, "refresh_token_late", True),
    (60, False, "refresh_token_reused", False),
    (DAY, False, "refresh_token_reused", False),
    (0, True, "refresh_token_late", True),
    (29, True, "refresh_token_late", True),
    (59, True, "refresh_token_late", True),
    (60, True, "refresh_token_reused", False),
]


@pytest.mark.parametrize(("after", "successor_used", "outcome", "alive"), REFRESH)
async def test_a_used_refresh_token_again(world, after, successor_used, outcome, alive):
    """Design decision 17: the lost answer is repeated for 30 s, a straggler refused for 60, later it is theft."""
    keys = await world.sign_in()
    answer = await world.refresh(keys.refresh)
    if successor_used:
        await world.refresh(answer["refresh_token"])
    world.clock.advance(after)
    if outcome == "repeated":
        assert await world.refresh(keys.refresh) == answer
    else:
        assert await refused(world.refresh(keys.refresh)) == outcome
    assert await lives(world, keys) is alive


@pytest.mark.parametrize("settings", [{"clients:": "lifetimes: {refresh_replay: 0}\nclients:"}])
async def test_repeating_can_be_switched_off(world):
    """`refresh_replay: 0`: strict rotation; a second use at once is a straggler and still no theft."""
    keys = await world.sign_in()
    await world.refresh(keys.refresh)
    assert await refused(world.refresh(keys.refresh)) == "refresh_token_late"
    assert await lives(world, keys)


async def test_the_repeated_answer_works(world):
    """Its refresh token goes on as if the first answer had arrived, and stops the repetition."""
    keys = await world.sign_in()
    await world.refresh(keys.refresh)
    repeated = await world.refresh(keys.refresh)
    following = await world.refresh(repeated["refresh_token"])
    await world.admit(following["access_token"])
    assert await refused(world.refresh(keys.refresh)) == "refresh_token_late"


async def test_policy_is_asked_before_an_answer_is_repeated(world):
    """Design decision 17: "the same response, after policy is asked again"."""
    keys = await world.sign_in()
    answer = await world.refresh(keys.refresh)
    changed = world.with_route("issues", allow=NOBODY)
    assert await refused(changed.refresh(keys.refresh)) == "not_on_allow_list"
    assert await refused(world.refresh(answer["refresh_token"])) == "family_revoked"


async def test_attack_reuse_revokes_one_family_only(world):
    """What users complain about, 5: sign-out cascades. Sibling families of the same grant, and other clients, live."""
    stolen, sibling = await world.sign_in(), await world.sign_in()
    elsewhere = await world.sign_in(client="other")
    assert (await world.facts(stolen.access)).grant.id == (await world.facts(sibling.access)).grant.id
    answer = await world.refresh(stolen.refresh)
    await world.admit(answer["access_token"])
    world.clock.advance(61)
    assert await refused(world.refresh(stolen.refresh)) == "refresh_token_reused"
    for text in (stolen.access, answer["access_token"]):
        with pytest.raises(KeyInvalid):
            await world.admit(text)
    assert await refused(world.refresh(answer["refresh_token"])) == "family_revoked"
    for keys in (sibling, elsewhere):
        await world.admit(keys.access)
        await world.refresh(keys.refresh, client_id=keys.client)


async def test_attack_thief_inside_the_replay_window(world):
    """The thief gets the same pair and no second line of keys: with its next use, one of the two is found out."""
    keys = await world.sign_in()
    theirs = await world.refresh(keys.refresh)
    assert await world.refresh(keys.refresh) == theirs
    await world.refresh(theirs["refresh_token"])
    world.clock.advance(61)
    assert await refused(world.refresh(theirs["refresh_token"])) == "refresh_token_reused"
    assert not await lives(world, keys)


async def test_fifty_refreshes_at_once_sign_nobody_out(world):
    """What users complain about, 1: one successor, and everybody is told the same."""
    keys = await world.sign_in()
    answers = await asyncio.gather(*(world.refresh(keys.refresh) for _ in range(50)))
    assert all(answer == answers[0] for answer in answers)
    await world.admit(answers[0]["access_token"])
    await world.refresh(answers[0]["refresh_token"])


async def test_refreshes_from_two_processes_at_once(world):
    """The database decides: the other process repeats what the first one answered."""
    keys, other = await world.sign_in(), world.as_another_process()
    answers = await asyncio.gather(*(place.refresh(keys.refresh) for place in [world, other] * 10))
    assert all(answer == answers[0] for answer in answers)


async def test_attack_the_database_alone_cannot_open_the_successor(world, tmp_path):
    """Design decision 17: sealed under the old token itself; nothing that is stored, the digest above all, opens it."""
    keys = await world.sign_in()
    answer = await world.refresh(keys.refresh)
    record, facts = await world.refresh_record(keys.refresh), await world.facts(keys.access)
    context = (facts.grant.id, "portal", f"{ISSUER}/mcp", "read write", "1", str(NOW + 30))
    assert answer["refresh_token"] in open_under(keys.refresh, record.successor_sealed, *context).reveal()
    stored = sqlite3.connect(tmp_path / "vestibule.db")
    rows = [row for table in ("refreshes", "keys", "families") for row in stored.execute(f"SELECT * FROM {table}")]
    values = [value for row in rows for value in row]
    stored.close()
    for value in [*values, sha256(keys.refresh).hex()]:
        with pytest.raises(SealBroken):
            open_under(value.hex() if isinstance(value, bytes) else str(value), record.successor_sealed, *context)
    for secret in (keys.refresh, keys.access, answer["refresh_token"], answer["access_token"]):
        assert not any(secret in str(value) for value in values)
        assert secret.encode() not in (tmp_path / "vestibule.db-wal").read_bytes()


@pytest.mark.parametrize("change", [{"scope": "read"}, {"scope": "write"}], ids=str)
async def test_an_answer_is_repeated_for_the_same_question_only(world, change):
    """AAD: who asks for other scopes with the same token did not lose this answer."""
    keys = await world.sign_in()
    await world.refresh(keys.refresh)
    assert await refused(world.refresh(keys.refresh, **change)) == "refresh_replay_differs"
    assert await lives(world, keys)


async def test_a_narrower_scope_is_for_this_access_token(world):
    """RFC 6749 §6: the refresh token keeps what was granted."""
    keys = await world.sign_in()
    narrow = await world.refresh(keys.refresh, scope="read offline_access")
    assert narrow["scope"] == "read"
    assert (await world.admit(narrow["access_token"])).permissions == {"read"}
    assert (await world.refresh(narrow["refresh_token"]))["scope"] == "read write"


@pytest.mark.parametrize("scope", ["read write admin", "admin", "Read"])
async def test_attack_a_wider_scope(world, scope):
    """RFC 6749 §6: never more than was granted, and the refusal consumes nothing."""
    keys = await world.sign_in(permissions=("read",))
    for asked in (scope, "read write"):
        assert await refused(world.refresh(keys.refresh, scope=asked), InvalidScope) == "scope_not_granted"
    assert (await world.refresh(keys.refresh))["scope"] == "read"


@pytest.mark.parametrize(
    ("change", "kind", "slug"),
    [
        ({"client_id": "other"}, InvalidGrant, "refresh_of_another_client"),
        ({"resource": f"{ISSUER}/tokens"}, InvalidTarget, "resource_differs"),
        ({"resource": f"{ISSUER}"}, InvalidTarget, "resource_differs"),
        ({"refresh_token": "vst_rt_x"}, InvalidGrant, "refresh_token_unknown"),
        ({"refresh_token": None}, InvalidRequest, "refresh_token_missing"),
        ({"client_id": "nobody"}, InvalidClient, "client_unknown"),
        ({"client_secret": "x"}, InvalidClient, "client_secret_unregistered"),
        ({"grant_type": None}, InvalidRequest, "grant_type_missing"),
        ({"grant_type": "password"}, UnsupportedGrantType, "grant_type_unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_attack_refresh_by_somebody_else_or_for_something_else(world, change, kind, slug):
    """CVE-2026-55672, RFC 8707 §2.2: refused, and the owner's token is as good as before."""
    keys = await world.sign_in()
    assert await refused(world.refresh(keys.refresh, **change), kind) == slug
    await world.refresh(keys.refresh, resource=f"{ISSUER}/mcp/")


async def test_attack_access_token_as_refresh_token_and_the_other_way(world):
    """Gateway attack list: each kind is looked up in its own place."""
    keys = await world.sign_in()
    assert await refused(world.refresh(keys.access)) == "refresh_token_unknown"
    with pytest.raises(KeyInvalid):
        await world.admit(keys.refresh)


async def test_attack_part_of_a_refresh_token(world):
    """CVE-2026-27840: the whole token or nothing."""
    keys = await world.sign_in()
    for text in (keys.refresh[:-1], keys.refresh[:20], keys.refresh + "A", " " + keys.refresh):
        assert await refused(world.refresh(text)) == "refresh_token_unknown"
    assert await lives(world, keys)


# --- lifetimes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "good"), [(30 * DAY - 1, True), (30 * DAY, False)])
async def test_idle_lifetime(world, after, good):
    """An unused refresh token ends, without any harm; each rotation starts the limit anew."""
    keys = await world.sign_in()
    world.clock.advance(10 * DAY)
    answer = await world.refresh(keys.refresh)
    world.clock.advance(after)
    if good:
        await world.refresh(answer["refresh_token"])
    else:
        assert await refused(world.refresh(answer["refresh_token"])) == "refresh_token_expired"
        assert await lives(world, keys)


@pytest.mark.parametrize("settings", [{"clients:": "lifetimes: {session: 2d, refresh_token: 1d}\nclients:"}])
async def test_absolute_lifetime(world):
    """However often it is refreshed, a session ends, and no key outlives it."""
    keys = await world.sign_in()
    for _ in range(2):
        world.clock.advance(DAY - 1800)
        answer = await world.refresh(keys.refresh)
        keys.refresh = answer["refresh_token"]
    world.clock.advance(1800)
    answer = await world.refresh(keys.refresh)
    assert answer["expires_in"] == 1800
    assert (await world.refresh_record(answer["refresh_token"])).expires_at == NOW + 2 * DAY
    world.clock.advance(1800)
    assert await refused(world.refresh(answer["refresh_token"])) == "family_expired"
    with pytest.raises(KeyInvalid):
        await world.admit(answer["access_token"])


# --- policy at refresh (design decision 19) ---------------------------------------------------------------------------


async def test_policy_that_rejects_at_refresh_revokes(world):
    """What users complain about, 11: offboarding takes effect at the refresh, and ends the access token as well."""
    keys = await world.sign_in()
    await world.admit(keys.access)
    changed = world.with_route("issues", allow=NOBODY)
    assert await refused(changed.refresh(keys.refresh)) == "not_on_allow_list"
    assert (await world.family(keys.family)).revoked_reason == "not_on_allow_list"
    await world.gateway.revocations.catch_up()
    with pytest.raises(KeyInvalid):
        await world.admit(keys.access)


async def test_claims_of_the_latest_sign_in_count(world):
    """The same person came back without the address that let them in: older families end at their next refresh."""
    keys = await world.sign_in()
    world.network.person = world.network.person | {"email": "ada@elsewhere.com"}
    await world.sign_in(route="tokens", permissions=("read",))
    assert await refused(world.refresh(keys.refresh)) == "not_on_allow_list"


async def test_a_route_that_is_gone_refuses_and_revokes_nothing(world):
    """A route that was removed by mistake and comes back tomorrow finds its people signed in."""
    keys = await world.sign_in()
    assert await refused(world.with_route("issues", gone=True).refresh(keys.refresh)) == "family_gone"
    await world.refresh(keys.refresh)


# --- revocation (RFC 7009) --------------------------------------------------------------------------------------------


async def test_revoking_an_access_token_ends_it_alone(world):
    """RFC 7009 §2.1, effective at once; revoking it again is a success (§2.2)."""
    keys = await world.sign_in()
    await world.admit(keys.access)
    await world.revoke(keys.access)
    await world.revoke(keys.access)
    with pytest.raises(KeyInvalid):
        await world.admit(keys.access)
    answer = await world.refresh(keys.refresh)
    await world.admit(answer["access_token"])


@pytest.mark.parametrize("spent", [False, True])
async def test_revoking_a_refresh_token_takes_its_family_along(world, spent):
    """RFC 7009 §2.1: access ends at once; also with a token of an earlier generation; other families live."""
    keys, sibling = await world.sign_in(), await world.sign_in()
    answer = await world.refresh(keys.refresh)
    for text in (keys.access, answer["access_token"]):
        await world.admit(text)
    await world.revoke(keys.refresh if spent else answer["refresh_token"])
    for text in (keys.access, answer["access_token"]):
        with pytest.raises(KeyInvalid):
            await world.admit(text)
    await world.admit(sibling.access)
    assert (await world.family(keys.family)).revoked_reason == "revoked_by_client"


async def test_attack_revoking_somebody_elses_token(world):
    """RFC 7009 §2.1: refused, and it lives on."""
    keys = await world.sign_in()
    for text in (keys.access, keys.refresh):
        assert await refused(world.revoke(text, client_id="other"), UnauthorizedClient) == "token_of_other_client"
    await world.admit(keys.access)
    await world.refresh(keys.refresh)


@pytest.mark.parametrize("text", ["unknown", "vst_at_x", "\u00e9"])
async def test_revoking_an_unknown_token_is_a_success(world, text):
    """RFC 7009 §2.2: the client's purpose is achieved."""
    await world.revoke(text)


async def test_revoking_needs_a_client_and_a_token(world):
    """RFC 7009 §2.1."""
    assert await refused(world.revoke("x", client_id="nobody"), InvalidClient) == "client_unknown"
    with pytest.raises(InvalidRequest):
        await world.revoke(None)


async def test_revoking_after_the_route_is_gone(world):
    """A client may always give back what it holds."""
    keys = await world.sign_in()
    await world.with_route("issues", gone=True).revoke(keys.refresh)
    assert not await lives(world, keys)
