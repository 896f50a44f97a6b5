"""Definitions of the catalog, compiled as the config would, and a driver that plays the provider's side."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from vestibule.model import HttpCall, HttpFailure, HttpReply, Secret
from vestibule.provider.defaults import merge
from vestibule.provider.provider import DefinitionError, Provider, compile_provider

CATALOG = Path(__file__).parents[2] / "providers"
NOW = 1_800_000_000
MOMENT = {"now": NOW, "uuid": "the-uuid"}
REDIRECT = "https://gate.example.com/oauth/callback/x"
ISSUER = "https://idp.example"
METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "revocation_endpoint": f"{ISSUER}/revoke",
    "jwks_uri": f"{ISSUER}/keys",
    "scopes_supported": ["openid", "profile", "email", "offline_access"],
}
PLAIN = {
    "title": "Plain",
    "authorize": {"url": "https://plain.example/authorize"},
    "token": {"url": "https://plain.example/token"},
    "revoke": {"url": "https://plain.example/revoke"},
    "identity": {"calls": {"me": {"url": "https://plain.example/me"}}, "map": {"sub": "me.id"}},
}


def raw_of(name: str) -> dict[str, Any]:
    raw = yaml.safe_load((CATALOG / f"{name}.yaml").read_text())
    return merge(raw_of(raw["extends"]), raw) if "extends" in raw else raw


def compiled(raw: dict[str, Any] | str, over: dict[str, Any] | None = None, **more: Any) -> Provider:
    """A catalog entry by name, or a definition; `over` is laid over it."""
    settings = {"client_id": "the client", "client_secret": Secret("s:cret&"), "params": {}, **more}
    name, raw = (raw, raw_of(raw)) if isinstance(raw, str) else ("plain", raw)
    return compile_provider(name, merge(raw, over or {}), **settings)


def oidc(over: dict[str, Any] | None = None) -> Provider:
    return compiled("oidc", over, params={"issuer": ISSUER})


def reply(document: Any = None, status: int = 200, /, **headers: str) -> HttpReply:
    """JSON unless it is bytes already; header names with _ for -."""
    body = document if isinstance(document, bytes) else b"" if document is None else json.dumps(document).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpReply(status=status, headers={"content-type": "application/json"} | names, body=body)


def run(conversation: Any, *answers: HttpReply | HttpFailure) -> tuple[Any, list[HttpCall]]:
    """The result and the calls made; the answers must be exactly those that were asked for."""
    calls: list[HttpCall] = []
    waiting = list(answers)
    try:
        call = next(conversation)
        while True:
            calls.append(call)
            call = conversation.send(waiting.pop(0))
    except StopIteration as end:
        assert not waiting, f"never asked for: {waiting}"
        return end.value, calls


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True))


def form(call: HttpCall) -> dict[str, str]:
    pairs = parse_qsl(call.body.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def lines(calls: Iterable[HttpCall]) -> list[str]:
    return [f"{call.method} {call.url}" for call in calls]


def problems(raw: Any, **more: Any) -> list[tuple[str, str]]:
    """The (dotted path, message) of everything that is wrong with a definition; paths in the config start with @."""
    with pytest.raises(DefinitionError) as caught:
        compiled(raw, **more)
    return [
        (("@" if problem.source == "config" else "") + ".".join(map(str, problem.path)), problem.message)
        for problem in caught.value.problems
    ]
