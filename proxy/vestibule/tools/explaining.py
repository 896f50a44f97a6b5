"""The requests of a definition, on paper. The real conversations are driven against an invented provider, and what they
send is written down with placeholders; nothing here knows how a request is built.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct, structs

from vestibule.crypto.digests import s256
from vestibule.model import Conversation, HttpCall, Secret, Tokens
from vestibule.provider import wire
from vestibule.provider.definition import Call, IdentityCall, IdentityMap, Step
from vestibule.provider.flow import CodeReturned, ProviderFailed, TokensReceived
from vestibule.provider.provider import Provider
from vestibule.tools.invention import DISCOVERED, NOW, UUID, VERIFIER, Invention, invented_provider, lenient
from vestibule.tools.labels import calls, unlabelled

Pairs = tuple[tuple[str, str], ...]


class Request(Struct, frozen=True, kw_only=True):
    """One request as a person reads it: everything decoded, placeholders for what is secret or not known yet."""

    title: str
    label: str
    """The part of the definition that it comes from."""
    method: str
    url: str
    """Without its query; `{token_endpoint}` and the like come from discovery."""
    query: Pairs = ()
    headers: Pairs = ()
    form: Pairs = ()
    json: Any = None
    body: str | None = None
    reads: Pairs = ()
    """What is read out of the reply or the callback, and by which expression."""
    notes: tuple[str, ...] = ()


class Stage(Struct, frozen=True, kw_only=True):
    title: str
    requests: tuple[Request, ...]
    notes: tuple[str, ...] = ()


class Explanation(Struct, frozen=True, kw_only=True):
    name: str
    title: str
    params: Pairs
    """What this explanation takes for the definition's parameters."""
    scopes: tuple[str, ...]
    stages: tuple[Stage, ...]
    identity: Pairs
    """Field of the identity, and the expression that fills it."""
    allow: str | None
    api_headers: Pairs
    api_query: Pairs


def explain(
    name: str, raw: Mapping[str, Any], *, params: Mapping[str, str] | None = None, scopes: tuple[str, ...] = ()
) -> Explanation:
    """Raises DefinitionError, and `invention.Unknown` for a parameter that nobody can guess."""
    provider = invented_provider(name, raw, params or {})
    asked = provider.scopes_for(scopes)
    walk = _Walk(provider, asked)
    stages = (walk.login(), walk.refresh(), walk.revoke())
    access, kept = walk.tokens.access_token or Secret("ACCESS_TOKEN"), walk.tokens.kept
    fields = structs.asdict(provider.definition.identity.map)
    allow = provider.definition.identity.allow
    return Explanation(
        name=name,
        title=provider.title,
        params=tuple(sorted({**provider.params, **kept}.items())),
        scopes=asked,
        stages=stages,
        identity=tuple((field, fields[field].source) for field in IdentityMap.__struct_fields__ if fields[field]),
        allow=allow.source if allow else None,
        api_headers=tuple((key, walk.shown(value)) for key, value in wire.api_headers(provider, access, kept)),
        api_query=tuple(
            (key, walk.shown(value, str(provider.definition.api.query[key].source)))
            for key, value in wire.api_query(provider, access, kept).items()
        ),
    )


