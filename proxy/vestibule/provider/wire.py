"""The conversations with a provider, one function each; see the package's docstring for their order.

They take no provider apart: which parameters are sent and where a reply holds what is the definition's business. What
stays here is what no definition may change: what is bound to what, what is checked, and how failures are told apart.

Each takes `now` and `uuid`, a random text: some requests carry a time, an id or a signature over both.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlencode

from msgspec import Struct, structs

from vestibule.crypto.digests import equal, s256
from vestibule.model import Conversation, Secret, Tokens
from vestibule.provider.calls import SKIPPED, clean, endpoint, error_of, exchange, header_pairs, step, texts
from vestibule.provider.definition import Hmac, HopOut, Refresh, Scopes
from vestibule.provider.flow import CodeReturned, Denied, Fail, ProviderFailed, TokensReceived, settled
from vestibule.provider.identity import identify
from vestibule.provider.oidc import discover
from vestibule.provider.provider import Provider
from vestibule.provider.talk import Talk, known
from vestibule.provider.template import Unrenderable
from vestibule.provider.tokens import tokens_of
from vestibule.provider.urls import with_query

__all__ = [
    "AuthorizeUrl",
    "api_headers",
    "api_query",
    "identify",
    "read_callback",
    "redeem",
    "refresh",
    "revoke",
    "start",
]

_MAX_CODE_CHARS = 4096
_RAW_SCOPE = re.compile(r"[A-Za-z0-9._~!$'()*+,;:@/?%=-]*")
"""RFC 3986 §3.4 without `&`, which would begin another parameter."""
_FRAGMENT = re.compile(r"[A-Za-z0-9._~!$'()*+,;:@/-]*")
_REQUEST_URI = re.compile(r"[!-~]{1,2048}")


class AuthorizeUrl(Struct, frozen=True):
    url: str

    def __repr__(self) -> str:
        """Without its query, which holds the state."""
        return f"AuthorizeUrl({self.url.partition('?')[0]})"


@settled
def start(
    provider: Provider,
    *,
    redirect_uri: str,
    state: str,
    nonce: str,
    scopes: Sequence[str],
    verifier: str | None,
    now: int,
    uuid: str,
) -> Conversation[AuthorizeUrl]:
    """RFC 6749 §4.1.1, RFC 7636 §4.3, OIDC Core §3.1.2.1, RFC 9126 §2 and §4: where to send the browser."""
    definition, authorize = provider.definition, provider.definition.authorize
    talk = Talk(provider, now=now, uuid=uuid, redirect_uri=redirect_uri, state=state)
    yield from discover(talk)
    scope = _scope(definition.scopes, (*scopes, *_offline(provider, talk.names["d"])))
    talk.names |= {
        "nonce": nonce if definition.oidc is not None and definition.oidc.nonce == "on" else None,
        "scope": scope,
        "challenge": _challenge(provider, verifier),
        "challenge_method": definition.pkce if provider.pkce else None,
    }
    query, raw = texts(authorize.query, talk.names), ""
    document = (yield from step(talk, authorize.par)) if authorize.par is not None else SKIPPED
    if document is not SKIPPED:
        request_uri = document.get("request_uri") if isinstance(document, dict) else None
        if not isinstance(request_uri, str) or not _REQUEST_URI.fullmatch(request_uri):
            raise Fail("misconfigured", "request_uri_missing", "the pushed request was answered without a request_uri")
        query = {"client_id": provider.client_id, "request_uri": request_uri}
    elif definition.scopes.raw and (param := definition.scopes.param) in query:
        raw = f"{param}={query.pop(str(param))}"
        if not _RAW_SCOPE.fullmatch(raw):
            raise Unrenderable("the scopes hold characters that no query can hold as they are")
    url = endpoint(authorize.url, talk.names)
    if authorize.fragment is not None:
        fragment = authorize.fragment.text(talk.names)
        if fragment is None or not _FRAGMENT.fullmatch(fragment):
            raise Unrenderable("the fragment of the authorize URL")
        url = f"{url}#{fragment}?"
    return AuthorizeUrl(with_query(url, query, raw))


def _challenge(provider: Provider, verifier: str | None) -> str | None:
    """RFC 7636 §4.2."""
    if not provider.pkce:
        return None
    if not verifier:
        # Our own mistake and no provider's: leaving PKCE out silently would be a downgrade (RFC 9700 §2.1.1).
        raise ValueError("this provider needs a code verifier")
    return s256(verifier) if provider.definition.pkce == "S256" else verifier


def _offline(provider: Provider, metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Scopes for a refresh token. A provider that lists its scopes may refuse one that it does not list."""
    offline = provider.definition.scopes.offline
    if not provider.refreshes:
        return ()
    if not metadata:
        return offline
    supported = metadata.get("scopes_supported")
    return tuple(scope for scope in offline if isinstance(supported, list) and scope in supported)


