"""Admission: from the text of a key to all that the gate needs, out of memory for every request but the first.

A cached entry carries the opened provider token and the signed identity JWT, so a request costs no database query and
no signature on any kind of route.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

import structlog

from vestibule.config import IdentityClaim
from vestibule.crypto import random
from vestibule.crypto.digests import sha256, well_formed_key
from vestibule.crypto.sealing import SealBroken
from vestibule.errors import KeyInvalid, Unavailable
from vestibule.model import Identity, KeyFacts, Principal, Service
from vestibule.provider import wire
from vestibule.service import connections
from vestibule.service.cache import POSITIVE_SECONDS, Admission
from vestibule.service.connections import Ended, Refresher, Unreachable
from vestibule.service.gateway import Gateway, Route, subject_of
from vestibule.storage import keys

log = structlog.get_logger("vestibule.access")
JWT_SECONDS = 60
JWT_REUSED_SECONDS = 30
PATIENCE_SECONDS = 2.0
"""How long a request waits for a fresh provider token while the old one is good. It does wait, because some providers
end the old one with the refresh.
"""
_SAFE = "@:/ +-._~"
_OUTER_SPACE = re.compile(r"\A | \Z")
MAX_HEADER_BYTES = 4096
"""An identity header longer than this fails loudly instead of being cut."""


class Access:
    """Admits keys; one per process."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._refresher = Refresher()
        self._used: dict[str, int] = {}

    async def admit(self, text: str, route: Route) -> Admission:
        """Raises KeyInvalid (unknown, dead, or for another route) and Unavailable."""
        if not well_formed_key(text):
            raise KeyInvalid("key_malformed")
        digest, now = sha256(text), self._gateway.now()
        found, admission = self._gateway.cache.peek(digest, now)
        if not found:
            admission = await self._gateway.cache.load(digest, now, lambda: self._read(digest))
        if admission is None:
            raise KeyInvalid("key_unknown")
        if admission.key.route != route.id:
            raise KeyInvalid("key_of_other_route")
        self._used[admission.key.id] = now
        if route.provider_token_of is not None:
            await self._renew_provider_token(admission, now)
        return admission

    def identity_jwt(self, admission: Admission, route: Route) -> str:
        """Signed once per key, used for 30 s, valid for 60 s (design decision 15)."""
        now = self._gateway.now()
        if now >= admission.identity_jwt_until:
            claims = {
                "iss": self._gateway.issuer,
                "aud": route.resource.url,
                "iat": now,
                "exp": now + JWT_SECONDS,
                "jti": random.token(12),
                **{name: value for name, value in _claims(admission).items() if value},
            }
            admission.identity_jwt = self._gateway.identity_keys.sign(claims)
            admission.identity_jwt_until = now + JWT_REUSED_SECONDS
        return admission.identity_jwt

    def provider_headers(self, admission: Admission) -> list[tuple[bytes, bytes]]:
        """The user's own token, presented as the provider's definition says (`api`)."""
        connection, token = admission.connection, admission.provider_token
        if connection is None or token is None:
            raise KeyInvalid("no_provider_token")
        pairs = wire.api_headers(self._gateway.providers[connection.provider], token, admission.provider_kept)
        return [(name.lower().encode(), value.encode()) for name, value in pairs]

    def provider_query(self, admission: Admission) -> dict[str, str]:
        """The same for the few that take it in the query; the gate puts it in place of the client's own."""
        connection, token = admission.connection, admission.provider_token
        if connection is None or token is None:
            raise KeyInvalid("no_provider_token")
        return wire.api_query(self._gateway.providers[connection.provider], token, admission.provider_kept)

    async def flush_used(self) -> None:
        """Write `last_used_at` of all keys used since the last call, off the request path."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with self._gateway.database.write() as db:
                await keys.touch_keys(db, used.items())
        except BaseException:
            self._used = used | self._used  # the next round writes them
            raise

    async def _read(self, digest: bytes) -> Admission | None:
        async with self._gateway.database.read() as db:
            facts = await keys.find_key_facts(db, digest)
        return None if facts is None else admission_of(self._gateway, facts)

    async def _renew_provider_token(self, admission: Admission, now: int) -> None:
        connection = admission.connection
        if connection is None or admission.provider_token is None:
            raise KeyInvalid("no_provider_token")
        if not connections.due(self._gateway, connection, now):
            return
        good = connection.expires_at is None or now < connection.expires_at
        renewed = await self._refresher.refresh(self._gateway, connection, PATIENCE_SECONDS if good else None)
        if isinstance(renewed, Ended):
            raise KeyInvalid(renewed.reason)
        if isinstance(renewed, Unreachable):
            if good:
                return
            raise Unavailable(renewed.reason)
        admission.connection = renewed
        admission.provider_token = connections.access_token(self._gateway, renewed)
        admission.provider_kept = connections.kept(self._gateway, renewed)


def admission_of(gateway: Gateway, facts: KeyFacts) -> Admission | None:
    """None for a key that may not pass, with the reason in the log: every condition that can end a key is here."""
    now, key, family, grant = gateway.now(), facts.key, facts.family, facts.grant
    route = gateway.routes.get(key.route)
    dead = (
        (key.revoked_at is not None, "key_revoked"),
        (now >= key.expires_at, "key_expired"),
        (route is None, "route_gone"),
        (key.family_id is not None and (family is None or grant is None or facts.user is None), "family_gone"),
        (family is not None and (family.revoked_at is not None or now >= family.expires_at), "family_revoked"),
        (grant is not None and (grant.revoked_at is not None or grant.route != key.route), "grant_revoked"),
        (facts.user is not None and not gateway.signs_in(key.route, facts.user.provider), "provider_not_on_route"),
        (facts.user is not None and facts.user.disabled_at is not None, "user_disabled"),
        (facts.connection is not None and facts.connection.ended_at is not None, "connection_ended"),
        (key.family_id is None and key.service is None, "owner_missing"),
    )
    reason = next((slug for broken, slug in dead if broken), None)
    principal: Principal = facts.user.identity() if facts.user else Service(key.service or "")
    if reason is None and route is not None:
        reason = route.allow.judge(principal)
    if reason is not None or route is None:
        log.info("key_refused", key=key.id, reason=reason)
        return None
    admission = Admission(
        key=key,
        principal=principal,
        sub=subject_of(principal, facts.user.id if facts.user else None),
        client_id=grant.client_id if grant else key.service or "",
        permissions=route.permissions.effective(key.permissions),
        until=min(key.expires_at, family.expires_at if family else key.expires_at, now + POSITIVE_SECONDS),
    )
    if facts.connection is not None and facts.connection.provider == route.provider_token_of:
        try:
            admission.provider_token = connections.access_token(gateway, facts.connection)
            admission.provider_kept = connections.kept(gateway, facts.connection)
        except SealBroken:
            log.warning("key_refused", key=key.id, reason="sealing_key_gone")
            return None
        admission.connection = facts.connection
    admission.headers = _identity_headers(route.config.send.headers, _claims(admission))
    return admission


def _claims(admission: Admission) -> dict[str, str | list[str]]:
    """What backends may be told; unknown values are empty, e-mail only if the provider verified it."""
    person = admission.principal if isinstance(admission.principal, Identity) else None
    return {
        "sub": admission.sub,
        "email": (person and person.email_verified and person.email) or "",
        "name": (person and person.name) or "",
        "login": (person and person.login) or "",
        "groups": list(person.groups or ()) if person else [],
        "provider": person.provider if person else "",
        "client_id": admission.client_id,
        "scope": " ".join(sorted(admission.permissions)),
    }


def _identity_headers(
    wanted: Mapping[str, IdentityClaim], claims: Mapping[str, str | list[str]]
) -> tuple[tuple[bytes, bytes], ...]:
    """Percent-encoded UTF-8, so that no claim can break a header; lists joined by commas. Every name, even if empty."""
    headers = []
    for name, claim in wanted.items():
        value = claims[claim]
        text = ",".join(_encoded(item) for item in ([value] if isinstance(value, str) else value))
        if len(text) > MAX_HEADER_BYTES:
            raise Unavailable("identity_header_too_long", f"{name} has {len(text)} bytes")
        headers.append((name.lower().encode(), text.encode()))
    return tuple(headers)


def _encoded(text: str) -> str:
    """A space at either end is encoded too: it would not arrive, and servers refuse such a header."""
    return _OUTER_SPACE.sub("%20", quote(text, safe=_SAFE))
