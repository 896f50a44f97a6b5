"""Who asks: clients of the config, metadata documents (CIMD), dynamic registration."""

import asyncio
import json

import httpx
import pytest
from msgspec import structs

from service.world import NOW
from vestibule.errors import InvalidClientMetadata, InvalidRedirectUri
from vestibule.model import ClientSource
from vestibule.oauth.clients import MAX_REDIRECT_URIS
from vestibule.service import clients
from vestibule.service.clients import RegistrationFull
from vestibule.storage import clients as store

DAY = 86400
URL = "https://client.example/metadata.json"
CB = "https://client.example/cb"
PUBLIC = {
    "client_name": "Claude Code",
    "redirect_uris": ["http://127.0.0.1:33418/callback"],
    "token_endpoint_auth_method": "none",
}


def found(world, client_id, **registration):
    gateway = world.gateway
    if registration:
        gateway = structs.replace(gateway, registration=structs.replace(gateway.registration, **registration))
    return clients.find_client(gateway, client_id)


def register(world, **change):
    document = {name: value for name, value in (PUBLIC | change).items() if value is not None}
    return clients.register(world.gateway, json.dumps(document).encode())


# --- dynamic registration (RFC 7591) ----------------------------------------------------------------------------------


async def test_a_public_registration(world):
    """RFC 7591 §3.2.1: the answer says what was registered; unconfirmed it lives for three days."""
    answer = await register(world)
    assert answer["client_id_issued_at"] == NOW
    assert "client_secret" not in answer
    assert answer["redirect_uris"] == PUBLIC["redirect_uris"]
    client = await found(world, answer["client_id"])
    assert (client.source, client.auth_method, client.confirmed_at) == (ClientSource.DCR, "none", None)
    world.clock.advance(3 * DAY - 1)
    assert await found(world, client.id)
    world.clock.advance(1)
    assert await found(world, client.id) is None


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"redirect_uris": ["http://127.0.0.1:50000/callback"]},
        {"redirect_uris": ["http://127.0.0.1/callback"]},
        {"scope": "read", "software_version": "2", "unknown": {"a": 1}},
    ],
    ids=str,
)
async def test_registration_is_idempotent(world, change):
    """Protocol rule 4: the same client, on whatever port and with whatever is not kept; told its own ports again."""
    first, again = await register(world), await register(world, **change)
    assert again["client_id"] == first["client_id"]
    assert again["redirect_uris"] == (PUBLIC | change)["redirect_uris"]


@pytest.mark.parametrize(
    "change",
    [
        {"client_name": "Other"},
        {"redirect_uris": ["http://localhost:33418/callback"]},
        {"redirect_uris": ["http://127.0.0.1:33418/other"]},
        {"redirect_uris": [*PUBLIC["redirect_uris"], "https://evil.example/cb"]},
        {"client_uri": "https://evil.example"},
        {"logo_uri": "https://evil.example/logo.png"},
        {"token_endpoint_auth_method": "client_secret_post"},
    ],
    ids=str,
)
async def test_attack_registration_changes_nobody_elses(world, change):
    """Idempotent over every stored field: one that differs is another client, and the first stays as it was."""
    first = await register(world)
    before = await found(world, first["client_id"])
    assert (await register(world, **change))["client_id"] != first["client_id"]
    assert await found(world, first["client_id"]) == before


async def test_confidential_registrations_are_never_shared(world):
    """A secret, shown once and stored as a digest, belongs to one installation."""
    answers = [await register(world, token_endpoint_auth_method="client_secret_basic") for _ in range(2)]
    assert len({answer["client_id"] for answer in answers}) == 2
    assert len({answer["client_secret"] for answer in answers}) == 2
    client = await found(world, answers[0]["client_id"])
    assert client.secret_digest
    assert answers[0]["client_secret"].encode() not in client.secret_digest


@pytest.mark.parametrize(
    "field",
    [
        {"trusted": True},
        {"consent": "trusted"},
        {"confirmed_at": 1},
        {"source": "configured"},
        {"client_id": "portal"},
    ],
    ids=str,
)
async def test_attack_privileged_metadata(world, field):
    """Gateway attack list: a registration cannot vouch for itself, nor take another client's id."""
    answer = await register(world, **field)
    client = await found(world, answer["client_id"])
    assert (client.source, client.trusted, client.confirmed_at) == (ClientSource.DCR, False, None)
    assert answer["client_id"] != "portal"


