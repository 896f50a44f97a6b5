"""How a callback arrives: in the query, or posted by the browser (OAuth 2.0 Form Post Response Mode).

A posted one carries no Lax cookie (design decision 4), so there is nothing to know it by but the state. Its signature
is checked, and nothing else: no row is read or moved. The parameters are sealed for a minute into a GET of ours, to
which the browser is sent; that request is a navigation, carries the cookie, and goes the way of every other callback.
Sealed, because a URL is seen by more eyes than a body; for this provider, so that it opens nowhere else.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from vestibule.crypto.digests import b64url
from vestibule.crypto.jose import BadSignature
from vestibule.crypto.sealing import SealBroken
from vestibule.errors import InvalidRequest, StateExpiredPage, StateInvalidPage
from vestibule.model import Secret
from vestibule.oauth.params import parse_form
from vestibule.provider.provider import Provider
from vestibule.service.gateway import Gateway, refuse

HELD_SECONDS = 60
_MOST_BYTES = 65_536
_MOST_CHARACTERS = 8000
"""Sealed and encoded it has to fit into a request line, of which common servers take 8 KiB."""
_PARAMETER = "held"


class _Held(msgspec.Struct, frozen=True):
    params: dict[str, str]
    until: int


def hold(gateway: Gateway, provider_id: str, body: bytes, content_type: str) -> str:
    """The URL for a posted callback to go on at. Raises FlowRefused."""
    provider = _provider(gateway, provider_id)
    if provider.definition.callback.mode != "form_post" or len(body) > _MOST_BYTES:
        refuse(StateInvalidPage("callback_posted", f"{len(body)} bytes"))
    try:
        params = dict(parse_form(body, content_type))
    except InvalidRequest as error:
        refuse(StateInvalidPage(error.slug, error.detail))
    state_claims(gateway, provider, params)
    held = _Held(params, gateway.now() + HELD_SECONDS)
    sealed = gateway.sealer.seal(Secret(msgspec.json.encode(held).decode()), "callback", provider_id)
    url = f"{gateway.callback_url(provider_id)}?{urlencode({_PARAMETER: b64url(sealed)})}"
    if len(url) > _MOST_CHARACTERS:
        refuse(StateInvalidPage("callback_posted", f"{len(url)} characters"))
    return url


def arrived(gateway: Gateway, provider_id: str, params: Mapping[str, str]) -> tuple[Provider, Mapping[str, str]]:
    """The provider, and its parameters out of the GET's. Raises FlowRefused."""
    provider = _provider(gateway, provider_id)
    if provider.definition.callback.mode == "query":
        return provider, params
    text = params.get(_PARAMETER, "")
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        held = msgspec.json.decode(gateway.sealer.open(sealed, "callback", provider_id).reveal(), type=_Held)
    except (SealBroken, binascii.Error, ValueError):
        refuse(StateInvalidPage("callback_not_posted"))
    if gateway.now() >= held.until:
        refuse(StateExpiredPage("callback_held_too_long"))
    return provider, held.params


def state_claims(gateway: Gateway, provider: Provider, params: Mapping[str, str]) -> dict[str, Any]:
    """What our state says, if it is ours and was made for this provider. Raises FlowRefused."""
    try:
        claims = gateway.state.open(params.get(provider.definition.callback.state, "")).claims
    except BadSignature as error:
        refuse(StateInvalidPage("state_invalid", str(error)))
    if claims.get("p") != provider.id:
        refuse(StateInvalidPage("state_of_other_provider"))  # mix-up (RFC 9700 §4.4)
    return claims


def _provider(gateway: Gateway, provider_id: str) -> Provider:
    provider = gateway.providers.get(provider_id)
    if provider is None:
        refuse(StateInvalidPage("provider_unknown"))
    return provider