class _Walk:
    def __init__(self, provider: Provider, scopes: tuple[str, ...]) -> None:
        self._original = provider.definition
        self._calls: dict[str, Call] = dict(calls(provider.definition))
        self._provider = lenient(provider)
        self._scopes = scopes
        self._invention = Invention(self._provider, scopes)
        self._seen: set[str] = set()
        self._params = sorted(provider.captured)
        basic = provider.names()["client"]["basic"]
        self._texts = {s256(VERIFIER): "CODE_CHALLENGE", str(NOW): "NOW", UUID: "UUID"}
        if basic:
            self._texts[basic] = f"base64({base64.b64decode(basic).decode()})"
        self.tokens = Tokens(access_token=Secret("ACCESS_TOKEN"), refresh_token=Secret("REFRESH_TOKEN"))

    # --- stages ------------------------------------------------------------------------------------------------------

    def login(self) -> Stage:
        verifier = VERIFIER if self._provider.pkce else None
        about: dict[str, Any] = {"redirect_uri": "REDIRECT_URI", "verifier": verifier, "scopes": self._scopes}
        about |= {"now": NOW, "uuid": UUID}
        requests, started = self._drive(wire.start(self._provider, state="STATE", nonce="NONCE", **about))
        if isinstance(started, ProviderFailed):
            return Stage(title="Login", requests=requests, notes=(_stopped(started),))
        requests += (self._redirect(started.url),)
        callback = self._invention.callback()
        requests += (self._return(callback),)
        returned = wire.read_callback(self._provider, callback)
        code, seen = (returned.code, returned.callback) if isinstance(returned, CodeReturned) else ("CODE", callback)
        more, received = self._drive(wire.redeem(self._provider, code=code, callback=seen, **about))
        requests += more
        if not isinstance(received, TokensReceived):
            return Stage(title="Login", requests=requests, notes=(_stopped(received),))
        self.tokens = received.tokens
        more, who = self._drive(
            wire.identify(self._provider, self.tokens, nonce="NONCE", callback=callback, now=NOW, uuid=UUID)
        )
        notes = (_stopped(who),) if isinstance(who, ProviderFailed) else ()
        return Stage(title="Login", requests=requests + more, notes=notes)

    def refresh(self) -> Stage:
        rules = self._original.refresh
        if rules == "none":
            return Stage(title="Refresh", requests=(), notes=("none: the tokens are used until they end",))
        requests, ended = self._drive(
            wire.refresh(
                self._provider,
                structs.replace(self.tokens, refresh_token=self.tokens.refresh_token or Secret("REFRESH_TOKEN")),
                scopes=self._scopes,
                redirect_uri="REDIRECT_URI",
                now=NOW,
                uuid=UUID,
            )
        )
        told = {
            "auto": "a new refresh token replaces the old one; without a new one the old one is used again",
            "replace": "the old refresh token is spent, whether a new one comes or not",
            "keep": "the first refresh token is used again and again, whatever comes",
        }
        notes = [f"{rules.early} s before the access token ends, or at its next use after that", told[rules.rotate]]
        notes += [_stopped(ended)] if isinstance(ended, ProviderFailed) else []
        return Stage(title="Refresh", requests=requests, notes=tuple(notes))

    def revoke(self) -> Stage:
        if self._original.revoke is None:
            return Stage(title="Revocation", requests=(), notes=("none: no revocation endpoint is known",))
        requests, ended = self._drive(wire.revoke(self._provider, self.tokens, now=NOW, uuid=UUID))
        notes = (_stopped(ended),) if isinstance(ended, ProviderFailed) else ()
        return Stage(title="Revocation", requests=requests, notes=notes)

    def _drive(self, conversation: Conversation[Any]) -> tuple[tuple[Request, ...], Any]:
        requests: list[Request] = []
        try:
            call = next(conversation)
            while True:
                label, call = unlabelled(call)
                if call.url not in self._seen or label != "metadata":
                    if not requests or label == "metadata" or requests[-1].label != label:  # not the second page
                        requests.append(self._request(label, call))
                    self._seen.add(call.url)
                call = conversation.send(self._invention.reply(label, call))
        except StopIteration as stop:
            return tuple(requests), stop.value

    # --- requests ----------------------------------------------------------------------------------------------------

    def _redirect(self, url: str) -> Request:
        base, query = _split(url)
        notes = []
        par = self._original.authorize.par
        if par is not None and par.when is not None and "request_uri" not in dict(query):
            notes.append(f"where {par.when.source}, these parameters are pushed first (RFC 9126)")
        pairs = tuple((name, self.shown(value)) for name, value in query)
        return Request(
            title="The browser goes to the provider",
            label="authorize",
            method="GET",
            url=self.shown(base),
            query=pairs,
            notes=tuple(notes),
        )

    def _return(self, callback: Mapping[str, str]) -> Request:
        rules = self._original.callback
        notes = [f"refused if there is an error: {rules.err.code.source}"]
        if rules.iss is not None:
            notes.append(f"refused if `iss` comes and is not {rules.iss.source} (RFC 9207)")
        if rules.verify is not None:
            others = ", ".join((rules.verify.param, *rules.verify.without))
            notes.append(f"`{rules.verify.param}` must be the HMAC-SHA-256 of all parameters but {others}")
        posted = rules.mode == "form_post"
        return Request(
            title="The browser comes back",
            label="callback",
            method="POST" if posted else "GET",
            url="REDIRECT_URI",
            query=() if posted else tuple(callback.items()),
            form=tuple(callback.items()) if posted else (),
            reads=self._captured("cb"),
            notes=tuple(notes),
        )

    def _request(self, label: str, call: HttpCall) -> Request:
        base, query = _split(call.url)
        written = self._calls.get(label)
        form: Pairs = ()
        json, body = None, None
        kind = next((value for name, value in call.headers if name.lower() == "content-type"), "")
        if kind == "application/x-www-form-urlencoded":
            form = tuple(parse_qsl(call.body.decode(), keep_blank_values=True))
        elif written is not None and written.json is not None:
            json = self._shown_json(msgspec.json.decode(call.body))
        elif call.body:
            body = self.shown(call.body.decode())
        parts = {**written.query, **written.form} if written else {}
        sources = {name: str(part.source) for name, part in parts.items()}
        headers = ((n, v) for n, v in call.headers if n.lower() != "content-type" or written is None or body)
        return Request(
            title=_title(label, call),
            label=label if written else "oidc",
            method=call.method,
            url=self.shown(base),
            query=tuple((name, self.shown(value, sources.get(name))) for name, value in query),
            headers=tuple((name, self.shown(value)) for name, value in headers),
            form=tuple((name, self.shown(value, sources.get(name))) for name, value in form),
            json=json,
            body=body,
            reads=self._reads(label, call),
            notes=() if written is None else tuple(_notes(written)),
        )

    def _reads(self, label: str, call: HttpCall) -> Pairs:
        kind, _, name = label.partition(".")
        if kind == "metadata":
            if "jwks" in call.url:
                return (("id", "the claims of the id_token, once its signature and claims are checked"),)
            return (("d", "the addresses of everything in {…}, if the issuer is the one configured"),)
        out = getattr(self._calls.get(label), "out", None)
        unread = {"id_token"} if self._original.oidc is None else set()
        fields = {} if out is None else structs.asdict(out)
        named = ((field, expr.source) for field, expr in fields.items() if expr is not None and field not in unread)
        pairs = [(field, source.removeprefix("@.")) for field, source in named]
        if kind in {"token", "exchange"}:
            return (*pairs, *self._captured("t" if kind == "token" else "x", name))
        if kind == "identity":
            fields = structs.asdict(self._original.identity.map)
            pairs = [(field, expr.source) for field, expr in fields.items() if expr is not None and name in expr.roots]
        return tuple(pairs)

    def _captured(self, root: str, name: str = "") -> Pairs:
        sources = ((param, self._original.params[param].source) for param in self._params)
        found = ((f"p.{param}", source.source) for param, source in sources if source and root in source.roots)
        return tuple(pair for pair in found if f"{root}.{name}" in pair[1] or not name)

    # --- values ------------------------------------------------------------------------------------------------------

    def shown(self, text: str, source: str | None = None) -> str:
        """`source` is the template that made it: the result of a hash says less than its ingredients."""
        if source and re.search(r"\|\s*(?:hmac_sha256|sha256|md5)_hex", source):
            return source
        if claims := _jwt(text):
            return claims
        for made, placeholder in self._texts.items():
            text = text.replace(made, placeholder)
        return re.sub(re.escape(DISCOVERED) + r"(\w+)", r"{\1}", text)

    def _shown_json(self, value: Any) -> Any:
        match value:
            case dict():
                return {key: self._shown_json(item) for key, item in value.items()}
            case list():
                return [self._shown_json(item) for item in value]
            case str():
                return self.shown(value)
        return value