def _scope(rules: Scopes, scopes: Sequence[str]) -> str | None:
    return rules.sep.join(dict.fromkeys(scopes)) or None


def read_callback(provider: Provider, params: Mapping[str, str]) -> CodeReturned | Denied | ProviderFailed:
    """RFC 6749 §4.1.2 and §4.1.2.1. Issuer (RFC 9207 §2.4) and signature come first, for error responses too: what
    another provider sent says nothing about this login.
    """
    rules = provider.definition.callback
    issuer = provider.callback_issuer()
    if issuer is not None and "iss" in params and not issuer.fullmatch(params["iss"]):
        return ProviderFailed("refused", "callback_issuer", "the callback names another issuer: mix-up")
    if rules.verify is not None and not _signed(rules.verify, params, provider):
        return ProviderFailed("refused", "callback_signature", "the callback is not signed by the provider")
    if told := error_of(rules.err, dict(params)):
        if told.kind == "refused":
            return Denied(clean(told.code)[:100], clean(told.description)[:300])
        return ProviderFailed(told.kind, told.slug, clean(told.words)[:300])
    code = params.get(rules.code, "")
    if not code or len(code) > _MAX_CODE_CHARS or not (code.isascii() and code.isprintable()):
        slug = "code_malformed" if code else "code_missing"
        return ProviderFailed("misconfigured", slug, "neither error nor a code of visible ASCII, of a sensible length")
    return CodeReturned(code, dict(params))


def _signed(rules: Hmac, params: Mapping[str, str], provider: Provider) -> bool:
    """shopify.dev "Verify the installation request"."""
    key = rules.key.text(provider.names())
    message = urlencode(sorted((n, v) for n, v in params.items() if n != rules.param and n not in rules.without))
    expected = hmac.new((key or "").encode(), message.encode(), hashlib.sha256).hexdigest()
    return bool(key) and equal(expected, params.get(rules.param, "").encode(errors="replace"))


@settled
def redeem(
    provider: Provider,
    *,
    code: str,
    callback: Mapping[str, str],
    redirect_uri: str,
    verifier: str | None,
    scopes: Sequence[str],
    now: int,
    uuid: str,
) -> Conversation[TokensReceived]:
    """RFC 6749 §4.1.3, RFC 7636 §4.5, and the exchanges that follow."""
    _challenge(provider, verifier)
    token = provider.definition.token
    talk = Talk(provider, now=now, uuid=uuid, code=code, redirect_uri=redirect_uri)
    talk.names |= {
        "verifier": verifier if provider.pkce else None,
        "scope": _scope(provider.definition.scopes, scopes),
    }
    yield from discover(talk)
    _check_issuer_came(talk, callback)
    talk.learn(cb=callback)
    document = yield from exchange(talk, token)
    tokens = tokens_of(token.out, document, now=now, lifetime=token.lifetime)
    talk.learn(t=tokens.raw, scopes=list(tokens.scopes or ()))
    tokens = yield from _exchanges(talk, tokens, "login")
    talk.missing()
    return TokensReceived(structs.replace(tokens, kept=talk.kept))


def _check_issuer_came(talk: Talk, callback: Mapping[str, str]) -> None:
    """RFC 9207 §2.4: who says that it always names itself, and did not, was not the one who answered."""
    announced = talk.names["d"].get("authorization_response_iss_parameter_supported") is True
    if announced and talk.provider.definition.callback.iss is not None and "iss" not in callback:
        raise Fail("refused", "callback_issuer", "the callback names no issuer, though the provider always does")


