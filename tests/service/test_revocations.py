"""Revocations reach every process, fast, and a watcher that lost its way trusts nothing."""

import asyncio
import contextlib
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from service.test_cache import Store, admission
from storage.records import NOW, add_family, add_key
from vestibule.service import revocations as module
from vestibule.service.cache import KeyCache
from vestibule.service.revocations import RevocationLog
from vestibule.storage import grants, keys
from vestibule.storage.database import Database


@pytest.fixture
async def cache(database):
    """With one key of family-1 in it, as a request would have left it."""
    await add_family(database)
    await add_key(database)
    cache = KeyCache()
    await cache.load(b"d", NOW, Store(admission("key-1")))
    return cache


@asynccontextmanager
async def watching(log):
    await log.start()
    task = asyncio.create_task(log.watch())
    await asyncio.sleep(0.1)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_revocation_of_another_process_is_effective_in_100_ms(database, url, cache, other_process):
    """Design decision 16; measured from the other process's answer to the moment when a stream on the key is ended."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    async with watching(RevocationLog(database, cache)):
        with cache.live(cache.peek(b"d", NOW)[1], ended.set):
            other_process.ask(url=url, do="revoke_family", runner="other")
            assert await asyncio.to_thread(other_process.answer)
            answered = loop.time()
            await asyncio.wait_for(ended.wait(), 3)
            assert loop.time() - answered < 0.1
    assert cache.peek(b"d", NOW) == (False, None)


@pytest.mark.parametrize("what", ["key", "family"])
async def test_our_own_revocation_is_effective_when_catch_up_returns(database, cache, what):
    """RFC 7009 §2: "immediately"; no watcher is needed for what this process did."""
    log = RevocationLog(database, cache)
    await log.start()
    await log.catch_up()
    assert cache.peek(b"d", NOW)[0]
    async with database.write() as db:
        await (keys.revoke_key(db, "key-1", NOW) if what == "key" else grants.revoke_family(db, "family-1", "x", NOW))
    await log.catch_up()
    assert cache.peek(b"d", NOW) == (False, None)


async def test_somebody_elses_revocation_leaves_the_entry(database, cache):
    """Only what is named goes."""
    await add_family(database, id="family-2")
    log = RevocationLog(database, cache)
    await log.start()
    async with database.write() as db:
        await grants.revoke_family(db, "family-2", "x", NOW)
    await log.catch_up()
    assert cache.peek(b"d", NOW)[0]


async def test_the_past_is_not_applied_at_the_start(database):
    """A start begins with the log's end: the cache is empty, so there is nothing that it could concern."""
    await add_family(database)
    async with database.write() as db:
        await grants.revoke_family(db, "family-1", "x", NOW)
    cache = KeyCache()
    log = RevocationLog(database, cache)
    await log.start()
    await cache.load(b"d", NOW, Store(admission("key-1")))
    await log.catch_up()
    assert cache.peek(b"d", NOW)[0]


async def test_each_revocation_is_applied_once(database, cache):
    """Twenty callers at once: the log is read in order, and nobody forgets twice."""
    log, forgotten = RevocationLog(database, cache), []
    await log.start()
    with cache.live(cache.peek(b"d", NOW)[1], lambda: forgotten.append(True)):
        async with database.write() as db:
            await grants.revoke_family(db, "family-1", "x", NOW)
        await asyncio.gather(*(log.catch_up() for _ in range(20)))
    assert forgotten == [True]


class Flaky(Database):
    broken = False

    @asynccontextmanager
    async def read_aside(self):
        if self.broken:
            raise OSError("disk I/O error")
        async with super().read_aside() as db:
            yield db


async def test_a_watcher_survives_an_error_and_clears_the_cache(database, url, cache, monkeypatch):
    """Decision 16: whatever goes wrong, nothing cached is trusted, and afterwards no revocation was missed."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    flaky = Flaky(url)
    async with watching(RevocationLog(flaky, cache)) as task:
        flaky.broken = True
        async with database.write() as db:
            await db.execute(text("UPDATE users SET seen_at = 1"))
        await asyncio.sleep(0.2)
        assert len(cache) == 0
        async with database.write() as db:
            await grants.revoke_family(db, "family-1", "x", NOW)
        flaky.broken = False
        ended = asyncio.Event()
        with cache.live(admission("key-1"), ended.set):
            await asyncio.wait_for(ended.wait(), 3)
        assert not task.done()
    await flaky.close()
