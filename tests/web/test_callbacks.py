"""A sign-in through the whole control plane, for what a provider's definition changes about it: the callback by POST,
captured values that live with the connection, refresh without a refresh token, and the token's way to a backend.
"""

import base64
import json
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from sqlalchemy import select

from vestibule import app
from vestibule.crypto.digests import s256
from vestibule.crypto.sealing import SealBroken
from vestibule.gate.dispatcher import _names_of
from vestibule.loading import load_config
from vestibule.model import ConnectionRecord, Secret
from vestibule.outbound import Outbound
from vestibule.service import callbacks, connections
from vestibule.service.access import Access
from vestibule.service.connections import Ended, Refresher
from vestibule.storage import tables
from vestibule.storage.rows import record

DEFINITION = """\
title: Acme
params:
  realm: {from: cb.realmId, pattern: '[0-9]+', required: true}
callback: {mode: form_post, code: auth_code}
authorize: {url: "https://id.acme.com/authorize"}
token: {url: "https://id.acme.com/token"}
refresh: {form: {refresh_token: null, token: "${access_token}", realm: "${p.realm}"}}
revoke: {url: "https://id.acme.com/revoke", form: {realm: "${p.realm}"}}
identity:
  calls: {me: {url: "https://id.acme.com/realms/${p.realm}/me"}}
  map: {sub: me.id}
api:
  header: {Authorization: null, X-Acme-Token: "${access_token}", X-Realm: "${p.realm}"}
  query: {key: "${access_token}"}
"""
OTHER = """\
title: Other
authorize: {url: "https://id.other.com/authorize"}
token: {url: "https://id.other.com/token"}
identity: {map: {sub: t.id}}
"""
CONFIG = """\
public_url: https://gate.example.com
storage: sqlite:///DIRECTORY/vestibule.db
secrets:
  signing: [Zk3vT0xq8Yw1nB5uJ7sD2fG4hK6lM9pQrStUvWxYz0A]
  sealing: [Qk3vT0xq8Yw1nB5uJ7sD2fG4hK6lM9pQrStUvWxYz0B]
providers:
  acme: {definition: ./acme.yaml, client: {id: app, secret: acme-client-secret}}
  other: {definition: ./other.yaml, client: {id: app, secret: other-client-secret}}
routes:
  - id: api
    path: /api
    backend: http://127.0.0.1:1/
    providers: [acme]
    allow: anyone
    send: {authorization: {provider_token: acme}}
  - {id: more, path: /more, backend: "http://127.0.0.1:1/", providers: [other], allow: anyone}
clients:
  - id: portal
    name: Portal
    secret: the-secret-of-the-portal
    consent: trusted
    redirect_uris: ["https://portal.example.com/cb"]
"""
CALLBACK = "/oauth/callback/acme"
FORM = {
    "content-type": "application/x-www-form-urlencoded",
    "origin": "https://id.acme.com",
    "sec-fetch-site": "cross-site",
}


class World:
    """The gateway, a browser, and the provider's side."""

    def __init__(self, directory):
        (directory / "acme.yaml").write_text(DEFINITION)
        (directory / "other.yaml").write_text(OTHER)
        (directory / "vestibule.yaml").write_text(CONFIG.replace("DIRECTORY", str(directory)))
        self.asked: list[httpx.Request] = []
        self.tokens = {"access_token": "at-1", "expires_in": 600}
        loaded = load_config(directory / "vestibule.yaml", {})
        self.application = app.build(loaded, outbound=Outbound(httpx.MockTransport(self._answer)))
        self.gateway = self.application.gateway
        self.browser = self.new_browser()

    def new_browser(self):
        transport = httpx.ASGITransport(self.application.asgi)
        return httpx.AsyncClient(transport=transport, base_url="https://gate.example.com")

    def _answer(self, request):
        self.asked.append(request)
        document = {"id": 7} if request.url.path.endswith("/me") else self.tokens
        return httpx.Response(200, json=document)

    async def state(self, resource="/api"):
        """Leave for the provider; the state that it is given."""
        query = {
            "client_id": "portal",
            "response_type": "code",
            "redirect_uri": "https://portal.example.com/cb",
            "code_challenge": s256("v" * 43),
            "code_challenge_method": "S256",
            "state": "of-the-client",
            "resource": f"https://gate.example.com{resource}",
        }
        left = await self.browser.get("/oauth/authorize", params=query)
        assert left.status_code == 303, left.text
        return parse_qs(urlsplit(left.headers["location"]).query)["state"][0]

    async def post(self, path=CALLBACK, *, browser=None, **params):
        """As the provider's page posts it: cross-site, without our Lax cookies."""
        form = {"realmId": "42", "auth_code": "c-1"} | params
        async with browser or self.new_browser() as client:
            return await client.post(path, content=urlencode(form), headers=FORM)

    async def connection(self):
        async with self.gateway.database.read() as db:
            return record(ConnectionRecord, (await db.execute(select(tables.connections))).one())


