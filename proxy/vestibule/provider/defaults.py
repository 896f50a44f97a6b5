"""The defaults of the provider language, written in the language itself, and how definitions are laid over them.

`RFC`, `OIDC`, `CREDENTIALS` and the others are definitions like those of the catalog, only lower in the pile.
`complete` piles them up; what comes out says everything about a provider, and no other module knows what a default is.

    credentials  <  RFC  <  OIDC (if there is an `oidc` section)  <  the definition (itself: parent < child)

The parameters of a default request are not bound to a part of it: they go where the definition has its own, so that a
JSON body or a GET is one line. Null stays in the pile as a mark until the very end, so that a parent's null deletes a
default below it.
"""

import re
from collections.abc import Mapping
from typing import Any

_CALL = {"headers": {"Accept": "application/json"}, "err": {"code": "error", "description": "error_description"}}
_OUT = {name: name for name in ("access_token", "refresh_token", "expires_in", "expires_at", "scope", "id_token")}

RFC: dict[str, Any] = {
    "client": {"auth": "post", "basic_user": "${client.id|urlencode}", "basic_pass": "${client.secret|urlencode}"},
    "scopes": {"sep": " ", "param": "scope"},
    "pkce": "S256",
    "authorize": {  # RFC 6749 §4.1.1, RFC 7636 §4.3
        "query": {
            "response_type": "code",
            "client_id": "${client.id}",
            "redirect_uri": "${redirect_uri}",
            "state": "${state}",
            "code_challenge": "${challenge}",
            "code_challenge_method": "${challenge_method}",
        }
    },
    "refresh": {},
    "callback": {
        "mode": "query",
        "code": "code",
        "state": "state",
        "err": {"code": "error", "description": "error_description"},
    },
    "api": {"header": {"Authorization": "Bearer ${access_token}"}},
}

TOKEN: dict[str, Any] = _CALL | {  # RFC 6749 §4.1.3, §5.1; RFC 7636 §4.5
    "method": "POST",
    "params": {
        "grant_type": "authorization_code",
        "code": "${code}",
        "redirect_uri": "${redirect_uri}",
        "code_verifier": "${verifier}",
    },
    "out": _OUT,
}
REFRESH: dict[str, Any] = {  # RFC 6749 §6, over the token call; without `scope` the scope stays as granted
    "rotate": "auto",
    "early": 120,
    "params": {"grant_type": "refresh_token", "refresh_token": "${refresh_token}"},
}
REVOKE: dict[str, Any] = _CALL | {  # RFC 7009 §2.1: revoking the refresh token ends what it gave
    "method": "POST",
    "params": {"token": "${refresh_token ?? access_token}"},
}
EXCHANGE: dict[str, Any] = _CALL | {"method": "POST", "out": _OUT}
IDENTITY_CALL: dict[str, Any] = _CALL | {"method": "GET", "auth": "bearer"}
PAR: dict[str, Any] = _CALL | {"method": "POST"}  # RFC 9126 §2.1; its parameters are those of the authorize URL

_PERSON = "(userinfo.email && userinfo || id)"  # an address and its verification must come from the same document

OIDC: dict[str, Any] = {  # OIDC Core §3.1.2.1, §3.1.3.7, §5.1, §5.3; Discovery §3; RFC 9126 §5
    "oidc": {
        "jwks": "${d.jwks_uri}",
        "nonce": "on",
        "id_token": "required",
        "algs": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
        "audience": "${client.id}",
    },
    "authorize": {
        "url": "${d.authorization_endpoint}",
        "query": {"nonce": "${nonce}"},
        "par": {"url": "${d.pushed_authorization_request_endpoint}", "when": "d.require_pushed_authorization_requests"},
    },
    "token": {"url": "${d.token_endpoint}"},
    "revoke": {"url": "${d.revocation_endpoint}"},
    "identity": {
        "calls": {"userinfo": {"url": "${d.userinfo_endpoint}", "when": "d.userinfo_endpoint"}},
        "map": {
            "sub": "id.sub || userinfo.sub",
            "email": f"{_PERSON}.email",
            "email_verified": f"{_PERSON}.email_verified",
            "name": "userinfo.name || id.name",
            "login": "userinfo.preferred_username || id.preferred_username",
            "picture": "userinfo.picture || id.picture",
            "groups": "(userinfo.groups || id.groups)[]",
        },
    },
}

