"""/oauth/authorize at a browser: free of side effects, consent bound to the browser, and no open redirector."""

import json
import time
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import func, select

from gate.running import request
from vestibule.storage import clients
from vestibule.storage.tables import metadata
from web.browser import HTML, JSON, Browser, Form, authorize_url, callback, query_of

REDIRECT = "https://client.example/callback"


async def rows(site) -> dict[str, int]:
    async with site.gateway.database.read() as db:
        return {t.name: await db.scalar(select(func.count()).select_from(t)) for t in metadata.sorted_tables}


async def registered(site, name: str = "Stranger", *, confirmed: bool = False) -> str:
    """A client that registered itself, and that nobody, or somebody, has approved."""
    document = {"client_name": name, "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"}
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        client = (await http.post(f"{site.url}/oauth/register", json=document)).json()["client_id"]
    if confirmed:
        async with site.gateway.database.write() as db:
            await clients.confirm_client(db, client, int(time.time()), int(time.time()) + 86400)
    return client


def url_for(client: str, **over: str | None) -> str:
    return authorize_url(client, **({"redirect_uri": REDIRECT} | over))


# --- GET -------------------------------------------------------------------------------------------------------------


async def test_get_shows_consent_and_leaves_nothing_behind(site, browser):
    """Protocol §6: idempotent and free of side effects, because clients and browsers prefetch it."""
    before = await rows(site)
    for _ in range(3):
        response = await browser.get(authorize_url("portal"))
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/html")
    assert await rows(site) == before


async def test_consent_page(browser):
    """Design decision 3: only what was requested is ticked; a button for each provider; the form posts to us."""
    form = await browser.consent(authorize_url("portal"))
    assert (form.ticked, form.action) == (["read"], "/oauth/authorize")
    assert form.decisions == ["approve:acme", "approve:down", "deny"]
    both = await browser.consent(authorize_url("portal", scope="read write offline_access", prompt="consent"))
    assert both.ticked == ["read", "write"]


async def test_headers_of_the_consent_page(browser):
    """RFC 6749 §10.13, RFC 9700 §4.2.4: not framed, not cached, no Referer, and a policy without `form-action`."""
    headers = (await browser.get(authorize_url("portal"))).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "form-action" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-trace-id"]
    assert "access-control-allow-origin" not in headers


async def test_no_cors_on_pages_for_people(site):
    """Protocol §13: never on authorize or account."""
    preflight = ("Origin: https://evil.example", "Access-Control-Request-Method: POST")
    for method, path in (("OPTIONS", "/oauth/authorize"), ("GET", authorize_url("portal")), ("OPTIONS", "/account")):
        answer = await site.exchange(request(method, path, *preflight), method)
        assert not [name for name, _ in answer.headers if name.startswith(b"access-control")]


@pytest.mark.parametrize(
    ("over", "slug"),
    [
        ({"client_id": "nobody"}, "client_unknown"),
        ({"client_id": None}, "client_id_missing"),
        ({"client_id": "https://cimd.invalid/client.json"}, "client_unknown"),
        ({"redirect_uri": "https://evil.example/callback"}, "redirect_uri_unregistered"),
        ({"redirect_uri": "https://portal.example.com/callback/x"}, "redirect_uri_unregistered"),
        ({"redirect_uri": "https://portal.example.com/callback?x"}, "redirect_uri_unregistered"),
        ({"redirect_uri": "//evil.example"}, "redirect_uri_unregistered"),
        ({"redirect_uri": "javascript:alert(1)"}, "redirect_uri_unregistered"),
    ],
    ids=str,
)
async def test_error_before_the_redirect_uri_is_known_is_shown(browser, logged, over, slug):
    """RFC 6749 §4.1.2.1, CVE-2025-4143: a page with a way out, never a redirect; JSON for who asks for it."""
    page = await browser.get(authorize_url("portal", **over))
    assert (page.status_code, "location" in page.headers) == (400, False)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["x-trace-id"] in page.text
    assert Form(page.text).links == []
    document = (await browser.get(authorize_url("portal", **over), **JSON)).json()
    assert document.keys() == {"error", "error_description", "trace_id"}
    assert document["error"] == ("invalid_client" if slug == "client_unknown" else "invalid_request")
    assert [entry["reason"] for entry in logged if entry["event"] == "flow_refused"] == [slug, slug]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html", "text/html"),
        ("*/*", "text/html"),
        ("application/json", "application/json"),
        ("application/json, text/html", "text/html"),
        ("application/json, text/plain, */*", "application/json"),
    ],
)
async def test_page_or_json(browser, accept, kind):
    """Protocol §6: mcp-remote preflights cached clients and reads JSON; a browser gets a page."""
    response = await browser.get(authorize_url("nobody"), accept=accept)
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (400, kind)


