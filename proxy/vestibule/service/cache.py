"""Admissions by key digest: a bounded LRU over the store, so that the gated path asks no database.

An entry lives 60 s (an unknown key 5 s) and never past its expiry. It is inserted only if no revocation passed since
its read began: otherwise a slow read could bring a revoked key back to life. Misses are single-flight per digest.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from vestibule.model import ConnectionRecord, KeyRecord, Principal, Secret

POSITIVE_SECONDS = 60
NEGATIVE_SECONDS = 5
MOST_ENTRIES = 50_000


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
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Identity headers towards the backend."""
    identity_jwt: str = ""
    identity_jwt_until: int = 0


class KeyCache:
    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, tuple[int, Admission | None]] = OrderedDict()
        self._epoch = 0
        self._loading: dict[bytes, asyncio.Task[Admission | None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, digest: bytes, now: int) -> tuple[bool, Admission | None]:
        """(found, admission or None for a key known to be bad); about a microsecond."""
        entry = self._entries.get(digest)
        if entry is None or now >= entry[0]:
            return False, None
        self._entries.move_to_end(digest)
        return True, entry[1]

    async def load(self, digest: bytes, now: int, read: Callable[[], Awaitable[Admission | None]]) -> Admission | None:
        """Ask the store once, however many requests wait for the same key.

        The task is shielded: the first request's client may hang up without failing the others.
        """
        task = self._loading.get(digest)
        if task is None:
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
        until = now + NEGATIVE_SECONDS if admission is None else min(admission.until, now + POSITIVE_SECONDS)
        self._entries[digest] = (until, admission)
        while len(self._entries) > MOST_ENTRIES:
            self._entries.popitem(last=False)
        return admission

    def forget(self, dead: Callable[[Admission], bool]) -> None:
        """Drop what `dead` names, and let no read that began earlier be inserted."""
        self._epoch += 1
        for digest in [d for d, (_, entry) in self._entries.items() if entry is not None and dead(entry)]:
            del self._entries[digest]

    def clear(self) -> None:
        """Forget everything: revocations may have been missed."""
        self._epoch += 1
        self._entries.clear()
