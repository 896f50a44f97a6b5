"""Every quirk that real providers are known to have: which definition has it, by which key, and which life walks it.

The first predicate looks at the definition as it is written (with what it extends, without the language's defaults), so
the key that expresses the quirk must really be there; `None` where the language does it by itself. The second looks at
the golden life, so the walk must really meet the quirk. Definitions whose names begin with `./` are not in the catalog:
no provider of the catalog has their quirk, and they live beside this file with golden lives of their own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provider.lifecycle import GOLDEN, QUIRKS, compiled, golden, walk
from vestibule import catalog

Uses = Callable[[dict[str, Any]], Any] | None
Shows = Callable[[dict[str, Any]], Any]


def token(life):
    return life["exchange"][0]["request"]


def reply(life):
    return life["exchange"][0]["reply"]["json"]


def authorize(life):
    return life["authorize"]["query"]


def refresh(life):
    return life["refresh"]["request"]


def revoke(life):
    return life["revoke"]["request"]


def rotates(life):
    return "refresh_token" in life["refresh"]["reply"]["json"]


TABLE: list[tuple[str, str, Uses, Shows]] = [
    (
        "templated host, path or tenant",
        "zendesk",
        lambda d: "${p.subdomain}" in d["token"]["url"] and d["params"]["subdomain"]["required"],
        lambda life: life["given"]["params"]["subdomain"] in token(life)["url"],
    ),
    ("PKCE off", "linkedin", lambda d: d["pkce"] == "off", lambda life: "code_challenge" not in authorize(life)),
    (
        "extra authorize params",
        "atlassian",
        lambda d: d["authorize"]["query"]["audience"],
        lambda life: authorize(life)["audience"] == "api.atlassian.com",
    ),
    (
        "extra authorize params, templated",
        "fusionauth",
        lambda d: d["authorize"]["query"]["tenantId"] == "${p.tenant}",
        lambda life: authorize(life)["tenantId"] == life["given"]["params"]["tenant"],
    ),
    (
        "basic auth at the token endpoint",
        "notion",
        lambda d: d["client"]["auth"] == "basic",
        lambda life: token(life)["basic"],
    ),
    (
        "mandatory scopes",
        "x",
        lambda d: d["scopes"]["required"],
        lambda life: {"tweet.read", "users.read"} <= set(authorize(life)["scope"].split()),
    ),
    (
        "captured callback fields",
        "zoho",
        lambda d: d["params"]["server"]["from"].startswith("cb."),
        lambda life: life["callback"]["accounts-server"],
    ),
    (
        "captured token fields",
        "stripe",
        lambda d: d["params"]["account"]["from"] == "t.stripe_user_id",
        lambda life: revoke(life)["form"]["stripe_user_id"] == reply(life)["stripe_user_id"],
    ),
    (
        "post-token call",
        "salesforce",
        lambda d: d["exchange"]["info"],
        lambda life: life["exchange"][1]["request"]["url"].endswith("/introspect"),
    ),
    (
        "explicit response_mode",
        "./query-and-json",
        lambda d: d["authorize"]["query"]["response_mode"],
        lambda life: authorize(life)["response_mode"] == "query",
    ),
    (
        "scope separator other than space",
        "kakao",
        lambda d: d["scopes"]["sep"] == ",",
        lambda life: authorize(life)["scope"].count(",") == 2,
    ),
    ("JSON token body", "clickup", lambda d: d["token"]["json"] == {}, lambda life: token(life)["json"]["code"]),
    (
        "alternative templates",
        "intercom",
        lambda d: d["params"]["api"]["default"] and "${p.api}" in d["token"]["url"],
        lambda life: token(life)["url"].startswith("https://api.intercom.io/"),
    ),
    (
        "refresh at another URL",
        "figma",
        lambda d: d["refresh"]["url"],
        lambda life: refresh(life)["url"] != token(life)["url"],
    ),
    (
        "API base from the token response",
        "zoom",
        lambda d: d["params"]["api"]["from"].startswith("t.") and "${p.api}" in d["api"]["base"],
        lambda life: life["identity"][0]["request"]["url"].startswith(reply(life)["api_url"]),
    ),
    (
        "API base from the token response, and from nowhere else",
        "./renewed-itself",
        lambda d: d["params"]["host"]["pattern"] and d["api"]["base"] == "${p.host}/v1",
        lambda life: life["identity"][0]["request"]["url"].startswith(reply(life)["data"]["host"]),
    ),
    (
        "token host from the callback",
        "zoho",
        lambda d: d["token"]["url"].startswith("${p.server}") and d["params"]["server"]["pattern"],
        lambda life: token(life)["url"].startswith(life["callback"]["accounts-server"]),
    ),
    (
        "refresh that does not rotate",
        "square",
        lambda d: d["refresh"]["rotate"] == "keep",
        lambda life: life["refresh"]["tokens"]["refresh_token"] == life["tokens"]["refresh_token"],
    ),
    (
        "refresh that does not rotate, and says so by silence",
        "spotify",
        None,
        lambda life: not rotates(life) and life["refresh"]["tokens"]["refresh_token"],
    ),
    (
        "token in its own header",
        "shopify",
        lambda d: d["api"]["header"]["X-Shopify-Access-Token"],
        lambda life: life["api"].keys() == {"X-Shopify-Access-Token"},
    ),
    (
        "extra token params",
        "huggingface",
        lambda d: d["token"]["form"]["client_id"],
        lambda life: token(life)["form"]["client_id"] and token(life)["basic"],
    ),
    (
        "absolute expiry, ISO 8601",
        "square",
        None,
        lambda life: reply(life)["expires_at"].endswith("Z") and life["tokens"]["expires_in"],
    ),
    (
        "absolute expiry, milliseconds",
        "./renewed-itself",
        lambda d: d["token"]["out"]["expires_at"],
        lambda life: reply(life)["data"]["expiry_ms"] > 10**12,
    ),
    (
        "absolute expiry, seconds",
        "salesforce",
        lambda d: d["exchange"]["info"]["out"]["expires_at"],
        lambda life: life["exchange"][1]["reply"]["json"]["exp"] and life["tokens"]["expires_in"],
    ),
    (
        "envelope",
        "x",
        lambda d: d["identity"]["map"]["sub"] == "me.data.id",
        lambda life: life["identity"][0]["reply"]["json"].keys() == {"data"},
    ),
    (
        "envelope around the tokens",
        "./renewed-itself",
        lambda d: d["token"]["out"]["access_token"].startswith("data."),
        lambda life: reply(life).keys() == {"data"},
    ),
    (
        "renamed fields",
        "bitbucket",
        lambda d: d["token"]["out"]["scope"] == "scopes",
        lambda life: "scope" not in reply(life) and reply(life)["scopes"],
    ),
    ("no expires_in", "notion", None, lambda life: "expires_in" not in reply(life)),
    (
        "omit redirect_uri",
        "workos",
        lambda d: d["token"]["json"]["redirect_uri"] is None,
        lambda life: "redirect_uri" not in token(life)["json"],
    ),
    (
        "client_id renamed",
        "tiktok",
        lambda d: d["token"]["form"]["client_id"] is None and d["token"]["form"]["client_key"],
        lambda life: token(life)["form"]["client_key"] and "client_id" not in token(life)["form"],
    ),
    (
        "omit empty params",
        "./hash-route",
        lambda d: "${p.prompt}" in d["authorize"]["query"].values(),
        lambda life: "prompt" not in authorize(life),
    ),
    (
        "callback code renamed",
        "./query-and-json",
        lambda d: d["callback"]["code"] == "auth_code",
        lambda life: life["callback"]["auth_code"],
    ),
    (
        "HTTP-200 errors",
        "slack",
        lambda d: d["token"]["ok"] == "ok" and d["token"]["err"]["refused"],
        lambda life: life["errors"][0]["reply"] == {"status": 200, "json": {"ok": False, "error": "invalid_code"}},
    ),
    (
        "errors in a member that is always there",
        "tiktok",
        lambda d: d["identity"]["calls"]["me"]["err"]["code"],
        lambda life: life["identity"][0]["reply"]["json"]["error"]["code"] == "ok" and life["errors"],
    ),
    (
        "refresh with the access token",
        "./renewed-itself",
        lambda d: d["refresh"]["form"]["refresh_token"] is None and d["refresh"]["early"],
        lambda life: refresh(life)["form"]["access_token"] == life["tokens"]["access_token"],
    ),
    (
        "omit grant_type",
        "figma",
        lambda d: d["refresh"]["form"]["grant_type"] is None,
        lambda life: "grant_type" not in refresh(life)["form"],
    ),
    (
        "omit grant_type with the code",
        "./hash-route",
        lambda d: d["token"]["form"]["grant_type"] is None,
        lambda life: "grant_type" not in token(life)["form"],
    ),
    (
        "second token per resource",
        "./token-per-resource",
        lambda d: d["exchange"]["api"]["at"] == ["login", "refresh"],
        lambda life: len(life["exchange"]) == len(life["refresh"]["steps"]) == 2,
    ),
    (
        "token params in query plus JSON",
        "./query-and-json",
        lambda d: d["token"]["query"] and d["token"]["json"],
        lambda life: token(life)["query"] and token(life)["json"],
    ),
    (
        "odd revocation",
        "strava",
        lambda d: d["revoke"]["query"] and d["revoke"]["form"] is None,
        lambda life: revoke(life)["query"].keys() == {"access_token"},
    ),
    (
        "parameters after #/route",
        "./hash-route",
        lambda d: d["authorize"]["fragment"],
        lambda life: "#/" in life["authorize"]["url"],
    ),
    (
        "raw scope encoding",
        "./hash-route",
        lambda d: d["scopes"]["raw"],
        lambda life: life["authorize"]["contains"] == "scope=read+write",
    ),
    (
        "secret as basic user name",
        "./renewed-itself",
        lambda d: d["client"]["basic_user"] == "${client.secret}" and d["client"]["basic_pass"] == "",
        lambda life: token(life)["basic"] == ["CLIENT_SECRET", ""],
    ),
    (
        "long-lived exchange",
        "facebook",
        lambda d: d["exchange"]["long"]["query"]["fb_exchange_token"],
        lambda life: life["tokens"]["access_token"] == life["exchange"][1]["reply"]["json"]["access_token"],
    ),
    (
        "GraphQL identity",
        "linear",
        lambda d: "viewer" in d["identity"]["calls"]["me"]["json"]["query"],
        lambda life: life["identity"][0]["request"]["json"]["query"],
    ),
    (
        "GET token endpoint",
        "facebook",
        lambda d: d["token"]["method"] == "GET",
        lambda life: token(life)["method"] == "GET" and token(life)["query"]["code"],
    ),
    (
        "JWT as client secret",
        "apple",
        lambda d: d["client"]["auth"] == "jwt_as_secret",
        lambda life: token(life)["form"]["client_secret"] == "CLIENT_ASSERTION" and life["assertion"]["claims"]["aud"],
    ),
    (
        "HMAC-signed callback",
        "shopify",
        lambda d: d["callback"]["verify"]["param"] == "hmac",
        lambda life: life["callback"]["hmac"] == "HMAC",
    ),
    (
        "form_post",
        "apple",
        lambda d: d["callback"]["mode"] == "form_post",
        lambda life: life["callback"]["method"] == "POST" and authorize(life)["response_mode"] == "form_post",
    ),
    (
        "nested secondary token with its own refresh",
        "slack",
        lambda d: d["token"]["out"] == "authed_user" and d["refresh"]["out"] == "@",
        lambda life: reply(life)["authed_user"]["refresh_token"] and rotates(life),
    ),
    ("scope returned as array", "twitch", None, lambda life: isinstance(reply(life)["scope"], list)),
    (
        "scope forbidden on refresh (Sentry)",
        "sentry",
        None,
        lambda life: "scope" in authorize(life) and "scope" not in refresh(life)["form"],
    ),
    (
        "issuer that templates the tenant",
        "microsoft",
        lambda d: "${id.tid}" in d["oidc"]["issuer"],
        lambda life: life["id_token"]["tid"] in life["id_token"]["iss"] != life["discovery"]["document"]["issuer"],
    ),
    (
        "id_token without nonce",
        "linkedin",
        lambda d: d["oidc"]["nonce"] == "off",
        lambda life: "nonce" not in life["id_token"] and "nonce" not in authorize(life),
    ),
    (
        "DELETE revocation with basic auth (GitHub)",
        "github",
        lambda d: d["revoke"]["method"] == "DELETE" and d["revoke"]["auth"] == "basic",
        lambda life: revoke(life)["method"] == "DELETE" and revoke(life)["basic"],
    ),
    # Traps and refinements beyond the count of the public catalog.
    ("booleans as text", "apple", None, lambda life: life["id_token"]["email_verified"] == "true"),
    (
        "subject within a tenant",
        "slack-oidc",
        lambda d: d["identity"]["map"]["tenant"],
        lambda life: life["result"]["tenant"] and life["result"]["tenant"] not in life["result"]["subject"],
    ),
    (
        "paged lists",
        "github",
        lambda d: d["identity"]["calls"]["orgs"]["paginate"] == "link",
        lambda life: len(life["identity"]) == 4,
    ),
    (
        "parameters signed as a proof",
        "facebook",
        lambda d: "hmac_sha256_hex" in d["api"]["query"]["appsecret_proof"],
        lambda life: life["api"]["query"]["appsecret_proof"],
    ),
    (
        "private_key_jwt",
        "./signed-client",
        lambda d: d["client"]["auth"] == "private_key_jwt",
        lambda life: token(life)["form"]["client_assertion"] == "CLIENT_ASSERTION",
    ),
    (
        "client_secret_jwt",
        "./signed-by-secret",
        lambda d: d["client"]["auth"] == "client_secret_jwt",
        lambda life: life["assertion"]["header"]["alg"] == "HS256",
    ),
    (
        "PKCE of the plain kind",
        "./signed-by-secret",
        lambda d: d["pkce"] == "plain",
        lambda life: authorize(life)["code_challenge"] == token(life)["form"]["code_verifier"],
    ),
    (
        "tenant from the callback",
        "./signed-by-secret",
        lambda d: d["params"]["tenant"]["from"] == "cb.tenant",
        lambda life: f"/{life['callback']['tenant']}/" in token(life)["url"],
    ),
    (
        "who may log in at all",
        "intercom",
        lambda d: d["identity"]["allow"] == "me.email_verified",
        lambda life: life["result"]["email_verified"],
    ),
    (
        "state with a limit",
        "x",
        lambda d: d["state"]["max"],
        lambda life: authorize(life)["state"],
    ),
    (
        "pushed authorization requests (RFC 9126)",
        "./signed-client",
        lambda d: d["authorize"]["par"]["url"],
        lambda life: "request_uri" in authorize(life) and life["par"]["request"]["form"]["state"],
    ),
]


def life_of(definition: str) -> Path:
    return QUIRKS / f"{definition}.life.yaml" if definition.startswith("./") else GOLDEN / f"{definition}.yaml"


def source_of(definition: str) -> str:
    return f"{definition}.yaml" if definition.startswith("./") else definition


@pytest.mark.parametrize(("quirk", "definition", "uses", "shows"), TABLE, ids=[row[0] for row in TABLE])
def test_quirk_has_a_definition_and_a_walk(quirk, definition, uses, shows):
    """The definition says it with the key that is meant for it, and the golden life meets it."""
    raw, life = catalog.load(source_of(definition), QUIRKS).raw, golden(life_of(definition))
    assert uses is None or uses(raw), f"{definition} does not use the key for: {quirk}"
    assert shows(life), f"the golden life of {definition} does not show: {quirk}"


@pytest.mark.parametrize("path", sorted(QUIRKS.glob("*.life.yaml")), ids=lambda path: path.name.split(".")[0])
def test_quirk_of_no_provider_in_the_catalog(path):
    """The catalog's own definitions are walked by `test_golden`."""
    life = golden(path)
    source = f"./{path.name.removesuffix('.life.yaml')}"
    assert source in {definition for _, definition, _, _ in TABLE}, "a definition without a row"
    differences = walk(compiled(source_of(source), life, QUIRKS), life)
    assert not differences, "\n\n" + "\n\n".join(differences)
