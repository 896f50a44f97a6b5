"""Admissions by key digest: a bounded LRU over the store, so that the gated path asks no database.

An entry lives 60 s (an unknown key 5 s) and never past its expiry. It is inserted only if no revocation passed since
its read began: otherwise a slow read could bring a revoked key back to life. Misses are single-flight per digest.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from vestibule.model import ConnectionRecord, KeyRecord, Principal, Secret

POSITIVE_SECONDS = 60
NEGATIVE_SECONDS = 5
MOST_ENTRIES = 50_000
MOST_UNKNOWN = 5_000
"""Unknown keys have a place of their own: anybody can make some up, and must not push out the good ones."""


class Admission(Struct, kw_only=True, eq=False):
    """A key that was let in: all that the gate needs for a request, ready to use.

    Not frozen: the provider's token and the signed identity JWT are replaced in place while the entry lives.
    """

    key: KeyRecord
    principal: Principal
    sub: str
    client_id: str
    permissions: frozenset[str]
    """Granted ∩ configured."""
    until: int
    """Epoch seconds; the cache asks the store again after this."""
    connection: ConnectionRecord | None = None
    provider_token: Secret | None = None
    provider_kept: Mapping[str, str] = {}
    """What the provider said that its API calls need (`Tokens.kept`)."""
    revoked: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Identity headers towards the backend."""
    identity_jwt: str = ""
    identity_jwt_until: int = 0


class KeyCache:
    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[int, Admission]] = OrderedDict()
        self._unknown: OrderedDict[bytes, int] = OrderedDict()
        self._live: dict[Callable[[], object], Admission] = {}
        self._epoch = 0
        self._loading: dict[bytes, asyncio.Task[Admission | None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, digest: bytes, now: int) -> tuple[bool, Admission | None]:
        """(found, admission or None for a key known to be bad); about a microsecond."""
        entry = self._entries.get(digest)
        if entry is not None and now < entry[0]:
            self._entries.move_to_end(digest)
            return True, entry[1]
        return now < self._unknown.get(digest, 0), None

    async def load(self, digest: bytes, now: int, read: Callable[[], Awaitable[Admission | None]]) -> Admission | None:
        """Ask the store once, however many requests wait for the same key.

        The task is shielded: the first request's client may hang up without failing the others.
        """
        task = self._loading.get(digest)
        if task is None or task.done():  # a finished one is older than a revocation that was applied since
            task = asyncio.create_task(self._load(digest, now, read))
            self._loading[digest] = task
            task.add_done_callback(lambda _: self._loading.pop(digest, None))
        return await asyncio.shield(task)

    async def _load(self, digest: bytes, now: int, read: Callable[[], Awaitable[Admission | None]]) -> Admission | None:
        while True:
            epoch = self._epoch
            admission = await read()
            if epoch == self._epoch:
                break  # no revocation passed meanwhile: what was read is true
        if admission is None:
            self._unknown[digest] = now + NEGATIVE_SECONDS
            _trim(self._unknown, MOST_UNKNOWN)
        else:
            self._entries[digest] = (min(admission.until, now + POSITIVE_SECONDS), admission)
            self._entries.move_to_end(digest)
            _trim(self._entries, MOST_ENTRIES)
        return admission

    @contextmanager
    def live(self, admission: Admission, end: Callable[[], object]) -> Iterator[None]:
        """While this is open, `end` is called when the key is revoked: streams must not outlive their key."""
        self._live[end] = admission
        try:
            yield
        finally:
            del self._live[end]

    def forget(self, dead: Callable[[Admission], bool]) -> None:
        """Drop what `dead` names, end what runs on it, and let no read that began earlier be inserted."""
        self._epoch += 1
        for digest in [d for d, (_, entry) in self._entries.items() if dead(entry)]:
            self._entries.pop(digest)[1].revoked = True  # for whoever was admitted by it and is not `live` yet
        for end in [end for end, admission in self._live.items() if dead(admission)]:
            end()

    def clear(self) -> None:
        """Forget everything: revocations may have been missed."""
        self._epoch += 1
        self._entries.clear()


def _trim(entries: OrderedDict[bytes, Any], most: int) -> None:
    while len(entries) > most:
        entries.popitem(last=False)
