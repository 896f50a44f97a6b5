"""OpenID Connect's own two conversations: discovery and the verification of an id_token. Both are parts of longer ones,
so they raise `Fail` and are not settled here.

Discovery is asked for anew in each conversation and answered from `outbound`'s cache: no state of ours can go stale.
"""

from collections.abc import Callable
from typing import Any

from vestibule.crypto import jose
from vestibule.model import Conversation, HttpCall, Tokens
from vestibule.provider import claims as claim_rules
from vestibule.provider.calls import checked_endpoint, clean, read
from vestibule.provider.definition import Call, Err, Oidc
from vestibule.provider.expression import Expression
from vestibule.provider.flow import Fail
from vestibule.provider.talk import Talk
from vestibule.provider.template import Names, Template

CACHE_SECONDS = 3600
_ACCEPT = (("Accept", "application/json"),)


def discover(talk: Talk) -> Conversation[None]:
    """Learn the provider's metadata as `d`; empty for one without OIDC or without discovery.

    OIDC Discovery §4.3: its issuer must be the one configured, or a document served elsewhere could send the client
    secret to endpoints of its choice. The endpoints themselves are checked where they are called.
    """
    oidc, issuer = talk.provider.definition.oidc, talk.provider.issuer()
    if oidc is None or issuer is None or (oidc.discovery is not None and oidc.discovery.source == "off"):
        return
    configured = oidc.issuer.text(talk.names)
    if oidc.discovery is not None:
        url: str | None = oidc.discovery.text(talk.names)
    else:  # §4.1: a terminating slash of the issuer is removed first
        url = configured and configured.rstrip("/") + "/.well-known/openid-configuration"

    def check(metadata: dict[str, Any]) -> None:
        found = metadata.get("issuer")
        if not isinstance(found, str) or not issuer.fullmatch(found):
            raise Fail("misconfigured", "discovery_issuer", f"expected {configured}, found {clean(str(found))[:100]}")

    talk.learn(d=(yield from _fetch(checked_endpoint(url, "discovery"), check)))


def verified_claims(
    talk: Talk, oidc: Oidc, tokens: Tokens, *, nonce: str | None
) -> Conversation[dict[str, Any] | None]:
    """OIDC Core §3.1.3.7. None if there is no id_token and none is needed.

    `nonce` None means that this is no login: the tokens were renewed, when an id_token may be missing and carries no
    nonce (OIDC Core §12.2).
    """
    if tokens.id_token is None:
        if nonce is None or oidc.id_token == "optional":  # noqa: S105  # not a password
            return None
        raise Fail("misconfigured", "id_token_missing", "the token reply holds no id_token")
    keys_url = checked_endpoint(oidc.jwks.text(talk.names), "jwks_uri")
    token = tokens.id_token.reveal()
    key_set = yield from _fetch(keys_url)
    try:
        claims = _signed_claims(token, key_set, oidc)
    except jose.UnknownKid:
        # OIDC Core §10.1.1: keys rotate. Once, so that a made-up `kid` cannot make us hammer the provider.
        key_set = yield from _ask(keys_url, fresh=True)
        claims = _signed_claims(token, key_set, oidc, last=True)
    names = {**talk.names, "id": claims}
    problem = claim_rules.problem_of(
        claims,
        issuer=_issuer(oidc, names),
        audience=oidc.audience.text(names),
        client_id=talk.provider.client_id,
        nonce=nonce if oidc.nonce == "on" else None,
        now=talk.names["now"],
    )
    if problem is not None:
        raise Fail("misconfigured", problem, f"the id_token of {talk.provider.id} was refused")
    return claims


def _issuer(oidc: Oidc, names: Names) -> str | None:
    """OIDC Core §3.1.3.7: the very issuer that discovery names. Only where that has a placeholder (Entra's
    `{tenantid}`) may the token fill it in; None where the two are not the same.
    """
    issuer, discovered = oidc.issuer.text(names), names["d"].get("issuer")
    return issuer if discovered is None or "{" in discovered or discovered == issuer else None


def _signed_claims(token: str, key_set: dict[str, Any], oidc: Oidc, *, last: bool = False) -> dict[str, Any]:
    try:
        return jose.verify_with_jwks(token, key_set, oidc.algs)
    except jose.BadSignature as error:
        if isinstance(error, jose.UnknownKid) and not last:
            raise
        raise Fail("misconfigured", "id_token_signature", str(error)) from None


def same_subject(claims: dict[str, Any], userinfo: Any) -> bool:
    """OIDC Core §5.3.2: a userinfo reply about somebody else must not be used; one without `sub` may be just that."""
    return isinstance(userinfo, dict) and userinfo.get("sub") == claims["sub"]


_METADATA = Call(method="GET", url=Template(""), auth="none", err=Err(code=Expression("error")))


def _fetch(url: str, check: Callable[[dict[str, Any]], None] = lambda _: None) -> Conversation[dict[str, Any]]:
    """A document that passes `check`, from the cache if it is there.

    One that cannot be used is asked for once more, past the cache: a maintenance page with status 200 would otherwise
    keep everybody out until it expires there.
    """
    try:
        document = yield from _ask(url, fresh=False)
        check(document)
    except Fail as failed:
        if failed.event.kind != "misconfigured":
            raise
        document = yield from _ask(url, fresh=True)
        check(document)
    return document


def _ask(url: str, *, fresh: bool) -> Conversation[dict[str, Any]]:
    request = HttpCall(method="GET", url=url, headers=_ACCEPT, trusted=True, cache_seconds=CACHE_SECONDS, fresh=fresh)
    document = read(_METADATA, request, (yield request), {})
    if not isinstance(document, dict):
        raise Fail("misconfigured", "metadata_unreadable", f"{request!r} did not answer with a JSON object")
    return document