@pytest.mark.parametrize("settings", [{"clients:": "registration: {max_unconfirmed: 3}\nclients:"}])
async def test_attack_registration_flood(world):
    """Protocol rule 4: bounded, and neither known clients nor the next days are locked out."""
    known = await register(world)
    for number in range(2):
        await register(world, client_name=f"Flood {number}")
    with pytest.raises(RegistrationFull) as refused:
        await register(world, client_name="Late")
    assert (refused.value.status, refused.value.code) == (503, "temporarily_unavailable")
    assert (await register(world))["client_id"] == known["client_id"]
    world.clock.advance(3 * DAY)
    await register(world, client_name="Late")


async def test_fifty_registrations_at_once_are_one(world):
    """Every window of an editor registers when it starts."""
    answers = await asyncio.gather(*(register(world) for _ in range(50)))
    assert len({answer["client_id"] for answer in answers}) == 1


async def test_registration_can_be_switched_off(world):
    """`registration: {dcr: false}`: nobody new, and those who came that way before are unknown."""
    answer = await register(world)
    assert await found(world, answer["client_id"], dcr=False) is None
    off = structs.replace(world.gateway, registration=structs.replace(world.gateway.registration, dcr=False))
    with pytest.raises(InvalidClientMetadata) as refused:
        await clients.register(off, b"{}")
    assert refused.value.slug == "dcr_disabled"


MANY = [f"https://a.example/{number}" for number in range(MAX_REDIRECT_URIS + 1)]


@pytest.mark.parametrize(
    ("document", "refusal"),
    [
        ("", InvalidClientMetadata),
        ("[]", InvalidClientMetadata),
        ('{"redirect_uris": ["javascript:alert(1)"]}', InvalidRedirectUri),
        ("{}", InvalidRedirectUri),
        (json.dumps({"redirect_uris": MANY}), InvalidRedirectUri),
    ],
    ids=["empty", "array", "script", "none", "many"],
)
async def test_unusable_registrations_leave_nothing(world, document, refusal):
    """RFC 7591 §3.2.2."""
    with pytest.raises(refusal):
        await clients.register(world.gateway, document.encode())
    async with world.gateway.database.read() as db:
        assert await store.list_clients(db) == []


async def test_a_client_in_use_is_renewed(world):
    """Protocol rule 4: confirmed by a sign-in, renewed by each refresh; a refresh a month keeps it for ever."""
    client_id = (await register(world, redirect_uris=[CB]))["client_id"]
    from_sign_in = await _sign_in(world, client_id)
    assert (await found(world, client_id)).confirmed_at == NOW
    text = from_sign_in["refresh_token"]
    for _ in range(8):
        world.clock.advance(29 * DAY)
        text = (await world.refresh(text, client_id=client_id))["refresh_token"]
    assert (await found(world, client_id)).expires_at == world.clock() + 180 * DAY


async def _sign_in(world, client_id):
    code = await world.code(client=client_id, redirect_uri=CB)
    return await world.redeem(code, client_id=client_id)


# --- metadata documents (CIMD) ----------------------------------------------------------------------------------------


@pytest.fixture
def document(world, monkeypatch):
    """What the client's site serves; to be changed by the test. The guard lets the made-up name through."""

    async def vetted(*_):
        return "93.184.215.14"

    monkeypatch.setattr("vestibule.outbound.vetted_address", vetted)
    fields = {"client_id": URL, "client_name": "Example", "redirect_uris": [CB]}
    world.network.sites[URL] = lambda: httpx.Response(200, json=fields)
    return fields


def meet(world, redirect_uri=CB, url=URL):
    return clients.meet_client(world.gateway, url, redirect_uri)


async def test_a_document_is_a_client(world, document):
    """CIMD: fetched once and cached; meeting it leaves nothing in the database (protocol rule 6)."""
    for _ in range(3):
        client = await meet(world)
        assert (client.id, client.source, client.name) == (URL, ClientSource.CIMD, "Example")
    assert len(world.network.asked(URL)) == 1
    assert await found(world, URL) is None


async def test_a_changed_document_is_fetched_once_more(world, document, monkeypatch):
    """Protocol rule 4: when the redirect URI does not match, and at most every 30 s."""
    monotonic = _clock(monkeypatch)
    await meet(world)
    document["redirect_uris"] = ["https://client.example/new"]
    monotonic.time += 31
    assert (await meet(world, "https://client.example/new")).redirect_uris == ("https://client.example/new",)
    assert len(world.network.asked(URL)) == 2
    for _ in range(5):
        await meet(world, "https://evil.example/cb")
    assert len(world.network.asked(URL)) == 2
    monotonic.time += 3600
    await meet(world, "https://client.example/new")
    assert len(world.network.asked(URL)) == 3


