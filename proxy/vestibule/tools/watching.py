"""`outbound` with somebody watching: each request and reply as it may be shown."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct

from vestibule.model import HttpCall, HttpFailure, HttpReply
from vestibule.outbound import Outbound
from vestibule.provider.calls import document_of, error_of
from vestibule.provider.definition import Call, Definition, HopOut, IdentityCall
from vestibule.tools.labels import calls, unlabelled
from vestibule.tools.masking import Masker


class Exchanged(Struct, frozen=True, kw_only=True):
    """One request and its reply, masked."""

    label: str
    method: str
    url: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    form: tuple[tuple[str, str], ...]
    body: str
    status: int | None
    """None: there was no reply, and `reply` says why."""
    media_type: str
    reply: str
    milliseconds: int


class Watched(Outbound):
    """Tells what is sent and what comes; learns every token of a reply before it tells the reply."""

    def __init__(self, definition: Definition, masker: Masker, show: Callable[[Exchanged], None]) -> None:
        super().__init__()
        self._calls: dict[str, Call] = dict(calls(definition))
        self._masker, self._show = masker, show
        self._told: set[str] = set()
        self.documents: dict[str, Any] = {}
        """Of the identity calls, by name; pages as one list."""
        self.error_code: str | None = None

    async def send(self, call: HttpCall) -> HttpReply | HttpFailure:
        label, call = unlabelled(call)
        started = time.perf_counter()
        answer = await super().send(call)
        milliseconds = round((time.perf_counter() - started) * 1000)
        document = document_of(answer) if isinstance(answer, HttpReply) else None
        self._learn(label, document)
        if label != "metadata" or call.url not in self._told or isinstance(answer, HttpFailure):
            self._told.add(call.url)  # the second answer is one of the cache
            self._show(self._exchanged(label, call, answer, document, milliseconds))
        return answer

    def _learn(self, label: str, document: Any) -> None:
        """What the definition takes for a token is secret whatever it is called; so is every credential sent."""
        written = self._calls.get(label)
        out = getattr(written, "out", None)
        if isinstance(out, HopOut):
            for expression in (out.access_token, out.refresh_token, out.id_token):
                value = expression(document) if expression is not None else None
                self._masker.learn(value if isinstance(value, str) else None)
        told = error_of(written.err, document) if written is not None else None
        self.error_code = told.code if told else None
        kind, _, name = label.partition(".")
        if kind == "identity" and document is not None and told is None:
            paginate = written.paginate if isinstance(written, IdentityCall) else None
            items = None if paginate is None else paginate.items(document)
            self.documents[name] = [*self.documents.get(name, []), *items] if isinstance(items, list) else document

    def _exchanged(
        self, label: str, call: HttpCall, answer: HttpReply | HttpFailure, document: Any, milliseconds: int
    ) -> Exchanged:
        base, _, query = call.url.partition("?")
        kind = next((value for name, value in call.headers if name.lower() == "content-type"), "")
        is_form = kind == "application/x-www-form-urlencoded"
        form = parse_qsl(call.body.decode(), keep_blank_values=True) if is_form else []
        written = document_of(HttpReply(status=200, headers={"content-type": kind}, body=call.body))
        if isinstance(answer, HttpFailure):
            status, media_type, reply = None, "", f"{answer.reason}: {answer.detail}"
        else:
            status, media_type = answer.status, answer.headers.get("content-type", "").partition(";")[0]
            reply = self._reply(label, document, answer.body)
        return Exchanged(
            label=label,
            method=call.method,
            url=self._masker.text(base),
            query=self._masker.pairs(parse_qsl(query, keep_blank_values=True)),
            headers=self._masker.pairs(call.headers),
            form=self._masker.pairs(form),
            body="" if is_form or not call.body else self._masker.body(call.body, written),
            status=status,
            media_type=media_type,
            reply=reply,
            milliseconds=milliseconds,
        )

    def _reply(self, label: str, document: Any, body: bytes) -> str:
        if label == "metadata" and isinstance(document, dict):  # public, and long
            keys = document.get("keys")
            return f"keys: {len(keys)}" if isinstance(keys, list) else ", ".join(sorted(document))
        return self._masker.body(body, document)
