"""The Sentry-shaped provider as a server: django-oauth-toolkit, which checks PKCE and rotates refresh tokens."""

import json
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import httpx

from real.processes import OWN_MODULES, Server, free_port

ALICE = {"username": "alice", "password": "alice's long password", "name": "Alice Ng", "email": "alice@acme.example"}
BOB = {"username": "bob", "password": "bob's long password", "name": None, "email": None}
"""Sentry sends null for both when the user hid them."""
REDIRECT_URIS = tuple(f"http://127.0.0.1/oauth/callback{entry}" for entry in ("", "/sentry", "/revoking"))
"""One for each name that a gateway's config gives to this provider."""


class DjangoProvider(Server):
    def __init__(
        self,
        directory: Path,
        *,
        token_seconds: int = 3600,
        users: Sequence[dict[str, str | None]] = (ALICE, BOB),
        redirect_uris: Sequence[str] = REDIRECT_URIS,
    ) -> None:
        """On 127.0.0.1 any port of a registered redirect URI is allowed (RFC 8252 §7.3), so ours may be new."""
        port = free_port()
        self.client_id, self.client_secret = "vestibule-at-the-stand-in", secrets.token_urlsafe(32)
        database = directory / f"django-{port}.sqlite3"
        env = {
            **OWN_MODULES,
            "SITE_DATABASE": str(database),
            "SITE_PORT": str(port),
            "SITE_CLIENT_ID": self.client_id,
            "SITE_CLIENT_SECRET": self.client_secret,
            "SITE_REDIRECT_URIS": " ".join(redirect_uris),
            "SITE_USERS": json.dumps(list(users)),
            "SITE_TOKEN_SECONDS": str(token_seconds),
        }
        command = [sys.executable, "-m", "real.django_site.serve", str(port)]
        super().__init__("django", command, port=port, directory=directory, env=env, ready="/")

    def misbehave(self, mode: Literal["none", "slow", "error", "html"], seconds: float = 0.0) -> None:
        """The token endpoint is slow, answers 500, or answers HTML with status 200; `none` ends it."""
        self._control("POST", "fault", json={"mode": mode, "seconds": seconds})

    def revoke_all(self, username: str) -> None:
        self._control("POST", "revoke", json={"username": username})

    def state(self, username: str) -> dict[str, Any]:
        """`access_tokens` and `refresh_tokens`: how many are live; `calls`: of the token endpoint, by grant type."""
        return self._control("GET", "state", params={"username": username})

    def _control(self, method: str, what: str, **arguments: Any) -> dict[str, Any]:
        reply = httpx.request(method, f"{self.url}/control/{what}", timeout=10, trust_env=False, **arguments)
        return dict(reply.raise_for_status().json())
