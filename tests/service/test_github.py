"""GitHub's quirks through the whole sign-in: the shipped definition, the real services, GitHub played by respx."""

import json
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
import respx
from sqlalchemy import select

from vestibule.app import build_gateway
from vestibule.crypto.digests import s256
from vestibule.loading import load_config
from vestibule.outbound import Outbound
from vestibule.service import authorizations, logins
from vestibule.service.gateway import FlowRefused
from vestibule.storage.tables import families, grants, keys, users

CONFIG = """
public_url: https://gate.example.com
storage: sqlite:///{directory}/github.db
secrets: {{signing: [{secret}], sealing: [{secret}]}}
providers:
  github: {{client: {{id: the-app, secret: the-secret}}, scopes: ["read:org"]}}
clients:
  - {{id: portal, name: Portal, redirect_uris: ["https://portal.example.com/cb"]}}
routes:
  - id: issues
    path: /mcp
    backend: http://127.0.0.1:9/mcp
    providers: [github]
    allow: [{{group: "github:acme/platform", email_domain: acme.example}}]
"""
VERIFIER = "v" * 64
USER = {
    "id": 583231,
    "login": "octocat",
    "name": "Mona",
    "avatar_url": "https://a.example/u",
    "email": "public@else.example",
}
TOKENS = {"access_token": "gho_token", "scope": "read:org,read:user,user:email", "token_type": "bearer"}
EMAILS = [
    {"email": "old@acme.example", "primary": False, "verified": True},
    {"email": "mona@acme.example", "primary": True, "verified": True},
]


@pytest.fixture
async def gateway(tmp_path):
    file = tmp_path / "vestibule.yaml"
    file.write_text(CONFIG.format(directory=tmp_path, secret="MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY"))
    gateway = build_gateway(load_config(file, {}), Outbound())
    await gateway.database.migrate()
    yield gateway
    await gateway.outbound.close()
    await gateway.database.close()


@pytest.fixture
def github():
    with respx.mock(assert_all_called=False) as mock:
        mock.post("https://github.com/login/oauth/access_token", name="token").respond(json=TOKENS)
        mock.get("https://api.github.com/user", name="user").respond(json=USER)
        mock.get("https://api.github.com/user/emails", name="emails").respond(json=EMAILS)
        mock.get("https://api.github.com/user/orgs", name="orgs").mock(
            side_effect=pages(*({"login": f"org-{n}"} for n in range(3)))
        )
        mock.get("https://api.github.com/user/teams", name="teams").mock(
            side_effect=pages(
                *({"slug": f"team-{n}", "organization": {"login": "acme"}} for n in range(2)),
                {"slug": "platform", "organization": {"login": "acme"}},
            )
        )
        yield mock


def pages(*items):
    """One item a page, each naming the next as GitHub does (docs.github.com "Using pagination in the REST API")."""

    def answer(request):
        number = int(request.url.params.get("page", "1"))
        following = request.url.copy_merge_params({"page": str(number + 1)})
        more = {"link": f'<{following}>; rel="next"'} if number < len(items) else {}
        return httpx.Response(200, json=[items[number - 1]], headers=more)

    return answer


async def sign_in(gateway):
    """Consent, GitHub, callback; the URL that leads back to the client, and the one that led to GitHub."""
    query = (
        "response_type=code&client_id=portal&redirect_uri=https://portal.example.com/cb&state=xyz"
        f"&code_challenge={s256(VERIFIER)}&code_challenge_method=S256"
    )
    consent = await authorizations.begin(gateway, query.encode(), "this browser")
    departure = await authorizations.decide(
        gateway, signed=consent.signed, browser="this browser", decision="approve:github", chosen=["access"]
    )
    login_id, secret = departure.cookie
    state = parse_qs(urlsplit(departure.url).query)["state"][0]
    arrival = await logins.complete(gateway, "github", {"code": "gh-code", "state": state}, {login_id: secret})
    return arrival.url, departure.url


async def made(gateway):
    async with gateway.database.read() as db:
        return {table.name: len((await db.execute(select(table))).all()) for table in (users, grants, families, keys)}


async def test_sign_in_with_groups_over_several_pages(gateway, github):
    """The allow rule needs the last team of the last page, and the primary verified address."""
    back, to_github = await sign_in(gateway)
    assert back.startswith("https://portal.example.com/cb?code=")
    asked = dict(parse_qsl(urlsplit(to_github).query))
    assert asked["scope"] == "read:user user:email read:org"
    assert asked["code_challenge_method"] == "S256"  # accepted since 2025-07
    exchanged = dict(parse_qsl(github["token"].calls.last.request.content.decode()))
    assert s256(exchanged["code_verifier"]) == asked["code_challenge"]
    assert github["token"].calls.last.request.headers["accept"] == "application/json"
    assert (github["orgs"].call_count, github["teams"].call_count) == (3, 3)
    async with gateway.database.read() as db:
        user = (await db.execute(select(users))).one()
    assert (user.subject, user.email, user.email_verified) == ("583231", "mona@acme.example", True)
    assert user.groups == ["org-0", "org-1", "org-2", "acme/team-0", "acme/team-1", "acme/platform"]


@pytest.mark.parametrize(
    ("answer", "slug"),
    [
        (
            {"error": "bad_verification_code", "error_description": "The code is incorrect or expired."},
            "provider_refused",
        ),
        ({"error": "incorrect_client_credentials", "error_description": "x"}, "provider_error"),
        ({"error": "redirect_uri_mismatch"}, "provider_error"),
    ],
)
async def test_error_with_status_200(gateway, github, answer, slug):
    """docs.github.com "Troubleshooting OAuth app access token request errors": every error comes with HTTP 200."""
    github["token"].respond(200, json=answer)
    with pytest.raises(FlowRefused) as refused:
        await sign_in(gateway)
    assert refused.value.error.slug == slug
    assert not github["user"].called
    assert set((await made(gateway)).values()) == {0}


@pytest.mark.parametrize(
    "emails",
    [
        [{"email": "mona@acme.example", "primary": True, "verified": False}],
        [
            {"email": "mona@acme.example", "primary": False, "verified": True},
            {"email": "m@else.example", "primary": True, "verified": True},
        ],
        [],
    ],
    ids=["not verified", "not primary", "none"],
)
async def test_only_the_primary_verified_address_counts(gateway, github, emails):
    """CVE-2026-40574: neither the public profile's address nor a secondary one opens a door."""
    github["emails"].respond(200, json=emails)
    with pytest.raises(FlowRefused) as refused:
        await sign_in(gateway)
    assert refused.value.error.slug in {"email_not_verified", "not_on_allow_list"}
    assert set((await made(gateway)).values()) == {0}


async def test_a_page_of_another_origin_is_not_followed(gateway, github):
    """The request carries the user's token: a `Link` must not lead it away."""
    evil = github.get("https://evil.example/user/orgs").respond(200, json=[])
    headers = {"link": '<https://evil.example/user/orgs?page=2>; rel="next"'}
    github["orgs"].mock(return_value=httpx.Response(200, content=json.dumps([{"login": "acme"}]), headers=headers))
    with pytest.raises(FlowRefused) as refused:
        await sign_in(gateway)
    assert refused.value.error.slug == "page_on_another_origin"
    assert not evil.called
