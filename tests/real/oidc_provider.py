"""A certified OpenID provider, npm `oidc-provider`: it holds clients to what they registered, and to PKCE."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from real.node_server import NodeServer, request
from real.processes import free_port

ERIN = {
    "sub": "erin",
    "name": "Erin Okafor",
    "preferred_username": "erin",
    "email": "erin@acme.example",
    "email_verified": True,
    "picture": "http://127.0.0.1/erin.png",
}
FRED = {"sub": "fred", "name": "Fred Iyer", "email": "fred@acme.example", "email_verified": False}


class CertifiedProvider(NodeServer):
    """Its issuer is `url`. With `par_required` it takes pushed requests only, and says so (RFC 9126 §5)."""

    def __init__(
        self, scripts: Path, *, people: tuple[Mapping[str, Any], ...] = (ERIN, FRED), par_required: bool = False
    ):
        port = free_port()
        config = {"people": {person["sub"]: person for person in people}, "par_required": par_required}
        ready = "/.well-known/openid-configuration"
        super().__init__("certified", scripts, str(port), json.dumps(config), port=port, ready=ready)

    def register(self, redirect_uri: str, auth_method: str, **metadata: Any) -> dict[str, Any]:
        """A new client (RFC 7591 §3.2.1). Besides the standard's metadata: `rotation` "off"."""
        body = {
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": auth_method,
            "grant_types": ["authorization_code", "refresh_token"],
            **metadata,
        }
        reply = request("POST", f"{self.url}/reg", json=body)
        assert reply.status_code == httpx.codes.CREATED, reply.text
        return dict(reply.json())

    def requests(self, client_id: str) -> list[dict[str, Any]]:
        """What the endpoints for clients were sent by this one: path, form, `authorization` header, and reply."""
        noted = request("GET", f"{self.url}/control/requests").json()
        return [one for one in noted if one["client"] == client_id]