def _clock(monkeypatch):
    class Time:
        time = 1000.0

        def monotonic(self):
            return self.time

        perf_counter = monotonic

    clock = Time()
    monkeypatch.setattr("vestibule.outbound.time", clock)
    return clock


FAILURES = {
    "404": lambda: httpx.Response(404),
    "500": lambda: httpx.Response(500),
    "redirect": lambda: httpx.Response(302, headers={"location": "https://elsewhere.example/"}),
    "not JSON": lambda: httpx.Response(200, html="<h1>hello</h1>"),
    "JSON as text": lambda: httpx.Response(200, text=json.dumps({"client_id": URL, "redirect_uris": [CB]})),
    "another id": lambda: httpx.Response(200, json={"client_id": URL + "x", "redirect_uris": [CB]}),
    "no redirect URI": lambda: httpx.Response(200, json={"client_id": URL}),
    "with a secret": lambda: httpx.Response(200, json={"client_id": URL, "redirect_uris": [CB], "client_secret": "x"}),
    "too large": lambda: httpx.Response(200, json={"client_id": URL, "redirect_uris": [CB], "x": "x" * 5200}),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_attack_cimd_fetch_as_port_scanner(world, document, failure):
    """Gateway attack list: every failure is the same unknown client, and none is remembered (protocol rule 4)."""
    world.network.sites[URL] = FAILURES[failure]
    assert await meet(world) is None
    world.network.sites[URL] = lambda: httpx.Response(200, json=document)
    assert await meet(world) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://client.example:8443/metadata.json",
        "https://client.example/",
        "https://client.example/a/../b",
        "https://user@client.example/metadata.json",
        "https://client.example/metadata.json?x=1",
        "https://client.example/metadata.json#x",
        "HTTPS://client.example:22/x",
    ],
)
async def test_attack_cimd_url_is_refused_before_it_is_fetched(world, url):
    """CIMD draft, "Client Identifier": nothing is sent to other ports or odd addresses."""
    assert await meet(world, url=url) is None
    assert world.network.calls == []


async def test_attack_cimd_in_the_inside_network(world):
    """The guard, from the service's side: uniform, and nothing is sent."""
    for url in ("https://127.0.0.1/metadata.json", "https://[::1]/metadata.json", "https://localhost/metadata.json"):
        assert await meet(world, url=url) is None
    assert world.network.calls == []


async def test_cimd_can_be_switched_off(world, document):
    """`registration: {cimd: false}`: nothing is fetched, and those who came that way before are unknown."""
    await _sign_in(world, URL)
    off = structs.replace(world.gateway, registration=structs.replace(world.gateway.registration, cimd=False))
    before = len(world.network.calls)
    assert await clients.meet_client(off, URL, CB) is None
    assert await clients.find_client(off, URL) is None
    assert len(world.network.calls) == before


async def test_a_refresh_never_depends_on_the_clients_site(world, document, monkeypatch):
    """Protocol rule 4: the site is down, the cache is over, and everybody stays signed in."""
    monotonic = _clock(monkeypatch)
    answer = await _sign_in(world, URL)
    monotonic.time += 7200
    world.network.sites[URL] = FAILURES["500"]
    await world.refresh(answer["refresh_token"], client_id=URL)
    client = await found(world, URL)
    assert (client.confirmed_at, client.created_at, client.expires_at) == (NOW, NOW, NOW + 180 * DAY)


async def test_a_known_client_is_met_as_a_confirmed_one(world, document):
    """Errors are redirected to clients that a user approved before; the document of today decides all the rest."""
    assert (await meet(world)).confirmed_at is None
    await _sign_in(world, URL)
    assert (await meet(world)).confirmed_at == NOW


# --- clients of the config --------------------------------------------------------------------------------------------


async def test_clients_of_the_config(world):
    """Pre-registered ones are always there and never asked about elsewhere."""
    client = await found(world, "portal", dcr=False, cimd=False)
    assert (client.source, client.name) == (ClientSource.CONFIGURED, "Portal")
    assert await clients.meet_client(world.gateway, "portal", None) == client
    assert await found(world, "Portal") is None
    assert await found(world, "") is None