async def test_repeated_parameter_is_refused(browser):
    """RFC 6749 §3.1: two readers could take different ones, so there is no redirect either."""
    response = await browser.get(authorize_url("portal") + "&state=other", **JSON)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


ERRORS = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": None}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"resource": "https://gate.example.com/other"}, "invalid_target"),
    ({"resource": None}, "invalid_target"),
    ({"scope": "nothing"}, "invalid_scope"),
    ({"prompt": "none"}, "consent_required"),
    ({"request": "eyJ"}, "invalid_request"),
]


@pytest.mark.parametrize(("over", "error"), ERRORS, ids=str)
async def test_error_of_a_configured_client_is_sent_to_it(site, browser, over, error):
    """RFC 6749 §4.1.2.1, RFC 9207 §2: 303 with `error`, `state` and `iss`; nothing is left behind."""
    before = await rows(site)
    response = await browser.get(authorize_url("portal", **over))
    assert response.status_code == 303
    assert response.headers["location"].startswith("https://portal.example.com/callback?")
    answer = query_of(response)
    assert answer.pop("error_description")
    assert answer == {"error": error, "state": "client-state", "iss": "https://gate.example.com"}
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
    assert await rows(site) == before


async def test_error_of_a_confirmed_client_is_sent_to_it(site, browser):
    """A user vouched for it by approving it once."""
    client = await registered(site, "Known", confirmed=True)
    response = await browser.get(url_for(client, response_type="token"))
    assert (response.status_code, query_of(response)["iss"]) == (303, "https://gate.example.com")


@pytest.mark.parametrize(("over", "error"), ERRORS, ids=str)
async def test_attack_open_redirector_for_unconfirmed_client(site, browser, over, error):
    """RFC 9700 §4.11.2: anybody can register a redirect URI, so errors are pages with a link; the user decides."""
    response = await browser.get(url_for(await registered(site), **over))
    assert (response.status_code, "location" in response.headers, "refresh" in response.headers) == (400, False, False)
    (link,) = Form(response.text).links
    assert link.startswith(f"{REDIRECT}?error={error}&")
    assert "iss=https%3A%2F%2Fgate.example.com" in link
    assert "http-equiv" not in response.text


async def test_state_is_repeated_as_it_came(browser):
    """RFC 6749 §4.1.2.1: exactly, whatever is in it; encoded, so that it cannot add a parameter."""
    state = "a b&code=evil#/ü\"'<%00"
    response = await browser.get(authorize_url("portal", state=state, response_type="token"))
    assert query_of(response)["state"] == state
    assert "code" not in query_of(response)
    response = await browser.get(authorize_url("portal", state=None, response_type="token"))
    assert "state" not in query_of(response)


async def test_resource_may_be_omitted_with_one_route(loopback_site, provider):
    """Protocol §7: several routes and no resource is `invalid_target` (above); one route is that route."""
    async with Browser(loopback_site, provider) as browser:
        form = await browser.consent(authorize_url("public", resource=None, scope=None))
        assert form.ticked == ["access"]


async def test_head_is_no_get(site):
    """Nothing answers HEAD at authorize, so no prefetcher can start anything by it."""
    assert (await site.exchange(request("HEAD", authorize_url("portal")), "HEAD")).status == 405


# --- POST: the decision ----------------------------------------------------------------------------------------------


async def test_approval_goes_to_the_provider(site, browser):
    """303, so that the form's body does not follow (RFC 9700 §4.12); now, and only now, there is a login."""
    before = await rows(site)
    response = await browser.decide(await browser.consent(authorize_url("portal")), "approve:acme")
    assert response.status_code == 303
    assert response.headers["location"].startswith(f"{browser.provider}/authorize?")
    asked = query_of(response)
    assert asked["redirect_uri"] == "https://gate.example.com/oauth/callback/acme"
    assert asked["code_challenge_method"] == "S256"
    assert "client-state" not in asked["state"]
    assert len(asked["state"]) <= 240
    assert {name: count - before[name] for name, count in (await rows(site)).items() if count != before[name]} == {
        "logins": 1
    }


