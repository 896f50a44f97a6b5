"""Each configured provider asked without logging in: is it there, is it the right one, does it know this client.

What is sent are the requests of a real login, up to the point where a person would be needed. A token request with a
code that was never issued tells whether the client's credentials are right: a provider that complains about the code
has accepted them (RFC 6749 §5.2, invalid_grant), one that complains about the client has not.
"""

import asyncio
import time
from typing import Any, Literal
from urllib.parse import parse_qsl, urljoin, urlsplit

from msgspec import Struct

from vestibule.crypto import random
from vestibule.model import HttpCall, HttpFailure, HttpReply
from vestibule.outbound import Outbound
from vestibule.provider import wire
from vestibule.provider.calls import clean, document_of, error_of
from vestibule.provider.flow import ProviderFailed
from vestibule.provider.provider import Provider
from vestibule.tools.advice import CODES, advice, readable
from vestibule.tools.labels import calls, labelled, unlabelled

AT_ONCE = 8
SECONDS = 45
"""For one provider; each request has the bound of `outbound`, 10 s."""
_CODE = "vestibule-check-no-such-code"
_BAD_CLIENT = frozenset(
    {"invalid_client", "unauthorized_client", "incorrect_client_credentials", "bad_client_secret", "invalid_client_id"}
)

State = Literal["ok", "warning", "failed", "skipped"]


class Probe(Struct, frozen=True, kw_only=True):
    what: str
    state: State
    told: str
    url: str = ""
    advice: str = ""
    milliseconds: int = 0


class Probed(Struct, frozen=True, kw_only=True):
    id: str
    title: str
    redirect_uri: str
    """To be registered at the provider."""
    probes: tuple[Probe, ...]

    @property
    def ok(self) -> bool:
        return all(probe.state != "failed" for probe in self.probes)


