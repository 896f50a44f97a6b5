"""From tokens to a person: id_token, identity calls, map, allow. The order is the definition's, the rules are the same
for everybody: who cannot be named by a stable subject is nobody, and what a provider does not say is not assumed.
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from vestibule.model import Conversation, Identity, Tokens
from vestibule.provider.calls import SKIPPED, step
from vestibule.provider.definition import IdentityMap
from vestibule.provider.expression import Expression
from vestibule.provider.flow import Fail, Identified, settled
from vestibule.provider.oidc import discover, same_subject, verified_claims
from vestibule.provider.provider import Provider
from vestibule.provider.talk import Talk

MAX_SUBJECT_CHARS = 255
"""OIDC Core §2."""
MAX_TEXT_CHARS = 2048
MAX_GROUPS = 5000
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@settled
def identify(
    provider: Provider,
    tokens: Tokens,
    *,
    nonce: str | None,
    now: int,
    uuid: str,
    callback: Mapping[str, str] | None = None,
) -> Conversation[Identified]:
    """Who these tokens belong to. `nonce` and `callback` are the login's, None when renewed tokens are looked at."""
    definition = provider.definition
    talk = Talk(provider, now=now, uuid=uuid, kept=tokens.kept)
    yield from discover(talk)
    claims: dict[str, Any] | None = None
    if definition.oidc is not None:
        claims = yield from verified_claims(talk, definition.oidc, tokens, nonce=nonce)
    talk.names |= {
        "t": tokens.raw,
        "x": tokens.exchanged,
        "id": claims,
        "scopes": list(tokens.scopes or ()),
        "access_token": tokens.access_token.reveal() if tokens.access_token else None,
    }
    for name, call in definition.identity.calls.items():
        document = yield from step(talk, call)
        if document is None:
            raise Fail("misconfigured", "identity_reply_unreadable", f"{call.url.source} answered no document")
        document = None if document is SKIPPED else document
        if name == "userinfo" and claims is not None and document is not None and not same_subject(claims, document):
            raise Fail("misconfigured", "userinfo_subject", "userinfo is about another subject than the id_token")
        talk.names[name] = document
    identity = mapped(provider.id, definition.identity.map, talk.documents | {"cb": callback})
    if definition.identity.allow is not None and not definition.identity.allow.holds(talk.documents):
        raise Fail("refused", "identity_not_allowed", "the definition's `allow` does not hold")
    return Identified(identity)


def mapped(provider_id: str, fields: IdentityMap, documents: dict[str, Any]) -> Identity:
    """The definition's map over the documents. A `tenant` that is mapped must be there: without it the same subject of
    two tenants would be one user.
    """
    subject = _text("sub", fields.sub, documents)
    tenant = _text("tenant", fields.tenant, documents)
    if subject is None or len(subject) > MAX_SUBJECT_CHARS:
        raise Fail("misconfigured", "subject_missing", "the map of `sub` leads to no id")
    if fields.tenant is not None and tenant is None:
        raise Fail("misconfigured", "tenant_missing", "the map of `tenant` leads to nothing")
    texts = {name: _text(name, getattr(fields, name), documents) for name in ("email", "name", "login", "picture")}
    return structs.replace(
        Identity(provider=provider_id, subject=subject),
        tenant=tenant or "",
        email_verified=_true(fields.email_verified, documents) and texts["email"] is not None,
        groups=_groups(fields.groups, documents),
        **texts,
    )


def _text(field: str, expression: Expression | None, documents: dict[str, Any]) -> str | None:
    """Numeric ids are common, so whole numbers count as text."""
    value = None if expression is None else expression(documents)
    if value in (None, ""):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64:
        return str(value)
    if not _is_text(value):
        raise Fail("misconfigured", "identity_malformed", f"the map of `{field}` leads to something that is no text")
    return str(value)


def _true(expression: Expression | None, documents: dict[str, Any]) -> bool:
    """Apple writes booleans as strings; whatever else is not true is false."""
    value = None if expression is None else expression(documents)
    return value is True or value == "true"


def _groups(expression: Expression | None, documents: dict[str, Any]) -> tuple[str, ...] | None:
    """None where the map leads to null: the provider was not asked, so what is known of the groups stays as it is."""
    value = None if expression is None else expression(documents)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_GROUPS or not all(map(_is_text, value)):
        raise Fail("misconfigured", "identity_malformed", "the map of `groups` leads to no list of text")
    return tuple(dict.fromkeys(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_CHARS and not _CONTROL.search(value)
