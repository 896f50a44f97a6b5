"""Client authentication at the token and revocation endpoints (RFC 6749 §2.3): what is sent, and whether it is right.

One mechanism per request. A registered secret must be sent, an unregistered one must not: a public client that sends a
secret is not the client that was registered. Whether the secret came by Basic or in the body is not held against a
client: §2.3.1 wants Basic supported for all of them, and several send the other one than they registered.
"""

import base64
import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import unquote_plus

from msgspec import Struct

from vestibule.crypto.digests import equal
from vestibule.errors import InvalidClient, InvalidRequest
from vestibule.model import ClientRecord, Secret
from vestibule.oauth.params import Params

_CLIENT_ID = re.compile(r"[\x20-\x7e]{1,512}")  # RFC 6749 Appendix A.1
_MAX_SECRET_CHARACTERS = 1024


class Credentials(Struct, frozen=True, kw_only=True):
    """What a request says of its client; proves nothing before `authenticate`."""

    client_id: str
    secret: Secret | None
    method: Literal["none", "client_secret_basic", "client_secret_post"]


def read_credentials(authorization: str | None, params: Params) -> Credentials:
    """The credentials of one request, from exactly one place (RFC 6749 §2.3, §2.3.1, §3.2.1)."""
    if "client_assertion" in params or "client_assertion_type" in params:
        raise InvalidClient("client_assertion_unsupported")  # else it would pass for a public client
    if authorization is None:
        return _from_body(params)
    client_id, secret = _basic(authorization)
    if "client_secret" in params:
        raise InvalidRequest("client_authentication_twice")  # §2.3: MUST NOT use more than one method
    if params.get("client_id", client_id) != client_id:
        raise InvalidRequest("client_id_differs")
    # The Python MCP client sends Basic and the same client_id in the body. An empty secret is none (§2.3.1).
    return _credentials(client_id, secret, "client_secret_basic")


def authenticate(client: ClientRecord, credentials: Credentials, digest_of: Callable[[str], bytes]) -> None:
    """Raises InvalidClient unless the credentials are those of `client` (RFC 6749 §2.3, §3.2.1); in constant time."""
    if client.id != credentials.client_id:
        raise InvalidClient("client_differs")
    if client.auth_method == "none" and client.secret_digest is None:
        if credentials.secret is not None:
            raise InvalidClient("client_secret_unregistered")
        return
    if client.secret_digest is None:
        raise InvalidClient("client_secret_unset", "a confidential client without a stored secret")
    if credentials.secret is None:
        raise InvalidClient("client_secret_missing")
    if not equal(digest_of(credentials.secret.reveal()), client.secret_digest):
        raise InvalidClient("client_secret_wrong")


def _from_body(params: Params) -> Credentials:
    client_id = params.get("client_id")
    if client_id is None:
        raise InvalidClient("client_id_missing")  # §5.2: no client authentication included
    return _credentials(client_id, params.get("client_secret", ""), "client_secret_post")


def _basic(authorization: str) -> tuple[str, str]:
    """RFC 7617 §2; id and secret are form-encoded inside (RFC 6749 §2.3.1).

    The TypeScript SDK does not encode. Ids and secrets made here hold letters, digits, `-` and `_` only, which decode
    to themselves.
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise InvalidClient("authorization_scheme")
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(" "), validate=True).decode().partition(":")
        decoded = unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:
        raise InvalidClient("authorization_malformed") from None
    if not colon:
        raise InvalidClient("authorization_malformed")
    return decoded


def _credentials(
    client_id: str, secret: str, method: Literal["client_secret_basic", "client_secret_post"]
) -> Credentials:
    if not _CLIENT_ID.fullmatch(client_id) or len(secret) > _MAX_SECRET_CHARACTERS:
        raise InvalidClient("client_credentials_malformed")
    return Credentials(
        client_id=client_id, secret=Secret(secret) if secret else None, method=method if secret else "none"
    )