@asynccontextmanager
async def world_in(directory):
    world = World(directory)
    await world.gateway.database.migrate()
    try:
        yield world
    finally:
        await world.browser.aclose()
        await world.gateway.database.close()


@pytest.fixture
async def world(tmp_path):
    async with world_in(tmp_path) as world:
        yield world


# --- the callback by POST --------------------------------------------------------------------------------------------


async def test_posted_callback(world):
    """Design decision 4: 303 to a GET of ours, which brings the cookie and completes the login."""
    posted = await world.post(state=await world.state())
    assert posted.status_code == 303
    target = posted.headers["location"]
    assert target.startswith("https://gate.example.com/oauth/callback/acme?held=")
    assert "c-1" not in target
    assert not posted.headers.get("set-cookie")
    assert world.asked == []
    arrived = await world.browser.get(target)
    assert arrived.headers["location"].startswith("https://portal.example.com/cb?")
    assert parse_qs(urlsplit(arrived.headers["location"]).query)["state"] == ["of-the-client"]
    assert [request.url.path for request in world.asked] == ["/token", "/realms/42/me"]


async def test_attack_posted_callback_of_another_browser(world):
    """Login CSRF: whoever posts somebody else's state and code ends at a page, and nothing is redeemed."""
    posted = await world.post(state=await world.state())
    async with world.new_browser() as other:
        arrived = await other.get(posted.headers["location"])
    assert arrived.status_code == 403
    assert world.asked == []


async def test_attack_posted_callback_replayed(world):
    """The login's step moves once."""
    posted = await world.post(state=await world.state())
    first = await world.browser.get(posted.headers["location"])
    again = await world.browser.get(posted.headers["location"])
    assert (first.status_code, again.status_code) == (303, 400)
    assert len(world.asked) == 2


@pytest.mark.parametrize("change", ["state", "provider", "size", "type", "twice"])
async def test_attack_forged_post(world, change):
    """Without a state of ours for this provider nothing is held, however it is written."""
    state = await world.state()
    if change == "state":
        answer = await world.post(state=state[:-2] + ("aa" if state[-2:] != "aa" else "bb"))
    elif change == "provider":
        answer = await world.post(state=await world.state("/more"))
    elif change == "size":
        answer = await world.post(state=state, more='"' * 6000)
    else:
        body = f"state={state}&state={state}" if change == "twice" else json.dumps({"state": state})
        headers = FORM if change == "twice" else {"content-type": "application/json"}
        answer = await world.browser.post(CALLBACK, content=body, headers=headers)
    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_attack_code_in_the_query_of_a_form_post_provider(world):
    """One way in: what was not posted was not sealed by us."""
    query = {"state": await world.state(), "auth_code": "c-1", "realmId": "42"}
    arrived = await world.browser.get(CALLBACK, params=query)
    assert arrived.status_code == 400
    assert world.asked == []


async def test_attack_post_to_a_query_provider(world):
    """A provider that answers in the query does not post."""
    answer = await world.post("/oauth/callback/other", state=await world.state("/more"))
    assert answer.status_code == 400


async def test_unknown_provider(world):
    answer = await world.post("/oauth/callback/nobody", state=await world.state())
    assert answer.status_code == 400


