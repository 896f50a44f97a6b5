"""Authorization codes: used once, marked, and found again for telling a replay from noise."""

from msgspec import structs

from storage.records import CODE, NOW, add_code, add_family, undone
from vestibule.storage import codes


async def test_attack_code_replayed(database):
    """RFC 6749 §4.1.2: the second use gets nothing, and the record still says when the first one was."""
    await add_family(database)
    await add_code(database)
    used = structs.replace(CODE, used_at=NOW + 5)
    async with database.write() as db:
        assert await codes.use_code(db, CODE.digest, NOW + 5) == used
        assert await codes.use_code(db, CODE.digest, NOW + 6) is None
    async with database.read() as db:
        assert await codes.find_code(db, CODE.digest) == used


async def test_unknown_code(database):
    """Nothing is marked, nothing is found; a prefix of a digest is no digest."""
    await add_family(database)
    await add_code(database)
    for digest in (b"", CODE.digest[:-1], CODE.digest + b"c", b"x" * 32):
        async with database.write() as db:
            assert await codes.use_code(db, digest, NOW) is None
            assert await codes.find_code(db, digest) is None


async def test_a_refused_use_leaves_the_code(database):
    """Design decision 18: the mark is part of the transaction, so a thief without the verifier cannot burn a code."""
    await add_family(database)
    await add_code(database)
    async with undone(database) as db:
        assert await codes.use_code(db, CODE.digest, NOW)
    async with database.write() as db:
        assert await codes.use_code(db, CODE.digest, NOW)
