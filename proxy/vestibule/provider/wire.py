"""The conversations with a provider, one function each; see the package's docstring for their order.

They take no provider apart: which parameters are sent and where a reply holds what is the definition's business. What
stays here is what no definition may change: what is bound to what, what is checked, and how failures are told apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from vestibule.crypto.digests import s256
from vestibule.model import Conversation, Secret, Tokens
from vestibule.provider.calls import CODES, clean, endpoint, exchange, header_pairs, texts
from vestibule.provider.definition import Scopes
from vestibule.provider.flow import CodeReturned, Denied, Fail, ProviderFailed, TokensReceived, settled
from vestibule.provider.identity import identify
from vestibule.provider.oidc import discover
from vestibule.provider.provider import Provider
from vestibule.provider.tokens import tokens_of
from vestibule.provider.urls import with_query

__all__ = ["AuthorizeUrl", "api_headers", "identify", "read_callback", "redeem", "refresh", "revoke", "start"]

_MAX_CODE_CHARS = 4096


class AuthorizeUrl(Struct, frozen=True):
    url: str

    def __repr__(self) -> str:
        """Without its query, which holds the state."""
        return f"AuthorizeUrl({self.url.partition('?')[0]})"


@settled
def start(
    provider: Provider, *, redirect_uri: str, state: str, nonce: str, scopes: Sequence[str], verifier: str | None
) -> Conversation[AuthorizeUrl]:
    """RFC 6749 §4.1.1, RFC 7636 §4.3, OIDC Core §3.1.2.1: where to send the browser."""
    definition = provider.definition
    metadata = yield from discover(provider)
    names = {
        **provider.names(),
        "d": metadata,
        "redirect_uri": redirect_uri,
        "state": state,
        "nonce": nonce if definition.oidc is not None and definition.oidc.nonce == "on" else None,
        "scope": _scope(definition.scopes, (*scopes, *_offline(provider, metadata))),
        "challenge": _challenge(provider, verifier),
        "challenge_method": "S256" if provider.pkce else None,
    }
    return AuthorizeUrl(with_query(endpoint(definition.authorize.url, names), texts(definition.authorize.query, names)))


def _challenge(provider: Provider, verifier: str | None) -> str | None:
    if not provider.pkce:
        return None
    if not verifier:
        # Our own mistake and no provider's: leaving PKCE out silently would be a downgrade (RFC 9700 §2.1.1).
        raise ValueError("this provider needs a code verifier")
    return s256(verifier)


def _offline(provider: Provider, metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Scopes for a refresh token. A provider that lists its scopes may refuse one that it does not list."""
    supported = metadata.get("scopes_supported")
    if not provider.refreshes:
        return ()
    if provider.definition.oidc is None:
        return provider.definition.scopes.offline
    return tuple(s for s in provider.definition.scopes.offline if isinstance(supported, list) and s in supported)


def _scope(rules: Scopes, scopes: Sequence[str]) -> str | None:
    return rules.sep.join(dict.fromkeys(scopes)) or None


def read_callback(provider: Provider, params: Mapping[str, str]) -> CodeReturned | Denied | ProviderFailed:
    """RFC 6749 §4.1.2 and §4.1.2.1. The issuer comes first (RFC 9207 §2.4), in error responses too: what another
    provider sent says nothing about this login.
    """
    issuer = provider.issuer()
    if issuer is not None and "iss" in params and not issuer.fullmatch(params["iss"]):
        return ProviderFailed("refused", "callback_issuer", "the callback names another issuer: mix-up")
    if error := params.get("error"):
        return _callback_error(clean(error)[:100], clean(params.get("error_description", ""))[:300])
    code = params.get(provider.definition.callback.code)
    if not code:
        return ProviderFailed("misconfigured", "code_missing", "the callback holds neither code nor error")
    if len(code) > _MAX_CODE_CHARS or not (code.isascii() and code.isprintable()):
        return ProviderFailed("misconfigured", "code_malformed", "the code is too long or not visible ASCII")
    return CodeReturned(code)


def _callback_error(error: str, description: str) -> Denied | ProviderFailed:
    kind = CODES.get(error, "misconfigured")
    if kind == "refused":
        return Denied(error, description)
    return ProviderFailed(kind, error if error in CODES else "provider_error", f"{error} {description}".strip())


@settled
def redeem(
    provider: Provider, *, code: str, redirect_uri: str, verifier: str | None, now: int
) -> Conversation[TokensReceived]:
    """RFC 6749 §4.1.3, RFC 7636 §4.5."""
    _challenge(provider, verifier)
    token = provider.definition.token
    names = {
        **provider.names(),
        "d": (yield from discover(provider)),
        "code": code,
        "redirect_uri": redirect_uri,
        "verifier": verifier if provider.pkce else None,
    }
    document = yield from exchange(token, names)
    return TokensReceived(tokens_of(token.out, document, now=now))


@settled
def refresh(
    provider: Provider, *, refresh_token: Secret, access_token: Secret, scopes: Sequence[str], now: int
) -> Conversation[TokensReceived]:
    """RFC 6749 §6. `scopes` are those granted so far; they are kept where the reply names none (§5.1)."""
    rules = provider.definition.refresh
    if rules == "none":
        raise ValueError("this provider's tokens cannot be refreshed")
    names = {
        **provider.names(),
        "d": (yield from discover(provider)),
        "refresh_token": refresh_token.reveal(),
        "access_token": access_token.reveal(),
        "scope": _scope(provider.definition.scopes, scopes),
    }
    tokens = tokens_of(rules.out, (yield from exchange(rules, names)), now=now)
    kept = {"auto": tokens.refresh_token or refresh_token, "replace": tokens.refresh_token, "keep": refresh_token}
    granted = tuple(scopes) if tokens.scopes is None else tokens.scopes
    return TokensReceived(structs.replace(tokens, refresh_token=kept[rules.rotate], scopes=granted))


@settled
def revoke(provider: Provider, tokens: Tokens) -> Conversation[None]:
    """RFC 7009 §2.1. Nothing is sent to a provider that has no way to revoke."""
    call = provider.definition.revoke
    if call is None:
        return
    names = {
        **provider.names(),
        "d": (yield from discover(provider)),
        "refresh_token": tokens.refresh_token.reveal() if tokens.refresh_token else None,
        "access_token": tokens.access_token.reveal() if tokens.access_token else None,
    }
    if call.url.text(names) is None:
        return  # discovery names no revocation_endpoint
    try:
        yield from exchange(call, names)
    except Fail as failed:
        if failed.event.kind != "refused":  # §2.2: a token that is not valid any more counts as revoked
            raise


def api_headers(provider: Provider, access_token: Secret) -> tuple[tuple[str, str], ...]:
    """How this provider's token is presented to its API (RFC 6750 §2.1)."""
    names = {"p": provider.params, "access_token": access_token.reveal()}
    return header_pairs(texts(provider.definition.api.header, names))