async def test_held_callback_ends_after_a_minute(world, monkeypatch):
    """It waits for one redirect, not for a person."""
    posted = await world.post(state=await world.state())
    held = parse_qs(urlsplit(posted.headers["location"]).query)
    params = {name: values[0] for name, values in held.items()}
    assert callbacks.arrived(world.gateway, "acme", params)[1]["auth_code"] == "c-1"
    late = int(time.time()) + callbacks.HELD_SECONDS
    monkeypatch.setattr(type(world.gateway), "now", lambda _: late, raising=False)
    arrived = await world.browser.get(posted.headers["location"])
    assert arrived.status_code == 400
    assert world.asked == []


@pytest.mark.parametrize("held", ["", "x", "ü", "A" * 40, "=" * 9])
async def test_attack_made_up_seal(world, held):
    await world.state()
    assert (await world.browser.get(CALLBACK, params={"held": held})).status_code == 400


async def test_attack_seal_of_another_provider(world):
    """Associated data: what was held for one opens for no other."""
    posted = await world.post(state=await world.state())
    text = parse_qs(urlsplit(posted.headers["location"]).query)["held"][0]
    box = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    with pytest.raises(SealBroken):
        world.gateway.sealer.open(box, "callback", "other")


async def test_attack_captured_value_in_a_path(world):
    """`realmId` of the browser's choice: the pattern decides, before anything is sent."""
    posted = await world.post(state=await world.state(), realmId="42/../admin")
    arrived = await world.browser.get(posted.headers["location"])
    assert arrived.status_code >= 400
    assert world.asked == []


# --- what is kept ----------------------------------------------------------------------------------------------------


async def signed_in(world):
    posted = await world.post(state=await world.state())
    assert (await world.browser.get(posted.headers["location"])).status_code == 303
    world.asked.clear()
    return await world.connection()


async def test_captured_values_live_with_the_connection(world):
    """Sealed in the row; there for the refresh, the API and the revocation."""
    connection = await signed_in(world)
    assert b"42" not in connection.kept_sealed
    assert connections.kept(world.gateway, connection) == {"realm": "42"}
    world.tokens = {"access_token": "at-2", "expires_in": 600}
    renewed = await Refresher().refresh(world.gateway, connection)
    assert isinstance(renewed, ConnectionRecord)
    (asked,) = world.asked
    sent = parse_qs(asked.content.decode())
    assert (sent["token"], sent["realm"], "refresh_token" in sent) == (["at-1"], ["42"], False)
    assert connections.access_token(world.gateway, renewed) == Secret("at-2")
    assert connections.kept(world.gateway, renewed) == {"realm": "42"}


async def test_attack_kept_values_of_another_row(world):
    """Associated data again: a box moved to another row does not open."""
    connection = await signed_in(world)
    with pytest.raises(SealBroken):
        world.gateway.sealer.open(connection.kept_sealed, "kept", "acme", "another-row")
    with pytest.raises(SealBroken):
        world.gateway.sealer.open(connection.kept_sealed, "access", "acme", connection.id)


async def test_provider_token_at_the_gate(world):
    """Presented as the definition says, with what was captured."""
    connection = await signed_in(world)
    access = Access(world.gateway)
    admitted = SimpleNamespace(
        connection=connection,
        provider_token=connections.access_token(world.gateway, connection),
        provider_kept=connections.kept(world.gateway, connection),
    )
    assert access.provider_headers(admitted) == [(b"x-acme-token", b"at-1"), (b"x-realm", b"42")]
    assert access.provider_query(admitted) == {"key": "at-1"}


async def test_refusal_still_ends_the_connection(world):
    """Design decision 17, for a refresh without a refresh token too."""
    connection = await signed_in(world)
    world.tokens = {"error": "invalid_grant"}
    assert isinstance(await Refresher().refresh(world.gateway, connection), Ended)


async def test_attack_header_of_the_provider_that_has_no_value_this_time(world):
    """The names that a definition presents the token under are ours for every request, whatever they hold."""
    names = _names_of(world.gateway, world.gateway.routes["api"])
    assert names.headers >= {b"x-acme-token", b"x-realm"}
    assert names.query == {"key"}
    assert _names_of(world.gateway, world.gateway.routes["more"]).headers == set()
