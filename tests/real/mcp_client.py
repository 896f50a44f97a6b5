"""A real MCP client: the official `mcp` package, unmodified, with its own OAuth, its own HTTP client, nothing patched.

Discovery, registration, PKCE, the token request and every later refresh are its own doing; only opening the browser is
handed to a `Person`, which returns the redirect to the client's address. Nothing has to listen there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from real.person import Person

REDIRECT_URI = "http://127.0.0.1:33418/callback"


@dataclass
class Storage:
    """What the client would keep on disk. Handing the same one to a second `connect` is a restart of the client."""

    tokens: OAuthToken | None = None
    client_info: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client_info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client_info = client_info


def registered(
    client_id: str, client_secret: str | None = None, redirect_uri: str = REDIRECT_URI
) -> OAuthClientInformationFull:
    """A client that the gateway's config lists: public, or with its secret in the body."""
    method = "client_secret_post" if client_secret else "none"
    return OAuthClientInformationFull(
        client_id=client_id,
        client_secret=client_secret,
        redirect_uris=[redirect_uri],
        token_endpoint_auth_method=method,
    )


class SignInRefusedError(Exception):
    """The redirect to the client carried an error (RFC 6749 §4.1.2.1)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error


@asynccontextmanager
async def connect(
    url: str,
    person: Person,
    *,
    client_info: OAuthClientInformationFull | None = None,
    storage: Storage | None = None,
    redirect_uri: str = REDIRECT_URI,
    mode: str = "auto",
) -> AsyncIterator[Client]:
    """An MCP session with the server at `url`, signed in by `person` whenever the server asks for it.

    Without `client_info` the client registers itself (RFC 7591). `mode` is the SDK's: "auto", "legacy" (the initialize
    handshake) or a protocol version.
    """
    store = storage if storage is not None else Storage()
    if client_info is not None:
        store.client_info = client_info
    arrived: list[str] = []

    async def open_browser(authorize_url: str) -> None:
        arrived.append(await person.walk(authorize_url, until=redirect_uri))

    async def read_redirect() -> AuthorizationCodeResult:
        answer = {name: values[0] for name, values in parse_qs(urlsplit(arrived.pop()).query).items()}
        if "error" in answer:
            raise SignInRefusedError(answer["error"], answer.get("error_description", ""))
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    metadata = OAuthClientMetadata(client_name="Real MCP client", redirect_uris=[redirect_uri])
    if client_info is not None:
        metadata.token_endpoint_auth_method = client_info.token_endpoint_auth_method
    auth = OAuthClientProvider(url, metadata, store, open_browser, read_redirect)
    failed: BaseException | None = None
    try:
        async with (
            create_mcp_http_client(auth=auth) as http_client,
            Client(streamable_http_client(url, http_client=http_client), mode=mode, read_timeout_seconds=60) as client,
        ):
            yield client
    except BaseExceptionGroup as group:
        failed = group
    while isinstance(failed, BaseExceptionGroup) and len(failed.exceptions) == 1:
        failed = failed.exceptions[0]  # the SDK's task groups wrap everything, a test's own assertions too
    if failed is not None:
        raise failed
