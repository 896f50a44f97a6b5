"""An MCP server with the official package's own authorization server: what proves `mcp_client` without our gateway.

`python -m real.guarded_mcp_server PORT`. One question is asked, at /consent. Tokens live for one second, so that a
client has to refresh. A client `listed` exists without registration.
"""

import secrets
import sys
import time

import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import Context
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

TOKEN_SECONDS = 1
CONSENT = """<!doctype html><h1>Allow {name}?</h1><form method="post">
<button name="decision" value="approve">Allow</button> <button name="decision" value="deny">Cancel</button></form>"""


class Memory(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """Everything is kept in dictionaries and nothing is ever cleaned up: it lives for one test run."""

    def __init__(self) -> None:
        listed = OAuthClientInformationFull(
            client_id="listed",
            redirect_uris=["http://127.0.0.1:33418/callback"],
            token_endpoint_auth_method="none",
            scope="use",
        )
        self.clients = {"listed": listed}
        self.asked: dict[str, tuple[OAuthClientInformationFull, AuthorizationParams]] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.refreshes: dict[str, RefreshToken] = {}
        self.accesses: dict[str, AccessToken] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        question = secrets.token_urlsafe(16)
        self.asked[question] = (client, params)
        return f"/consent?question={question}"

    def answer(self, question: str, decision: str) -> str:
        client, params = self.asked.pop(question)
        redirect_uri = str(params.redirect_uri)
        if decision != "approve":
            return construct_redirect_uri(redirect_uri, error="access_denied", state=params.state)
        code = secrets.token_urlsafe(32)
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or ["use"],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            **params.model_dump(include={"code_challenge", "redirect_uri", "redirect_uri_provided_explicitly"}),
        )
        return construct_redirect_uri(redirect_uri, code=code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        code = self.codes.get(authorization_code)
        return code if code and code.client_id == client.client_id else None

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._issue(client, authorization_code.scopes)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        token = self.refreshes.get(refresh_token)
        return token if token and token.client_id == client.client_id else None

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self.refreshes[refresh_token.token]
        return self._issue(client, scopes)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.accesses.get(token)

    def _issue(self, client: OAuthClientInformationFull, scopes: list[str]) -> OAuthToken:
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        ends = int(time.time()) + TOKEN_SECONDS + 1
        of = {"client_id": client.client_id, "scopes": scopes}
        self.accesses[access] = AccessToken(token=access, expires_at=ends, **of)
        self.refreshes[refresh] = RefreshToken(token=refresh, **of)
        return OAuthToken(access_token=access, refresh_token=refresh, expires_in=TOKEN_SECONDS, scope=" ".join(scopes))


def build(port: int) -> MCPServer:
    url = f"http://127.0.0.1:{port}"
    memory = Memory()
    registration = ClientRegistrationOptions(enabled=True, valid_scopes=["use"], default_scopes=["use"])
    auth = AuthSettings(
        issuer_url=url,
        resource_server_url=f"{url}/mcp",
        client_registration_options=registration,
        required_scopes=["use"],
        validate_token_resource=False,
    )
    server = MCPServer("guarded", auth=auth, auth_server_provider=memory)

    @server.tool()
    def authorization(ctx: Context) -> str:
        """The Authorization header of this call."""
        return (ctx.headers or {})["authorization"]

    @server.custom_route("/consent", methods=["GET", "POST"])
    async def consent(request: Request) -> Response:
        question = request.query_params["question"]
        if request.method == "GET":
            return HTMLResponse(CONSENT.format(name=memory.asked[question][0].client_name or "?"))
        decision = str((await request.form())["decision"])
        return RedirectResponse(memory.answer(question, decision), status_code=303)

    return server


if __name__ == "__main__":
    listen = int(sys.argv[1])
    uvicorn.run(build(listen).streamable_http_app(), host="127.0.0.1", port=listen, timeout_graceful_shutdown=2)
