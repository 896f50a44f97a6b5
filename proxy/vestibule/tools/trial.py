"""A live login, step by step, with everything shown that may be shown.

The conversations are the gateway's own, and so is `outbound`, watched: whoever draws the login is told each request and
reply when it happens, and at the end what became of them.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct, structs

from vestibule.crypto import random
from vestibule.model import Identity, Tokens
from vestibule.provider import wire
from vestibule.provider.definition import Definition, HopOut, IdentityMap
from vestibule.provider.expression import Expression
from vestibule.provider.flow import CodeReturned, Denied, Identified, ProviderFailed, TokensReceived
from vestibule.provider.provider import Provider
from vestibule.tools.advice import CODES, advice, readable
from vestibule.tools.expressions import Path, is_read, leaves, reads
from vestibule.tools.labels import calls, labelled
from vestibule.tools.listener import Listener, listening
from vestibule.tools.masking import Masker
from vestibule.tools.watching import Exchanged, Watched

WAIT_SECONDS = 300
_PROTOCOL_CLAIMS = frozenset({"iss", "aud", "azp", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "s_hash", "jti"})
_PROTOCOL_FIELDS = frozenset({"token_type", "error", "error_description"})


class Told(Struct, frozen=True):
    """A fact between two requests: the link to open, the callback, the tokens."""

    title: str
    rows: tuple[tuple[str, str], ...] = ()
    link: str | None = None
    """To be opened by the person; holds the state and nothing secret."""


class Outcome(Struct, frozen=True, kw_only=True):
    kind: Literal["worked", "refused", "unavailable", "misconfigured"]
    slug: str = ""
    detail: str = ""
    advice: str = ""
    identity: Identity | None = None
    dropped: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """By document: fields that nothing of the definition reads, and their masked values."""


Show = Callable[[Exchanged | Told], None]


async def try_login(
    provider: Provider, *, redirect_uri: str, port: int, path: str, scopes: tuple[str, ...], refresh: bool, show: Show
) -> Outcome:
    """Ends within `WAIT_SECONDS` of the person's time and the bounds of `outbound`. Raises listener.PortTaken."""
    trial = _Trial(provider, redirect_uri, scopes, show)
    listener = Listener(path, provider.definition.callback.state, trial.state)
    try:
        async with listening(port, listener):
            return await trial.login(listener, refresh=refresh)
    finally:
        await trial.watched.close()