def _title(label: str, call: HttpCall) -> str:
    kind, _, name = label.partition(".")
    titles = {
        "par": "The parameters are pushed",
        "token": "The code becomes tokens",
        "exchange": f"Exchange `{name}`",
        "identity": f"Who is it: `{name}`",
        "refresh": "The refresh token becomes new tokens",
        "revoke": "The token is revoked",
    }
    return titles.get(kind, "The keys of id_tokens" if "jwks" in call.url else "Discovery")


def _notes(call: Call) -> list[str]:
    notes = []
    if isinstance(call, Step):
        if call.when is not None:
            notes.append(f"only where {call.when.source}")
        if call.optional:
            notes.append("optional: a refusal is no error")
    if call.ok is not None:
        notes.append(f"an error unless {call.ok.source}")
    if call.err.code.source != "error":
        notes.append(f"an error if there is {call.err.code.source}")
    if isinstance(call, IdentityCall) and call.paginate is not None:
        notes.append(f"page by page, by {call.paginate.by}: ten at most")
    lifetime = getattr(call, "lifetime", None)
    if lifetime is not None:
        notes.append(f"lives {lifetime} s if the reply names no expiry")
    return notes


def _split(url: str) -> tuple[str, Pairs]:
    """An address and its parameters, decoded; a `+` stays what it is, because ours never stand for a space."""
    path, sharp, fragment = url.partition("#")
    base, _, query = fragment.partition("?") if sharp else path.partition("?")
    pairs = (part.partition("=") for part in query.split("&") if part)
    return path + sharp + base if sharp else base, tuple((unquote(name), unquote(value)) for name, _, value in pairs)


def _jwt(text: str) -> str | None:
    """A JWT as what it says."""
    parts = text.split(".")
    if len(parts) != 3 or not text.startswith("eyJ"):  # noqa: PLR2004
        return None
    try:
        head, claims = (msgspec.json.decode(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return None
    told = {**claims} | {name: f"NOW+{claims[name] - NOW}" for name in ("iat", "exp") if name in claims}
    told |= {"jti": "UUID"} if "jti" in told else {}
    written = ", ".join(f"{name}: {value}" for name, value in told.items())
    kid = f", kid {head['kid']}" if "kid" in head else ""
    return f"JWT({head['alg']}{kid}; {written})".replace("NOW+0", "NOW")


def _stopped(failed: ProviderFailed) -> str:
    return f"the walk on paper ends here: {failed.slug} {failed.detail}".strip()
