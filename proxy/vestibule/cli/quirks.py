"""Where a completed definition leaves the standards, in a word each, for people who wonder what the YAML is for."""

from collections.abc import Iterator
from typing import Any

from vestibule.provider.defaults import OIDC, RFC, TOKEN

_AUTHS = {
    "basic": "basic authentication",
    "none": "public client",
    "private_key_jwt": "signed by a key",
    "client_secret_jwt": "signed by the secret",
    "jwt_as_secret": "JWT as secret",
}
_STANDARD_QUERY = {*RFC["authorize"]["query"], *OIDC["authorize"]["query"], "scope"}
_STANDARD_TOKEN = {*TOKEN["params"], "client_id", "client_secret", "client_assertion", "client_assertion_type"}


def needs(raw: dict[str, Any]) -> list[str]:
    """What the config has to give: required params, and the client that is registered at the provider."""
    params = {name: param for name, param in _section(raw, "params").items() if isinstance(param, dict)}
    needed = [f"params.{name}" for name, param in params.items() if param.get("required") and "from" not in param]
    auth = _section(raw, "client").get("auth")
    client = {"none": "client.id", "private_key_jwt": "client.id + key", "jwt_as_secret": "client.id + key"}
    return [*needed, client.get(str(auth), "client.id + secret")]


def quirks(raw: dict[str, Any]) -> list[str]:
    told = (*_registration(raw), *_login(raw), *_tokens(raw), *_identity(raw))
    return [quirk for applies, quirk in told if applies]


Row = tuple[bool, str]


def _registration(raw: dict[str, Any]) -> Iterator[Row]:
    client, redirect = _section(raw, "client"), _section(raw, "redirect")
    auth = str(client.get("auth"))
    yield auth in _AUTHS, _AUTHS.get(auth, "")
    yield client.get("basic_user") != RFC["client"]["basic_user"], "secret as user name"
    yield bool(redirect.get("https_only")), "https redirects only"
    yield redirect.get("loopback") is False, "no loopback redirects"


def _login(raw: dict[str, Any]) -> Iterator[Row]:
    oidc, scopes, authorize = (_section(raw, key) for key in ("oidc", "scopes", "authorize"))
    callback, par = _section(raw, "callback"), _section(authorize, "par")
    yield raw.get("pkce") == "off", "no PKCE"
    yield raw.get("pkce") == "plain", "plain PKCE"
    yield oidc.get("nonce") == "off", "no nonce"
    yield "${id." in str(oidc.get("issuer")), "issuer by tenant"
    yield oidc.get("id_token") == "optional", "optional id_token"
    yield scopes.get("sep") != " ", "scope separator"
    yield scopes.get("param") != "scope", "scope parameter" if "param" in scopes else "no scopes"
    yield bool(scopes.get("raw")), "scopes as they are"
    extra = set(_section(authorize, "query")) - _STANDARD_QUERY - {str(scopes.get("param")), "response_mode"}
    yield bool(extra), f"sends {', '.join(sorted(extra))}"
    yield "fragment" in authorize, "parameters after #"
    yield "url" in par and "when" not in par, "pushed requests"
    yield bool(_section(raw, "state")), "limits state"
    yield callback.get("mode") == "form_post", "form_post"
    yield (callback.get("code"), callback.get("state")) != ("code", "state"), "callback names"
    yield "verify" in callback, "signed callback"
    sources = [str(param["from"]) for param in _section(raw, "params").values() if "from" in param]
    yield bool(sources), "captured fields"


def _tokens(raw: dict[str, Any]) -> Iterator[Row]:
    token, refresh, revoke = (_section(raw, key) for key in ("token", "refresh", "revoke"))
    sent = {name for part in ("form", "json", "query") for name in _section(token, part)}
    yield "json" in token, "JSON token request"
    yield token.get("method") != "POST", f"token request by {token.get('method')}"
    yield bool(sent - _STANDARD_TOKEN), f"token request with {', '.join(sorted(sent - _STANDARD_TOKEN))}"
    yield "ok" in token or _section(token, "err").get("code") != "error", "errors of its own"
    yield token.get("out") != TOKEN["out"], "token fields"
    yield "lifetime" in token, "unsaid lifetime"
    yield bool(_section(raw, "exchange")), "exchanges"
    yield raw.get("refresh") == "none", "no refresh"
    yield bool(refresh) and refresh.get("url") != token.get("url"), "refresh at another URL"
    yield refresh.get("rotate") in ("keep", "replace"), "refresh rotation"
    yield bool(refresh) and "${refresh_token" not in str(refresh), "refresh by access token"
    yield bool(revoke) and (revoke.get("method") != "POST" or "json" in revoke), "revocation"


def _identity(raw: dict[str, Any]) -> Iterator[Row]:
    identity, api = _section(raw, "identity"), _section(raw, "api")
    made = [call for call in _section(identity, "calls").values() if isinstance(call, dict)]
    yield any(call.get("method") == "POST" and "query" in _section(call, "json") for call in made), "GraphQL"
    yield any("paginate" in call for call in made), "pages"
    yield "tenant" in _section(identity, "map"), "subject by tenant"
    yield "cb." in str(identity.get("map")), "name in the callback"
    yield "allow" in identity, "limits who may enter"
    yield _section(api, "header") != RFC["api"]["header"] or bool(_section(api, "query")), "token header"


def _section(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}
