"""The cache of admissions: bounds, lifetimes, single flight, and revocations that pass while it is filled."""

import asyncio
import contextlib

import pytest
from msgspec import structs

from storage.records import ADA, KEY, NOW
from vestibule.service import cache as module
from vestibule.service.cache import Admission, KeyCache


def admission(name="key-1", *, until=NOW + 60):
    return Admission(
        key=structs.replace(KEY, id=name),
        principal=ADA,
        sub=name,
        client_id="client-1",
        permissions=frozenset({"read"}),
        until=until,
    )


class Store:
    """Answers each read with the next of its answers; counts; waits while it is shut."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self):
        self.reads += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await self.open.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def cache():
    return KeyCache()


@pytest.mark.parametrize(
    ("entry", "until"),
    [
        (admission(until=NOW + 3600), 60),
        (admission(until=NOW + 60), 60),
        (admission(until=NOW + 7), 7),
        (admission(until=NOW - 1), 0),
        (None, 5),
    ],
    ids=["long", "sixty", "short", "past", "unknown"],
)
async def test_lifetime(cache, entry, until):
    """Design decision 16: 60 s, a key that nobody knows 5 s, and never past its expiry."""
    await cache.load(b"d", NOW, Store(entry))
    if until:
        assert cache.peek(b"d", NOW + until - 1) == (True, entry)
    assert cache.peek(b"d", NOW + until) == (False, None)


async def test_what_is_in_it_is_not_read_again_by_whoever_peeks(cache):
    """The gated path asks no database."""
    store = Store(admission())
    await cache.load(b"d", NOW, store)
    for _ in range(100):
        assert cache.peek(b"d", NOW)[0]
    assert store.reads == 1


async def test_the_least_recently_used_goes_first(cache, monkeypatch):
    """Bounded memory; who is used stays."""
    monkeypatch.setattr(module, "MOST_ENTRIES", 3)
    for digest in (b"a", b"b", b"c"):
        await cache.load(digest, NOW, Store(admission()))
    cache.peek(b"a", NOW)
    await cache.load(b"d", NOW, Store(admission()))
    assert {digest for digest in (b"a", b"b", b"c", b"d") if cache.peek(digest, NOW)[0]} == {b"a", b"c", b"d"}
    assert len(cache) == 3


async def test_attack_made_up_keys_push_out_nobody(cache, monkeypatch):
    """Anybody can make up keys that are well formed: they have a bounded place of their own."""
    monkeypatch.setattr(module, "MOST_ENTRIES", 3)
    monkeypatch.setattr(module, "MOST_UNKNOWN", 2)
    await cache.load(b"good", NOW, Store(admission()))
    for number in range(20):
        await cache.load(b"%d" % number, NOW, Store(None))
    assert cache.peek(b"good", NOW)[0]
    assert sum(cache.peek(b"%d" % number, NOW)[0] for number in range(20)) == 2


async def test_a_key_that_was_unknown_may_become_known(cache):
    """An imported key, or one that was read a moment before it was committed."""
    await cache.load(b"d", NOW, Store(None))
    entry = admission()
    assert await cache.load(b"d", NOW + 5, Store(entry)) is entry
    assert cache.peek(b"d", NOW + 5) == (True, entry)


async def test_fifty_waiters_make_one_read(cache):
    """Single flight per key: a burst of requests after a start costs one query."""
    store = Store(admission())
    store.open.clear()
    waiting = [asyncio.create_task(cache.load(b"d", NOW, store)) for _ in range(50)]
    await asyncio.sleep(0)
    store.open.set()
    assert len({id(found) for found in await asyncio.gather(*waiting)}) == 1
    assert store.reads == 1


async def test_a_cancelled_first_waiter_fails_nobody(cache):
    """The first client hung up; the others get their answer, and so does the cache."""
    store = Store(admission())
    store.open.clear()
    waiting = [asyncio.create_task(cache.load(b"d", NOW, store)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]
    store.open.set()
    assert all(await asyncio.gather(*waiting[1:]))
    assert (store.reads, cache.peek(b"d", NOW)[0]) == (1, True)


async def test_a_failed_read_is_not_remembered(cache):
    """An exception reaches everybody who waits, and the next request tries again."""
    store = Store(RuntimeError("database"), admission())
    store.open.clear()
    waiting = [asyncio.create_task(cache.load(b"d", NOW, store)) for _ in range(3)]
    await asyncio.sleep(0)
    store.open.set()
    finished = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in finished] == [RuntimeError] * 3
    assert await cache.load(b"d", NOW, store)


@pytest.mark.parametrize("passing", ["forget", "clear"])
async def test_attack_cache_filled_while_a_revocation_passes(cache, passing):
    """Decision 16: what was read before the revocation is neither kept nor handed out; it is read again."""
    store = Store(admission(), None)
    store.open.clear()
    waiting = asyncio.create_task(cache.load(b"d", NOW, store))
    await asyncio.sleep(0.01)
    assert store.reads == 1
    cache.clear() if passing == "clear" else cache.forget(lambda _: False)
    store.open.set()
    assert await waiting is None
    assert store.reads == 2
    assert cache.peek(b"d", NOW) == (True, None)


async def test_attack_cache_hands_out_what_a_revocation_has_passed(cache):
    """In the moment between the end of a read and its callbacks, a revocation is applied and a new request comes."""
    late = []

    async def read():
        asyncio.get_running_loop().call_soon(intrude)
        return admission()

    def intrude():
        cache.forget(lambda _: True)
        waiting = cache.load(b"d", NOW, Store(None))
        try:
            waiting.send(None)
        except StopIteration as stop:
            late.append(stop.value)
        else:
            waiting.close()

    await cache.load(b"d", NOW, read)
    await asyncio.sleep(0.01)
    assert late == []
    assert cache.peek(b"d", NOW) == (True, None)


async def test_forget_drops_what_is_named(cache):
    """One key, or all keys of a family; the others stay where they are."""
    for name in ("a", "b", "c"):
        await cache.load(name.encode(), NOW, Store(admission(name)))
    await cache.load(b"unknown", NOW, Store(None))
    cache.forget(lambda entry: entry.key.id in {"a", "b"})
    assert [cache.peek(name, NOW)[0] for name in (b"a", b"b", b"c", b"unknown")] == [False, False, True, True]


async def test_clear_drops_everything(cache):
    """Revocations may have been missed, so nothing cached is trusted."""
    await cache.load(b"a", NOW, Store(admission()))
    cache.clear()
    assert cache.peek(b"a", NOW) == (False, None)
    assert len(cache) == 0


async def test_streams_end_with_their_key(cache):
    """Design decision 16: an open stream is told, also after its entry has left the cache; others are not."""
    ended = []
    mine, other = admission("mine"), admission("other")
    with cache.live(mine, lambda: ended.append("mine")), cache.live(other, lambda: ended.append("other")):
        cache.clear()
        cache.forget(lambda entry: entry.key.id == "mine")
        assert ended == ["mine"]
    cache.forget(lambda _: True)
    assert ended == ["mine"]


async def test_two_streams_of_one_key_both_end(cache):
    """Each request registers for itself."""
    ended, entry = [], admission()
    with cache.live(entry, lambda: ended.append(1)), cache.live(entry, lambda: ended.append(2)):
        cache.forget(lambda _: True)
    assert sorted(ended) == [1, 2]


async def test_attack_cache_key_collision_gives_no_other_identity(cache):
    """CVE-2026-71326: flights and entries are kept by the whole digest, so that near misses are strangers."""
    digests = [b"\x00" * 31 + bytes([number]) for number in range(20)]
    digests += [bytes([number]) + b"\x00" * 31 for number in range(1, 20)]
    digests += [b"\x00" * 30, b"\x00" * 33, b""]
    found = await asyncio.gather(*(cache.load(digest, NOW, Store(admission(digest.hex()))) for digest in digests))
    assert [entry.sub for entry in found] == [digest.hex() for digest in digests]
    assert [cache.peek(digest, NOW)[1].sub for digest in digests] == [digest.hex() for digest in digests]