async def test_denial_goes_to_the_client(site, browser):
    """RFC 6749 §4.1.2.1: access_denied with state and iss; no login, no cookie."""
    before = await rows(site)
    response = await browser.decide(await browser.consent(authorize_url("portal")), "deny")
    assert response.status_code == 303
    answer = query_of(response)
    assert (answer["error"], answer["state"], answer["iss"]) == (
        "access_denied",
        "client-state",
        "https://gate.example.com",
    )
    assert "set-cookie" not in response.headers
    assert await rows(site) == before


async def test_no_permission_chosen(browser):
    """The page is shown again with what to change, and the answer can still be given."""
    form = await browser.consent(authorize_url("portal"))
    response = await browser.post(form.action, [("request", form.request), ("decision", "approve:acme")])
    assert response.status_code == 200
    assert "Choose at least one permission" in response.text
    again = Form(response.text)
    assert again.ticked == []
    assert (await browser.decide(again, "approve:acme", "write")).status_code == 303


@pytest.mark.parametrize("permissions", [["admin"], ["read'"], [""]])
async def test_attack_permission_that_does_not_exist(browser, permissions):
    """A form can be edited: unknown names are no choice."""
    form = await browser.consent(authorize_url("portal"))
    response = await browser.decide(form, "approve:acme", *permissions)
    assert (response.status_code, "Choose at least one" in response.text) == (200, True)


@pytest.mark.parametrize("decision", ["approve:other", "approve:", "", "approve", "DENY", "approve:acme,down"])
async def test_unknown_decision(browser, decision):
    """Only providers of this route; everything else is refused."""
    response = await browser.decide(await browser.consent(authorize_url("portal")), decision)
    assert (response.status_code, "location" in response.headers) == (400, False)