async def probe_all(providers: dict[str, Provider], redirect_uris: dict[str, str]) -> list[Probed]:
    """All at once, `AT_ONCE` at a time; in the order of the config."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def bounded(name: str, provider: Provider) -> Probed:
        async with gate:
            prober = _Prober(provider, redirect_uris[name])
            try:
                async with asyncio.timeout(SECONDS):
                    await prober.run()
            except TimeoutError:
                told = f"it took longer than {SECONDS} s"
                prober.add("all", "failed", told, advice="The provider is very slow. Try again later.")
            finally:
                await prober.close()
        return Probed(id=name, title=provider.title, redirect_uri=redirect_uris[name], probes=tuple(prober.probes))

    return await asyncio.gather(*(bounded(name, provider) for name, provider in providers.items()))


class _Prober(Outbound):
    """Sends as the gateway does, and remembers the last reply to each call."""

    def __init__(self, provider: Provider, redirect_uri: str) -> None:
        super().__init__()
        self.original, self.provider = provider, labelled(provider)
        self.redirect_uri = redirect_uri
        self.probes: list[Probe] = []
        self._answers: dict[str, tuple[HttpCall, HttpReply | HttpFailure, int]] = {}
        self._metadata: Any = None

    def add(self, what: str, state: State, told: str, *, advice: str = "", call: HttpCall | None = None) -> None:
        milliseconds = next((ms for made, _, ms in self._answers.values() if made is call), 0)
        url = call.url.partition("?")[0] if call else ""
        probe = Probe(what=what, state=state, told=told, advice=advice, url=url, milliseconds=milliseconds)
        self.probes.append(probe)

    async def send(self, call: HttpCall) -> HttpReply | HttpFailure:
        label, call = unlabelled(call)
        started = time.perf_counter()
        answer = await super().send(call)
        if label != "metadata" or label not in self._answers:
            self._answers[label] = (call, answer, round((time.perf_counter() - started) * 1000))
        return answer

    async def run(self) -> None:
        started = await self.converse(
            wire.start(self.provider, state=random.token(), nonce=random.token(), **self._about())
        )
        self._judge_discovery(started)
        if "par" in self._answers:
            self._judge_credentials("pushed request", "par", started)
        elif isinstance(started, ProviderFailed) and "metadata" not in self._answers:
            self.add("authorize", "failed", _told(started), advice=advice(started))
        if isinstance(started, wire.AuthorizeUrl):
            await self._keys()
            await self._authorize(started.url)
        if not isinstance(started, ProviderFailed) or "par" in self._answers:
            await self._token()

    # --- one probe each ----------------------------------------------------------------------------------------------

    def _judge_discovery(self, started: Any) -> None:
        if "metadata" not in self._answers:
            return
        call, answer, _ = self._answers["metadata"]
        self._metadata = document_of(answer) if isinstance(answer, HttpReply) else None
        if isinstance(started, ProviderFailed) and "par" not in self._answers:
            self.add("discovery", "failed", _told(started), advice=advice(started), call=call)
        else:
            issuer = self._metadata.get("issuer") if isinstance(self._metadata, dict) else ""
            self.add("discovery", "ok", f"issuer {issuer}", call=call)

    async def _keys(self) -> None:
        oidc = self.original.definition.oidc
        url = oidc.jwks.text({**self.original.names(), "d": self._metadata or {}}) if oidc else None
        if url is None:
            return
        call = HttpCall(method="GET", url=url, headers=(("Accept", "application/json"),), trusted=True)
        document = await self._reached("keys", call)
        if document is None:
            return
        keys = document.get("keys") if isinstance(document, dict) else None
        if isinstance(keys, list) and keys:
            self.add("keys", "ok", f"{len(keys)} {'key' if len(keys) == 1 else 'keys'}", call=call)
        else:
            told = "no key set (RFC 7517 §5)"
            self.add("keys", "failed", told, advice="See `oidc.jwks`: id_tokens cannot be checked.", call=call)

    async def _authorize(self, url: str) -> None:
        """The page that a person would see, without cookies, and no further than one redirect."""
        call = HttpCall(method="GET", url=url.partition("#")[0], headers=(("Accept", "text/html"),), trusted=True)
        answer = await self._asked("authorize", call)
        if not isinstance(answer, HttpReply):
            return
        location = urljoin(call.url, answer.headers.get("location", ""))
        if 300 <= answer.status < 400 and location.startswith(self.redirect_uri):  # noqa: PLR2004
            params = dict(parse_qsl(urlsplit(location).query))
            told = error_of(self.original.definition.callback.err, params)
            if told is not None and told.code not in {"login_required", "interaction_required", "consent_required"}:
                hint = CODES.get(told.code, "Compare `vestibule providers explain` with the provider's documents.")
                self.add("authorize", "failed", f"sent back with {clean(told.words)[:200]}", advice=hint, call=call)
                return
        if answer.status >= 400:  # noqa: PLR2004
            hint = f"Open a login in a browser and read its page: is {self.redirect_uri} registered, is the id right?"
            self.add("authorize", "warning", f"answers {answer.status} to this request", advice=hint, call=call)
            return
        self.add("authorize", "ok", "redirects to its login" if location != call.url else "shows a page", call=call)

    async def _token(self) -> None:
        verifier = self._about()["verifier"]
        callback = {} if self.original.definition.callback.iss is None else {"iss": str(self._issuer())}
        ended = await self.converse(
            wire.redeem(self.provider, code=_CODE, callback=callback, **(self._about() | {"verifier": verifier}))
        )
        if "token" not in self._answers:
            if isinstance(ended, ProviderFailed) and ended.slug == "endpoint_unknown":
                self.add("token", "skipped", "its address is known after a login only")
            elif isinstance(ended, ProviderFailed):
                self.add("token", "failed", _told(ended), advice=advice(ended))
            return
        self._judge_credentials("token", "token", ended)

    def _issuer(self) -> str | None:
        found = self._metadata.get("issuer") if isinstance(self._metadata, dict) else None
        iss = self.original.definition.callback.iss
        return found or (iss.text(self.original.names()) if iss else None)

    def _judge_credentials(self, what: str, label: str, ended: Any) -> None:
        call, answer, _ = self._answers[label]
        if isinstance(answer, HttpFailure):
            failed = ProviderFailed("unavailable", f"provider_{answer.reason}")
            self.add(what, "failed", f"no answer: {answer.reason}", advice=advice(failed), call=call)
            return
        err = dict(calls(self.original.definition))[label].err
        told = error_of(err, document_of(answer))
        code = clean(told.code)[:80] if told is not None else ""
        if told is not None and (told.code in _BAD_CLIENT or (answer.status == 401 and told.kind != "refused")):  # noqa: PLR2004
            hint = CODES.get(told.code, CODES["invalid_client"])
            self.add(what, "failed", f"the client is not accepted: {code}", advice=hint, call=call)
        elif told is not None and told.kind == "refused":
            self.add(what, "ok", f"client accepted (it minds the made-up code only: {code})", call=call)
        elif told is not None and told.kind == "unavailable":
            self.add(what, "failed", f"in trouble: {code}", advice="Wait a minute and try again.", call=call)
        elif told is not None:
            self.add(what, "ok", f"answers; whether it accepts the client it does not say ({code})", call=call)
        elif not isinstance(ended, ProviderFailed):
            self.add(what, "ok", "client accepted", call=call)
        elif answer.status == 401:  # noqa: PLR2004
            hint = CODES["invalid_client"]
            self.add(what, "failed", "the client is not accepted: status 401", advice=hint, call=call)
        else:
            hint = f"Is `{label}.url` right? {advice(ended)}"
            self.add(what, "failed", f"no OAuth error but status {answer.status}", advice=hint, call=call)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _about(self) -> dict[str, Any]:
        verifier = random.token(48) if self.original.pkce else None
        about: dict[str, Any] = {"redirect_uri": self.redirect_uri, "scopes": self.original.scopes_for(())}
        return about | {"verifier": verifier, "now": int(time.time()), "uuid": random.row_id()}

    async def _asked(self, what: str, call: HttpCall) -> HttpReply | None:
        started = time.perf_counter()
        answer = await super().send(call)
        self._answers[what] = (call, answer, round((time.perf_counter() - started) * 1000))
        if isinstance(answer, HttpReply) and answer.status < 500:  # noqa: PLR2004
            return answer
        reason = answer.reason if isinstance(answer, HttpFailure) else "unavailable"
        failed = ProviderFailed("unavailable", f"provider_{reason}")
        told = f"no answer: {reason}" if isinstance(answer, HttpFailure) else f"answers {answer.status}"
        self.add(what, "failed", told, advice=advice(failed), call=call)
        return None

    async def _reached(self, what: str, call: HttpCall) -> Any:
        answer = await self._asked(what, call)
        return None if answer is None else document_of(answer) or {}


def _told(failed: ProviderFailed) -> str:
    return f"{failed.slug}: {readable(failed.detail)}" if failed.detail else failed.slug
