"""Housekeeping, off the request path: ends what is idle, deletes what is over."""

import asyncio

import structlog

from vestibule.service import connections
from vestibule.service.gateway import Gateway
from vestibule.storage import sweep

EVERY_SECONDS = 3600
_MOST_BATCHES = 200
_PAUSE_SECONDS = 0.05
log = structlog.get_logger("vestibule.janitor")


async def clean(gateway: Gateway) -> int:
    """One round; the number of deleted rows. Provider tokens that no family uses any more are revoked on the way."""
    deleted = 0
    for _ in range(_MOST_BATCHES):
        now = gateway.now()
        async with gateway.database.write() as db:
            idle = await sweep.end_idle_families(db, now)
            gone = await sweep.delete_expired(db, now)
        for connection_id in {found for found in idle if found is not None}:
            await connections.end_if_unused(gateway, connection_id)
        deleted += gone
        if not idle and not gone:
            break
        await asyncio.sleep(_PAUSE_SECONDS)  # requests go first
    if deleted:
        log.info("rows_deleted", count=deleted)
    return deleted


async def run(gateway: Gateway) -> None:
    """Until cancelled; a round that fails is logged, and the next one tries again."""
    while True:
        try:
            await clean(gateway)
        except Exception:
            log.exception("housekeeping_failed")
        await asyncio.sleep(EVERY_SECONDS)