@pytest.mark.parametrize(
    "headers",
    [
        {"cookie": "a=1"},
        {"cookie": "__Host-vestibule_form="},
        {"cookie": "__Host-vestibule_form=other"},
        {"cookie": "vestibule_form=COOKIE"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": ""},
        {"origin": "https://evil.example"},
        {"origin": "http://gate.example.com"},
        {"origin": "https://gate.example.com.evil.example"},
        {"origin": ""},
        {"origin": "https://evil.example", "sec_fetch_site": "same-origin"},
        {"origin": "null", "sec_fetch_site": "cross-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("decision", ["approve:acme", "deny"])
async def test_attack_consent_by_another_site(site, browser, headers, decision):
    """CSRF: a foreign page submits a form that its own visit was given. Cookie missing or another, Origin or
    Sec-Fetch-Site foreign: nothing is sent anywhere, nothing is stored.
    """
    form = await browser.consent(authorize_url("portal"))
    headers = {name: value.replace("COOKIE", str(browser.cookies)) for name, value in headers.items()}
    before = await rows(site)
    response = await browser.decide(form, decision, **headers)
    assert (response.status_code, "location" in response.headers) == (400, False)
    assert "set-cookie" not in response.headers
    assert await rows(site) == before


async def test_attack_form_of_another_browser(site, browser, other_browser):
    """The attacker's signed request in the victim's browser: the cookie does not fit."""
    attackers = await other_browser.consent(authorize_url("portal"))
    await browser.consent(authorize_url("portal"))
    assert (await browser.decide(attackers, "approve:acme")).status_code == 400
    assert (await other_browser.decide(attackers, "approve:acme")).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://gate.example.com"},
        {"origin": "null"},
        {"origin": "null", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ],
    ids=str,
)
async def test_our_own_page_may_submit(browser, headers):
    """Our pages send no referrer, and browsers then send `Origin: null` (Fetch): the cookie's binding decides."""
    form = await browser.consent(authorize_url("portal"))
    assert (await browser.decide(form, "approve:acme", **headers)).status_code == 303


@pytest.mark.parametrize("change", ["", "x", "truncated", "none", "signed for state"])
async def test_attack_forged_form(site, browser, change):
    """Only what this gateway signed as a form is one; its state is not."""
    form = await browser.consent(authorize_url("portal"))
    form.request = {
        "": "",
        "x": form.request + "x",
        "truncated": form.request[:-2],
        "none": "eyJhbGciOiJub25lIn0." + form.request.split(".")[1] + ".",
        "signed for state": site.gateway.state.sign({"r": {}, "b": ""}, expires_at=int(time.time()) + 60),
    }[change]
    assert (await browser.decide(form, "approve:acme")).status_code == 400


async def test_form_that_was_open_for_too_long(site, browser):
    """Ten minutes: a page that says so, with a link back that carries the error."""
    form = await browser.consent(authorize_url("portal"))
    claims = site.gateway.forms.open(form.request).claims
    form.request = site.gateway.forms.sign(claims, expires_at=int(time.time()) - 1)
    response = await browser.decide(form, "approve:acme")
    assert response.status_code == 400
    (link,) = Form(response.text).links
    assert "error=access_denied" in link


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"request=%ff", b"a=" + b"b" * 70_000, b"&".join([b"a=b"] * 300)], ids=len
)
async def test_malformed_form(browser, body):
    """A page, whatever was sent; never a failure of ours."""
    await browser.consent(authorize_url("portal"))
    response = await browser.post("/oauth/authorize", body)
    assert response.status_code == 400
    assert response.headers["content-type"].startswith("text/html")


async def test_two_tabs(site, browser):
    """Two sign-ins at once in one browser: neither cookie replaces the other, in any order of answers."""
    first, second = (
        await browser.consent(authorize_url("portal", state="one")),
        await browser.consent(authorize_url("portal", state="two", scope="write")),
    )
    asked = [query_of(await browser.decide(form, "approve:acme")) for form in (first, second)]
    assert len([name for name in browser.cookies if "login" in name]) == 2
    for state, question in (("two", asked[1]), ("one", asked[0])):
        answer = query_of(await browser.get(callback(await browser.at_provider(question))))
        assert answer["state"] == state
    assert [name for name in browser.cookies if "login" in name] == []


async def test_trusted_client_skips_consent_with_one_provider_only(site, browser):
    """Design decision 3: `consent: trusted`; with several providers there is still something to choose."""
    alone = await browser.get(authorize_url("trusted", resource="https://gate.example.com/solo/deep", scope=None))
    assert (alone.status_code, urlsplit(alone.headers["location"]).path) == (303, "/authorize")
    assert "__Host-vestibule_login_" in alone.headers["set-cookie"]
    assert (await browser.get(authorize_url("trusted"))).status_code == 200


async def test_provider_that_cannot_be_reached_is_told_later(site, browser):
    """Nothing of the provider is asked before the redirect here, so its trouble shows at the callback."""
    response = await browser.decide(await browser.consent(authorize_url("portal")), "approve:down")
    assert response.headers["location"].startswith("http://127.0.0.1:1/authorize?")


# --- cookies ---------------------------------------------------------------------------------------------------------


def attributes(line: str) -> tuple[str, set[str]]:
    name, *rest = (part.strip() for part in line.split(";"))
    return name.partition("=")[0], {part.lower() for part in rest}


async def test_cookies_on_https(browser):
    """Design decision 4: `__Host-`, Secure, HttpOnly, SameSite=Lax, this host only."""
    page = await browser.get(authorize_url("portal"))
    gone = await browser.decide(Form(page.text), "approve:acme")
    name, said = attributes(page.headers["set-cookie"])
    assert name == "__Host-vestibule_form"
    assert said == {"path=/", "secure", "httponly", "samesite=lax"}
    name, said = attributes(gone.headers["set-cookie"])
    assert name.startswith("__Host-vestibule_login_")
    assert said == {"path=/", "secure", "httponly", "samesite=lax", "max-age=600"}


async def test_cookies_on_loopback(loopback_site, provider):
    """Http on loopback has names of its own, so that the two can never be mixed up."""
    async with Browser(loopback_site, provider) as browser:
        page = await browser.get(authorize_url("public", resource=None, scope=None))
        name, said = attributes(page.headers["set-cookie"])
        assert (name, said) == ("vestibule_form", {"path=/", "httponly", "samesite=lax"})
        value = browser.cookies.pop("vestibule_form")
        form = Form(page.text)
        wrong = await browser.decide(form, "approve:acme", cookie=f"__Host-vestibule_form={value}")
        assert wrong.status_code == 400
        gone = await browser.decide(form, "approve:acme", cookie=f"vestibule_form={value}")
        assert attributes(gone.headers["set-cookie"])[0].startswith("vestibule_login_")


async def test_form_cookie_is_kept(browser):
    """One value per browser, so that an open tab survives a second visit."""
    await browser.get(authorize_url("portal"))
    before = dict(browser.cookies)
    await browser.get(authorize_url("portal"))
    assert browser.cookies == before


async def test_errors_are_valid_for_their_reader(browser):
    """HTML in a client's parameters is text in the page, and JSON stays JSON."""
    evil = '"><script>alert(1)</script>'
    page = await browser.get(authorize_url(evil, redirect_uri=evil), **HTML)
    assert "<script" not in page.text
    assert json.loads((await browser.get(authorize_url(evil), **JSON)).text)["error"] == "invalid_client"
