"""An OAuth client written out by hand: what a well-behaved library never sends can be sent with it.

Each request is one call that answers with the plain HTTP response; nothing is retried, discovered or remembered.
"""

import asyncio
import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from real.person import Person

REDIRECT_URI = "http://127.0.0.1:33418/callback"
MCP_VERSION = "2026-07-28"


async def send(method: str, url: str, **arguments: Any) -> httpx.Response:
    """One request on a connection of its own, without proxies, redirects or cookies."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        return await http.request(method, url, **arguments)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def tool_call(name: str, /, **arguments: Any) -> dict[str, Any]:
    """Arguments for `send` that call an MCP tool without a session (protocol version 2026-07-28)."""
    meta = {
        "progressToken": 1,
        "io.modelcontextprotocol/protocolVersion": MCP_VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "by hand", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": name, "arguments": arguments, "_meta": meta}
    return {
        "json": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
        "headers": {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": MCP_VERSION,
            "mcp-method": "tools/call",
            "mcp-name": name,
        },
    }


async def call_tool(url: str, key: str, name: str, /, **arguments: Any) -> httpx.Response:
    request = tool_call(name, **arguments)
    return await send("POST", url, json=request["json"], headers=request["headers"] | bearer(key))


def answer_of(url: str) -> dict[str, str]:
    """The parameters of a redirect to the client."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@dataclass
class OAuthClient:
    """`secret` None: a public client. `verifier` is that of all its requests (RFC 7636 §4.1)."""

    issuer: str
    client_id: str
    secret: str | None = None
    redirect_uri: str = REDIRECT_URI
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def authorize_url(self, path: str = "/mcp", **change: str | None) -> str:
        """RFC 6749 §4.1.1; None leaves a parameter out."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "resource": self.issuer + path,
            "state": "the client's own",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        } | change
        given = {name: value for name, value in query.items() if value is not None}
        return f"{self.issuer}/oauth/authorize?{urlencode(given)}"

    async def code(self, person: Person, path: str = "/mcp", **change: str | None) -> str:
        """Sign in to the point where the client has its code."""
        answer = answer_of(await person.walk(self.authorize_url(path, **change), until=self.redirect_uri))
        assert "code" in answer, f"the sign-in ended with {answer}"
        assert answer["iss"] == self.issuer  # RFC 9207 §2
        assert answer["state"] == "the client's own"
        return answer["code"]

    async def sign_in(self, person: Person, path: str = "/mcp") -> dict[str, Any]:
        """All of it: the token response."""
        reply = await self.redeem(await self.code(person, path))
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    async def redeem(self, code: str, **change: str | None) -> httpx.Response:
        """RFC 6749 §4.1.3."""
        form = {"code": code, "redirect_uri": self.redirect_uri, "code_verifier": self.verifier}
        return await self.token("authorization_code", **form | change)

    async def refresh(self, refresh_token: str, **change: str | None) -> httpx.Response:
        """RFC 6749 §6."""
        return await self.token("refresh_token", refresh_token=refresh_token, **change)

    async def token(self, grant_type: str, **form: str | None) -> httpx.Response:
        return await self._post("/oauth/token", {"grant_type": grant_type, **form})

    async def revoke(self, token: str) -> httpx.Response:
        """RFC 7009 §2.1."""
        return await self._post("/oauth/revoke", {"token": token})

    async def _post(self, path: str, form: dict[str, str | None]) -> httpx.Response:
        given = {name: value for name, value in form.items() if value is not None}
        if self.secret is None:
            return await send("POST", self.issuer + path, data={"client_id": self.client_id, **given})
        return await send("POST", self.issuer + path, data=given, auth=(self.client_id, self.secret))


async def eventually(condition: Any, seconds: float = 5.0) -> bool:
    """Whether `condition()` comes true in time."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return bool(condition())