_ASSERTION = {  # RFC 7521 §4.2, RFC 7523 §2.2
    "client_id": "${client.id}",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": "${client.jwt}",
}
CREDENTIALS: dict[str, dict[str, Any]] = {
    "post": {"params": {"client_id": "${client.id}", "client_secret": "${client.secret}"}},
    "basic": {"headers": {"Authorization": "Basic ${client.basic}"}},
    "none": {"params": {"client_id": "${client.id}"}},
    "private_key_jwt": {"params": _ASSERTION},
    "client_secret_jwt": {"params": _ASSERTION},
    "jwt_as_secret": {"params": {"client_id": "${client.id}", "client_secret": "${client.jwt}"}},
}
"""RFC 6749 §2.3.1 and §3.2.1, as the lowest layer of a call: a renamed parameter is an overlay like any other. The
last, `bearer`, is `api`."""

_ALGS = {"private_key_jwt": "RS256", "client_secret_jwt": "HS256", "jwt_as_secret": "ES256"}
_JWT = {"iss": "${client.id}", "sub": "${client.id}", "ttl": 300}

# --- piling up -------------------------------------------------------------------------------------------------------


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`: mappings merge, everything else replaces, null deletes.

    A null is kept as a mark, because `base` may itself be laid over defaults that the null is meant for; `complete`
    drops the marks. Neither argument is changed.
    """
    return {**base} | {
        key: merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in over.items()
    }


def complete(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with every default written out. Takes anything; what is wrong in it is left for the type check."""
    oidc = raw.get("oidc")
    whole = merge(merge(RFC, OIDC) if isinstance(oidc, dict) else RFC, raw)
    authorize, token, refresh, revoke, exchange, identity, client, callback = (
        whole.get(key)
        for key in ("authorize", "token", "refresh", "revoke", "exchange", "identity", "client", "callback")
    )
    pile = _Pile(_at(whole, "client", "auth"), _at(whole, "api"))
    form_post = {"response_mode": "form_post"} if _at(whole, "callback", "mode") == "form_post" else {}
    layered: dict[str, Any] = {}
    if isinstance(authorize, dict):
        scope = {param: "${scope}"} if isinstance(param := _at(whole, "scopes", "param"), str) else {}
        authorize = merge({"query": scope | form_post}, authorize)
        if isinstance(par := authorize.get("par"), dict):
            authorize["par"] = pile.call(par, PAR | {"params": authorize.get("query")})
        layered["authorize"] = authorize
    if isinstance(token, dict):
        layered["token"] = pile.call(token, TOKEN)
        if isinstance(refresh, dict):
            layered["refresh"] = pile.call(refresh, _without(TOKEN, "params"), _without_code(token), REFRESH)
    if isinstance(revoke, dict):
        layered["revoke"] = pile.call(revoke, REVOKE) if revoke.get("url") is not None else None
    if isinstance(exchange, dict):
        layered["exchange"] = pile.calls(exchange, EXCHANGE)
    if isinstance(identity, dict) and isinstance(calls := identity.get("calls"), dict):
        layered["identity"] = identity | {"calls": pile.calls(calls, IDENTITY_CALL)}
    if isinstance(callback, dict) and isinstance(oidc, dict):
        layered["callback"] = {"iss": oidc.get("issuer")} | callback
    if isinstance(client, dict) and (isinstance(client.get("jwt"), dict) or pile.auths.intersection(_ALGS)):
        alg = next((_ALGS[auth] for auth in _ALGS if auth in pile.auths), None)
        jwt = client.get("jwt", {})
        layered["client"] = client | {"jwt": _over(_JWT | {"alg": alg, "aud": _audience(whole)}, jwt)}
    return _without_nulls(whole | layered)


def _audience(whole: Mapping[str, Any]) -> Any:
    """RFC 7523 §3: the issuer, as it is discovered or as it is written down; without one, the token endpoint."""
    if not isinstance(whole.get("oidc"), dict):
        return _at(whole, "token", "url")
    return _at(whole, "oidc", "issuer") if _at(whole, "oidc", "discovery") == "off" else "${d.issuer}"


class _Pile:
    """Lays calls over the defaults of their kind, and those over the credentials that they send."""

    def __init__(self, client_auth: Any, api: Any) -> None:
        # An unknown method is reported once, at `client.auth`, and not at every call that inherits it.
        self._auth = client_auth if client_auth in list(CREDENTIALS) else "none"
        self._api = api if isinstance(api, dict) else {}
        self.auths: set[str] = set()
        """Methods in use."""

    def calls(self, calls: Mapping[str, Any], *defaults: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.call(call, *defaults) if isinstance(call, dict) else call for name, call in calls.items()}

    def call(self, call: dict[str, Any], *defaults: Mapping[str, Any]) -> dict[str, Any]:
        call = _spelt_out(call)
        merged: dict[str, Any] = {"auth": self._auth}
        for layer in (*defaults, call):
            merged = merge(merged, layer)
        auth, place = merged["auth"], _place(merged)
        result: dict[str, Any] = {}
        for layer in (self._credentials(auth), {"auth": self._auth}, *defaults, call):
            result = merge(result, _placed(layer, place))
        if isinstance(auth, str):
            self.auths.add(auth)
        return self._below_base(result)

    def _credentials(self, auth: Any) -> Mapping[str, Any]:
        if auth == "bearer":
            return {"headers": self._api.get("header"), "query": self._api.get("query", {})}
        return CREDENTIALS.get(auth, {}) if isinstance(auth, str) else {}

    def _below_base(self, call: dict[str, Any]) -> dict[str, Any]:
        url, base = call.get("url"), self._api.get("base")
        below = call.get("auth") == "bearer" and isinstance(url, str) and url.startswith("/") and isinstance(base, str)
        return call | {"url": f"{base}{url}"} if below else call


def _place(call: Mapping[str, Any]) -> str | None:
    """Where the default parameters of a request go: to the definition's own."""
    if isinstance(call.get("json"), dict):
        return "json"
    if call.get("method") == "GET":
        return "query"
    return None if isinstance(call.get("body"), str) else "form"


def _placed(layer: Mapping[str, Any], place: str | None) -> Mapping[str, Any]:
    if "params" not in layer:
        return layer
    return _without(layer, "params") | ({place: layer["params"]} if place else {})


def _spelt_out(call: dict[str, Any]) -> dict[str, Any]:
    """The two short forms: `out: data` and `paginate: link`."""
    out, paginate = call.get("out"), call.get("paginate")
    if isinstance(out, str):
        call = call | {"out": {name: f"{out}.{name}" for name in _OUT}}
    if isinstance(paginate, str):
        paginate = {"by": paginate}
    return call | {"paginate": {"items": "@"} | paginate} if isinstance(paginate, dict) else call


_CODE = re.compile(r"\$\{[^}]*\b(?:code|verifier)\b")


def _without_code(token: dict[str, Any]) -> dict[str, Any]:
    """What `refresh` inherits: all but the parameters that carry the code or its verifier."""
    return {
        key: {name: part for name, part in value.items() if not _CODE.search(str(part))}
        if isinstance(value, dict) and key in {"query", "form", "json", "headers"}
        else value
        for key, value in _spelt_out(token).items()
    }


def _at(document: Any, *steps: str) -> Any:
    value: Any = document
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _over(base: dict[str, Any], over: Any) -> Any:
    return merge(base, over) if isinstance(over, dict) else over


def _without(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}


def _without_nulls(document: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value is not None
    }