def _exchanges(talk: Talk, tokens: Tokens, at: Literal["login", "refresh"]) -> Conversation[Tokens]:
    """Each sees the tokens and documents of those before it."""
    results: dict[str, Any] = {}
    talk.learn(x=results)
    for name, call in talk.provider.definition.exchange.items():
        _know_tokens(talk, tokens)
        document = (yield from step(talk, call)) if at in call.at else SKIPPED
        if document is SKIPPED:
            continue
        if document is None:
            raise Fail("misconfigured", "exchange_reply_unreadable", f"{call.url.source} answered no document")
        results[name] = document
        talk.learn(x=results)
        if call.out is not None:
            tokens = tokens_of(call.out, document, now=talk.names["now"], lifetime=call.lifetime, before=tokens)
    return structs.replace(tokens, exchanged=results)


def _know_tokens(talk: Talk, tokens: Tokens) -> None:
    talk.names |= {
        "access_token": tokens.access_token.reveal() if tokens.access_token else None,
        "refresh_token": tokens.refresh_token.reveal() if tokens.refresh_token else None,
    }


@settled
def refresh(
    provider: Provider,
    tokens: Tokens,
    *,
    scopes: Sequence[str],
    redirect_uri: str,
    now: int,
    uuid: str,
) -> Conversation[TokensReceived | ProviderFailed]:
    """RFC 6749 §6. `scopes` are those granted so far; they are kept where the reply names none (§5.1).

    Once the provider has answered, the old refresh token may be spent, and using it again may end everything (RFC 9700
    §4.14.2). So whatever fails from then on, the new one is handed over, with the failure.
    """
    rules = provider.definition.refresh
    if rules == "none":
        raise ValueError("this provider's tokens cannot be refreshed")
    talk = Talk(provider, now=now, uuid=uuid, kept=tokens.kept, redirect_uri=redirect_uri)
    talk.names["scope"] = _scope(provider.definition.scopes, scopes)
    _know_tokens(talk, tokens)
    yield from discover(talk)
    document = yield from exchange(talk, rules)
    answered = tokens_of(HopOut(refresh_token=rules.out.refresh_token), document, now=now).refresh_token
    kept = {"auto": answered or tokens.refresh_token, "replace": answered, "keep": tokens.refresh_token}
    spare = structs.replace(tokens, refresh_token=kept[rules.rotate])
    _know_tokens(talk, spare)
    outcome = yield from _renewed(talk, rules, document, spare, scopes)
    newest = talk.names["refresh_token"]  # an exchange may have brought yet another
    if isinstance(outcome, ProviderFailed) and newest and Secret(newest) != tokens.refresh_token:
        return structs.replace(outcome, tokens=structs.replace(tokens, refresh_token=Secret(newest)))
    return outcome


@settled
def _renewed(
    talk: Talk, rules: Refresh, document: Any, spare: Tokens, scopes: Sequence[str]
) -> Conversation[TokensReceived]:
    new = tokens_of(rules.out, document, now=talk.names["now"], lifetime=rules.lifetime)
    granted = tuple(scopes) if new.scopes is None else new.scopes
    new = structs.replace(new, refresh_token=spare.refresh_token, scopes=granted)
    talk.learn(t=new.raw, scopes=list(granted))
    new = yield from _exchanges(talk, new, "refresh")
    return TokensReceived(structs.replace(new, kept=talk.kept))


@settled
def revoke(provider: Provider, tokens: Tokens, *, now: int, uuid: str) -> Conversation[None]:
    """RFC 7009 §2.1. Nothing is sent to a provider that has no way to revoke."""
    call = provider.definition.revoke
    if call is None:
        return
    talk = Talk(provider, now=now, uuid=uuid, kept=tokens.kept)
    _know_tokens(talk, tokens)
    yield from discover(talk)
    if call.url.text(talk.names) is None:
        return  # discovery names no revocation_endpoint
    try:
        yield from step(talk, call)
    except Fail as failed:
        if failed.event.kind != "refused":  # §2.2: a token that is not valid any more counts as revoked
            raise


def api_headers(provider: Provider, access_token: Secret, kept: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """How this provider's token is presented to its API (RFC 6750 §2.1)."""
    return header_pairs(texts(provider.definition.api.header, _api_names(provider, access_token, kept)))


def api_query(provider: Provider, access_token: Secret, kept: Mapping[str, str]) -> dict[str, str]:
    """The same for providers that take it in the query (RFC 6750 §2.3); empty for all others."""
    return texts(provider.definition.api.query, _api_names(provider, access_token, kept))


def _api_names(provider: Provider, access_token: Secret, kept: Mapping[str, str]) -> dict[str, Any]:
    names = provider.names()
    return names | {"p": {**provider.params, **known(provider, kept)}, "access_token": access_token.reveal()}
