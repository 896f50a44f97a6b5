"""/oauth/callback: each thing that can be wrong has its own clear answer, and only this browser's flow completes."""

import time
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import select

from vestibule.storage.tables import codes, grants, logins
from web.browser import JSON, Form, authorize_url, callback, query_of

URL = authorize_url("portal")


async def logins_of(site, state: str) -> list[tuple[str, str | None]]:
    login = site.gateway.state.open(state).claims["l"]
    async with site.gateway.database.read() as db:
        statement = select(logins.c.step, logins.c.error_slug).where(logins.c.id == login)
        return [tuple(row) for row in await db.execute(statement)]


async def count(site, table) -> int:
    async with site.gateway.database.read() as db:
        return len((await db.execute(select(table))).all())


async def test_sign_in(site, browser):
    """RFC 6749 §4.1.2, RFC 9207 §2: 303 with code, state and iss; the login's cookie has served."""
    response = await browser.sign_in(URL)
    assert response.status_code == 303
    assert response.headers["location"].startswith("https://portal.example.com/callback?")
    answer = query_of(response)
    assert answer.pop("code")
    assert answer == {"state": "client-state", "iss": "https://gate.example.com"}
    assert (response.headers["cache-control"], response.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert "max-age=0" in response.headers["set-cookie"].lower()
    assert [name for name in browser.cookies if "login" in name] == []


@pytest.mark.parametrize(
    "state",
    [
        None,
        "",
        "x",
        "a.b.c",
        "eyJhbGciOiJub25lIn0.eyJsIjoieCJ9.",
        "GOOD+x",
        "GOOD-1",
        "FORM",
    ],
)
async def test_attack_forged_state(site, browser, logged, state):
    """Protocol §12: the state is signed by us, for this purpose, or nothing happens."""
    asked = await browser.depart(URL)
    forged = {
        "GOOD+x": asked["state"] + "x",
        "GOOD-1": asked["state"][:-1],
        "FORM": site.gateway.forms.sign({"l": "x", "p": "acme"}, expires_at=int(time.time()) + 60),
    }.get(state, state)
    params = {"code": "x"} | ({} if forged is None else {"state": forged})
    response = await browser.get(callback(params))
    assert (response.status_code, "location" in response.headers) == (400, False)
    assert Form(response.text).links == []
    assert [entry["reason"] for entry in logged if entry["event"] == "flow_refused"] == ["state_invalid"]
    assert await logins_of(site, asked["state"]) == [("at_provider", None)]


@pytest.mark.parametrize("name", ["down", "other", "acme.x", "ACME"])
async def test_attack_mix_up(site, browser, name):
    """RFC 9700 §4.4: a state of one provider at the callback of another."""
    asked = await browser.depart(URL)
    response = await browser.get(callback({"code": "x", "state": asked["state"]}, name))
    assert response.status_code in {400, 404}
    assert await logins_of(site, asked["state"]) == [("at_provider", None)]


async def test_state_expired(site, browser):
    """Ten minutes; the page says that it took too long."""
    asked = await browser.depart(URL)
    claims = site.gateway.state.open(asked["state"]).claims
    late = site.gateway.state.sign(claims, expires_at=int(time.time()) - 1)
    response = await browser.get(callback({"code": "x", "state": late}))
    assert (response.status_code, "took too long" in response.text) == (400, True)


async def test_state_of_a_login_that_is_gone(site, browser):
    """Signed by us, but no such login: the same page."""
    state = site.gateway.state.sign({"l": "gone", "p": "acme"}, expires_at=int(time.time()) + 60)
    assert "took too long" in (await browser.get(callback({"code": "x", "state": state}))).text


@pytest.mark.parametrize("cookie", ["none", "empty", "of another login", "under the other name", "a prefix of it"])
async def test_attack_captured_provider_url(site, browser, other_browser, logged, cookie):
    """CVE-2026-27124: the attacker approves, the victim opens the provider's URL and lands on our callback. Without
    this flow's cookie nothing happens, and the flow is not used up.
    """
    asked = await browser.depart(URL)
    (name,) = (name for name in browser.cookies if "login" in name)
    await other_browser.depart(URL)
    (others,) = (value for key, value in other_browser.cookies.items() if "login" in key)
    sent = {
        "none": "a=1",
        "empty": f"{name}=",
        "of another login": f"{name}={others}",
        "under the other name": f"{name.removeprefix('__Host-')}={browser.cookies[name]}",
        "a prefix of it": f"{name}={browser.cookies[name][:-1]}",
    }[cookie]
    returned = await browser.at_provider(asked)
    response = await other_browser.get(callback(returned), cookie=sent)
    assert (response.status_code, "location" in response.headers) == (403, False)
    assert "another browser" in response.text
    assert logged[-2]["reason"] == "login_of_other_browser"
    assert await logins_of(site, asked["state"]) == [("at_provider", None)]
    assert (await browser.get(callback(returned))).status_code == 303


async def test_attack_state_replayed(site, browser):
    """Design decision 1: single use, also when the answer differs; what the first gave is not touched by it."""
    asked = await browser.depart(URL)
    cookies = dict(browser.cookies)
    returned = await browser.at_provider(asked)
    assert (await browser.get(callback(returned))).status_code == 303
    before = await count(site, codes)
    browser.cookies = cookies
    for params in (returned, returned | {"code": "other"}, {"state": returned["state"], "error": "access_denied"}):
        response = await browser.get(callback(params))
        assert (response.status_code, "already used" in response.text) == (400, True)
    assert await count(site, codes) == before


@pytest.mark.parametrize("more", ["&state=x", "&code=y", "&error=a&error=b"])
async def test_repeated_parameters(browser, more):
    """RFC 6749 §3.1: refused, like any state that is not ours."""
    asked = await browser.depart(URL)
    response = await browser.get(callback({"code": "x", "state": asked["state"]}) + more)
    assert (response.status_code, "location" in response.headers) == (400, False)


@pytest.mark.parametrize("error", ["access_denied", "server_error", "login_required", "<script>"])
async def test_providers_error_is_shown_as_what_it_is(site, browser, error):
    """Protocol §12: a page with a link that carries the error to the client; the login is over."""
    asked = await browser.depart(URL)
    response = await browser.get(callback({"error": error, "error_description": "<b>no</b>", "state": asked["state"]}))
    assert response.status_code in {403, 502, 503}
    assert "<script" not in response.text
    assert "<b>" not in response.text
    (link,) = Form(response.text).links
    assert link.startswith("https://portal.example.com/callback?error=")
    assert "iss=https%3A%2F%2Fgate.example.com" in link
    ((step, slug),) = await logins_of(site, asked["state"])
    assert step == "failed"
    assert slug


async def test_answer_without_code_and_error(site, browser):
    """What the provider sent makes no sense: its configuration is to be looked at."""
    asked = await browser.depart(URL)
    response = await browser.get(callback({"state": asked["state"]}))
    assert response.status_code in {403, 502}
    assert (await logins_of(site, asked["state"]))[0][0] == "failed"


async def test_wrong_code(site, browser):
    """The provider refuses the code: nothing is granted."""
    before = await count(site, grants)
    asked = await browser.depart(URL)
    response = await browser.get(callback({"code": "made-up", "state": asked["state"]}))
    assert response.status_code in {403, 502}
    assert (await logins_of(site, asked["state"]))[0][0] == "failed"
    assert await count(site, grants) == before


async def test_provider_unreachable(site, browser):
    """503: trouble that may pass is told as such, with a way back."""
    asked = await browser.depart(URL, "down")
    response = await browser.get(callback({"code": "x", "state": asked["state"]}, "down"))
    assert (response.status_code, "cannot be reached" in response.text) == (503, True)
    assert "error=temporarily_unavailable" in Form(response.text).links[0]


async def test_person_who_is_not_allowed(site, browser):
    """Mallory's address is not verified, so the domain rule does not admit her; nothing is granted."""
    before = await count(site, grants)
    response = await browser.sign_in(URL, "mallory")
    assert (response.status_code, "not allowed in" in response.text) == (403, True)
    assert "error=access_denied" in Form(response.text).links[0]
    assert await count(site, grants) == before


async def test_errors_as_json(browser):
    """For a program that drives the flow itself (fastmcp does)."""
    response = await browser.get(callback({"code": "x", "state": "x"}), **JSON)
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"] == "invalid_request"


async def test_callback_is_not_posted(site):
    """The definition does not ask for form_post, so a POST is no callback."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        response = await http.post(f"{site.url}/oauth/callback/acme", content=urlencode({"code": "x"}))
    assert response.status_code == 400
