"""The gateway's config over the stand-ins: two providers described by the catalog's own definitions, and their people.

The definitions extend the catalog's and only widen where a provider may be, so what is tested is what is shipped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from real.django_provider import ALICE, DjangoProvider
from real.gateway import Gateway
from real.oidc_mock import CAROL, OidcProvider
from real.person import Answer

DEFINITIONS = Path(__file__).parent / "definitions"
PERMISSIONS: dict[str, Any] = {
    "read": {
        "title": "Read issues",
        "default": True,
        "match": {"mcp": {"tools": ["get_*", "list_*", "watch_*", "whoami"]}},
        "scopes": {"sentry": ["org:read", "event:read"]},
    },
    "write": {"title": "Change issues", "match": {"mcp": {"tools": ["*"]}}, "scopes": {"sentry": ["event:write"]}},
}
IDENTITY_HEADERS = {
    "X-User-Id": "sub",
    "X-User-Email": "email",
    "X-User-Name": "name",
    "X-User-Provider": "provider",
    "X-Client": "client_id",
    "X-Scope": "scope",
}


@dataclass(frozen=True)
class Shape:
    """A provider and the person who signs in there."""

    provider: str
    answers: Mapping[str, Answer]
    name: str
    email: str
    """What backends may be told: empty where the provider does not say that the address is verified."""

    def approving(self, *permissions: str) -> dict[str, Answer]:
        """Without permissions: whatever is ticked beforehand."""
        ticks: dict[str, Answer] = {"permission": permissions} if permissions else {}
        return {"decision": f"approve:{self.provider}", **ticks, **self.answers}


SENTRY = Shape(
    "sentry", {"username": ALICE["username"], "password": ALICE["password"], "allow": True}, ALICE["name"], email=""
)
CLERK = Shape("clerk", {"sub": CAROL["sub"]}, CAROL["name"], email=CAROL["email"])
SHAPES = {"sentry": SENTRY, "clerk": CLERK}


def sentry_shaped(provider: DjangoProvider, **change: Any) -> dict[str, Any]:
    return {
        "definition": str(DEFINITIONS / "sentry_shape.yaml"),
        "params": {"base": provider.url},
        "client": {"id": provider.client_id, "secret": provider.client_secret},
    } | change


def clerk_shaped(provider: OidcProvider, gateway_url: str, entry: str = "clerk") -> dict[str, Any]:
    """Registered anew for each gateway: this provider compares redirect URIs with their port."""
    client_id, secret = provider.register(f"{gateway_url}/oauth/callback/{entry}")
    return {
        "definition": str(DEFINITIONS / "clerk_shape.yaml"),
        "params": {"issuer": provider.url},
        "client": {"id": client_id, "secret": secret},
    }


def route(name: str, path: str, backend: str, **more: Any) -> dict[str, Any]:
    """Open to anyone who signs in, unless `more` says otherwise."""
    basic = {"id": name, "path": path, "backend": backend, "providers": ["sentry", "clerk"], "allow": "anyone"}
    return basic | more


def gateway_with(directory: Path, config_for: Callable[[str], Mapping[str, Any]]) -> Gateway:
    """A gateway, not yet started, whose config depends on its own URL."""
    gateway = Gateway({}, directory)
    gateway.config |= config_for(gateway.url)
    gateway.config_file.write_text(yaml.safe_dump(gateway.config, sort_keys=False))
    return gateway
