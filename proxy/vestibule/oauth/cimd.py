"""Clients that are a URL (draft-ietf-oauth-client-id-metadata-document-00 to -02; sections are named, numbers moved).

The consent page shows the URL's domain as verified, so the rules are narrower than the draft where it leaves room: port
443 only, and no query (a SHOULD NOT there), because an endpoint that echoes its query as JSON would let anybody speak
for that domain.
"""

import re
from typing import Any

from vestibule.errors import InvalidClientMetadata, InvalidRedirectUri
from vestibule.model import ClientRecord, ClientSource
from vestibule.oauth.clients import read_fields, read_object
from vestibule.oauth.uris import UriProblem, parse_uri

MAX_URL_CHARACTERS = 512
MAX_DOCUMENT_BYTES = 5 * 1024
"""The draft's recommendation ("Maximum Response Size for Client Metadata Documents")."""

_HTTPS_PORT = 443
_JSON = re.compile(r"application/(?:json|[a-z0-9!#$&^_.-]+\+json)(?:\s*;.*)?", re.IGNORECASE)


def is_cimd_id(client_id: str) -> bool:
    """True if a client id claims to be a URL; `cimd_url_problem` tells whether it may. Our own ids hold no colon."""
    return client_id.lower().startswith("https:")


def cimd_url_problem(url: str) -> str | None:
    """Why `url` cannot be a client id, as a slug; None if it can ("Client Identifier" in the draft)."""
    if len(url) > MAX_URL_CHARACTERS:
        return "too_long"
    try:
        parsed = parse_uri(url)
    except UriProblem as problem:
        return problem.slug
    for broken, slug in (
        (parsed.scheme != "https", "scheme"),
        (not parsed.host, "host"),
        (parsed.port not in (None, _HTTPS_PORT), "port"),
        (parsed.path in ("", "/"), "path"),
        (parsed.query is not None, "query"),
    ):
        if broken:
            return slug
    return None


def read_document(url: str, body: bytes, content_type: str) -> ClientRecord:
    """A fetched metadata document as a client ("Client Metadata Document" in the draft)."""
    problem = cimd_url_problem(url)
    if problem is not None:
        raise InvalidClientMetadata("cimd_url", problem)
    if len(body) > MAX_DOCUMENT_BYTES:
        raise InvalidClientMetadata("cimd_too_large", f"{len(body)} bytes")
    if not _JSON.fullmatch(content_type.strip()):
        raise InvalidClientMetadata("cimd_content_type")  # an HTML page or an upload of somebody's is no statement
    fields = read_object(body)
    if fields.get("client_id") != url:
        # Simple string comparison (RFC 3986 §6.2.1): otherwise one domain's document could be served as another's.
        raise InvalidClientMetadata("cimd_client_id_differs")
    _check_authentication(fields)
    try:
        return read_fields(fields, "none").record(url, source=ClientSource.CIMD)
    except InvalidRedirectUri as refusal:
        raise InvalidClientMetadata(refusal.slug, refusal.detail) from None


def _check_authentication(fields: dict[str, Any]) -> None:
    """No shared secret can exist (draft, "Client Metadata Document"), and of the rest only `none` is implemented.

    A document is written for every server at once: ChatGPT's prefers private_key_jwt and offers `none` in
    `token_endpoint_auth_methods_supported` (OpenID Connect RP Metadata Choices), so an offer of `none` is taken up.
    """
    if "client_secret" in fields or "client_secret_expires_at" in fields:
        raise InvalidClientMetadata("cimd_secret")
    method = fields.get("token_endpoint_auth_method")
    if method is None or method == "none":
        return
    if not isinstance(method, str) or method.startswith("client_secret"):
        raise InvalidClientMetadata("cimd_symmetric_auth")
    offered = fields.get("token_endpoint_auth_methods_supported")
    if not isinstance(offered, list) or "none" not in offered:
        raise InvalidClientMetadata("auth_method_unsupported")


def domain(client: ClientRecord) -> str | None:
    """The domain that vouches for a client, because its document was fetched from there; None for other clients."""
    return parse_uri(client.id).host if client.source is ClientSource.CIMD else None