class _Trial:
    def __init__(self, provider: Provider, redirect_uri: str, scopes: tuple[str, ...], show: Show) -> None:
        self.provider = labelled(provider)
        self.original = provider.definition
        self.scopes = provider.scopes_for(scopes)
        self.state, self.nonce = random.token(), random.token()
        self.verifier = random.token(48) if provider.pkce else None
        self.redirect_uri = redirect_uri
        self.show = show
        secret = provider.client_secret.reveal() if provider.client_secret else None
        basic = provider.names()["client"]["basic"]
        self.masker = Masker((secret, basic, self.state, self.nonce, self.verifier))
        self.watched = Watched(self.original, self.masker, show)

    async def login(self, listener: Listener, *, refresh: bool) -> Outcome:  # noqa: PLR0911  # each way it can end
        about = self._about()
        started = await self.watched.converse(wire.start(self.provider, state=self.state, nonce=self.nonce, **about))
        if isinstance(started, ProviderFailed):
            return self._failed(started)
        self.show(Told("Open this link and sign in", link=started.url))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                callback = await listener.params
        except TimeoutError:
            return _nobody_came(self.redirect_uri)
        self.masker.learn(callback.get(self.original.callback.code))
        self.show(Told("The browser is back", self.masker.pairs(callback.items())))
        returned = wire.read_callback(self.provider, callback)
        if isinstance(returned, Denied):
            detail = self.masker.text(f"{returned.error} {returned.description}".strip())
            told = CODES.get(returned.error, CODES["access_denied"])
            return Outcome(kind="refused", slug=f"provider_{returned.error}", detail=detail, advice=told)
        if not isinstance(returned, CodeReturned):
            return self._failed(returned, str(self.original.callback.err.code(dict(callback)) or ""))
        received = await self.watched.converse(
            wire.redeem(self.provider, code=returned.code, callback=returned.callback, **self._about())
        )
        if not isinstance(received, TokensReceived):
            return self._failed(received)
        self._tell_tokens("These tokens came", received.tokens)
        outcome = await self._identify(received.tokens, callback)
        if outcome.kind == "worked" and refresh:
            return await self._refresh(received.tokens, outcome)
        return outcome

    async def _identify(self, tokens: Tokens, callback: Mapping[str, str]) -> Outcome:
        now, uuid = int(time.time()), random.row_id()
        ended = await self.watched.converse(
            wire.identify(self.provider, tokens, nonce=self.nonce, callback=callback, now=now, uuid=uuid)
        )
        if not isinstance(ended, Identified):
            return self._failed(ended)
        documents = {"t": dict(tokens.raw), **self.watched.documents, "id": _claims(tokens)}
        documents |= {f"x.{name}": document for name, document in tokens.exchanged.items()}
        identity = _safe(ended.identity, self.masker)
        return Outcome(kind="worked", identity=identity, dropped=self._dropped(documents))

    async def _refresh(self, tokens: Tokens, outcome: Outcome) -> Outcome:
        rules = self.original.refresh
        needs = rules != "none" and ("refresh_token",) in rules.paths()
        if rules == "none" or (needs and tokens.refresh_token is None):
            why = "the definition says `refresh: none`" if rules == "none" else "no refresh token came"
            told = "Providers often want a scope or a parameter for one: `scopes.offline`, or access_type=offline."
            return structs.replace(outcome, kind="misconfigured", slug="no_refresh", detail=why, advice=told)
        about = {name: value for name, value in self._about().items() if name not in {"verifier", "scopes"}}
        granted = self.scopes if tokens.scopes is None else tokens.scopes
        ended = await self.watched.converse(wire.refresh(self.provider, tokens, scopes=granted, **about))
        if not isinstance(ended, TokensReceived):
            failed = self._failed(ended)
            return structs.replace(failed, identity=outcome.identity, dropped=outcome.dropped)
        self._tell_tokens("Refreshed", ended.tokens, before=tokens)
        return outcome

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = {"redirect_uri": self.redirect_uri, "verifier": self.verifier, "scopes": self.scopes}
        return about | {"now": int(time.time()), "uuid": random.row_id()}

    def _failed(self, failed: Any, code: str | None = None) -> Outcome:
        code = code or self.watched.error_code
        detail = self.masker.text(readable(failed.detail))
        return Outcome(kind=failed.kind, slug=failed.slug, detail=detail, advice=advice(failed, code))

    def _tell_tokens(self, title: str, tokens: Tokens, before: Tokens | None = None) -> None:
        self.masker.learn(*(s.reveal() for s in (tokens.access_token, tokens.refresh_token, tokens.id_token) if s))
        rows = [
            (name, self.masker.text(secret.reveal()))
            for name in ("access_token", "refresh_token", "id_token")
            if (secret := getattr(tokens, name)) is not None
        ]
        if before is not None and tokens.refresh_token is not None:
            same = tokens.refresh_token == before.refresh_token
            rows.append(("refresh token", "the same as before" if same else "rotated: the old one is replaced"))
        if tokens.expires_at is None:
            rows.append(("expires", "the reply does not say, so it is used until it is refused"))
        else:
            rows.append(("expires", f"in {tokens.expires_at - int(time.time())} s"))
        granted = "not said, so as asked (RFC 6749 §5.1)" if tokens.scopes is None else " ".join(tokens.scopes)
        rows += [("scopes asked", " ".join(self.scopes) or "none"), ("scopes granted", granted or "none")]
        rows += [(f"p.{name}", self.masker.text(value)) for name, value in sorted(tokens.kept.items())]
        self.show(Told(title, tuple(rows)))

    def _dropped(self, documents: Mapping[str, Any]) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
        read = _read_paths(self.original)
        found = []
        for name, document in documents.items():
            own = tuple(name.split("."))
            ignored = _PROTOCOL_CLAIMS if name == "id" else _PROTOCOL_FIELDS if name == "t" else frozenset[str]()
            rows = []
            for path, value in leaves(document):
                if path and path[0] not in ignored and not is_read((*own, *path), read):
                    masked = self.masker.document(value, path[-1])
                    rows.append((".".join(path), masked if isinstance(masked, str) else _json(masked)))
            if rows:
                found.append((name, tuple(rows)))
        return tuple(found)


def _read_paths(definition: Definition) -> frozenset[Path]:
    """All that the definition reads out of any document, by `map`, `allow`, `when`, `from`, `out` and templates."""
    expressions: list[Expression | None] = [getattr(definition.identity.map, n) for n in IdentityMap.__struct_fields__]
    expressions += [definition.identity.allow, *(param.source for param in definition.params.values())]
    expressions += [getattr(call, "when", None) for _, call in calls(definition)]
    found = {path for expression in expressions if expression is not None for path in reads(expression)}
    for label, call in calls(definition):
        found |= set(call.paths())
        kind, _, name = label.partition(".")
        own = {"token": ("t",), "exchange": ("x", name)}.get(kind)
        out = getattr(call, "out", None)
        if own is not None and isinstance(out, HopOut):
            fields = (expression for expression in structs.asdict(out).values() if expression is not None)
            found |= {(*own, *path) for expression in fields for path in reads(expression)}
    return frozenset(found)


def _claims(tokens: Tokens) -> Any:
    """Of the id_token that `identify` has verified."""
    if tokens.id_token is None:
        return {}
    body = tokens.id_token.reveal().split(".")[1]
    return msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def _safe(identity: Identity, masker: Masker) -> Identity:
    """A map that leads to a token is a mistake, and no reason to print it."""
    texts = {n: getattr(identity, n) for n in ("tenant", "subject", "email", "name", "login", "picture")}
    masked = {name: masker.known(text) for name, text in texts.items() if text is not None}
    groups = None if identity.groups is None else tuple(map(masker.known, identity.groups))
    return structs.replace(identity, groups=groups, **masked)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _nobody_came(redirect_uri: str) -> Outcome:
    told = (
        "If the provider showed an error page, read it: mostly the redirect URI is not registered there, or the client "
        f"id is wrong. Register {redirect_uri} and try again."
    )
    return Outcome(kind="misconfigured", slug="no_callback", detail="nobody came back in 5 minutes", advice=told)
