"""The Clerk-shaped provider: `oidc-provider-mock` in its own process, found by discovery, with predefined users.

It checks no PKCE verifier, does not rotate refresh tokens and lets them never expire: what depends on those is tested
against the Django provider.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from real.processes import Server, free_port

CAROL = {
    "sub": "user_2carol",
    "email": "carol@acme.example",
    "email_verified": True,
    "name": "Carol Diaz",
    "preferred_username": "carol",
    "picture": "http://127.0.0.1/carol.png",
}
DAVE = {"sub": "user_2dave", "email": "dave@acme.example", "email_verified": False, "name": "Dave Unverified"}


class OidcProvider(Server):
    """Its issuer is `url`. With `registration=True` only registered clients are served: see `register`."""

    def __init__(
        self,
        directory: Path,
        *,
        users: Sequence[dict[str, Any]] = (CAROL, DAVE),
        registration: bool = True,
        require_nonce: bool = True,
        token_seconds: int = 3600,
    ) -> None:
        port = free_port()
        command = [sys.executable, "-m", "oidc_provider_mock", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--require-registration", str(registration), "--require-nonce", str(require_nonce)]
        command += ["--token-max-age", str(token_seconds)]
        for user in users:
            command += ["--user-claims", json.dumps(user)]
        ready = "/.well-known/openid-configuration"
        super().__init__("oidc", command, port=port, directory=directory, ready=ready)

    def register(self, *redirect_uris: str, auth_method: str = "client_secret_basic") -> tuple[str, str]:
        """A new client's id and secret (RFC 7591); its redirect URIs are matched exactly, port included."""
        body = {"redirect_uris": redirect_uris, "token_endpoint_auth_method": auth_method}
        reply = httpx.post(f"{self.url}/oauth2/clients", json=body, timeout=10, trust_env=False)
        client = reply.raise_for_status().json()
        return client["client_id"], client["client_secret"]

    def revoke_all(self, sub: str) -> None:
        httpx.post(f"{self.url}/users/{sub}/revoke-tokens", timeout=10, trust_env=False).raise_for_status()

    def set_claims(self, sub: str, claims: dict[str, Any]) -> None:
        """From the next id_token and userinfo answer on."""
        httpx.put(f"{self.url}/users/{sub}", json=claims, timeout=10, trust_env=False).raise_for_status()
