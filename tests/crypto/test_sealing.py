"""AES-256-GCM at rest: who may open what, and where."""

import pytest

from vestibule.crypto.digests import sha256
from vestibule.crypto.sealing import SealBroken, Sealer, open_under, seal_under
from vestibule.model import Secret

OLD, NEW = Secret("o" * 43), Secret("n" * 43)
TEXT = Secret("the provider's token, with ümlauts")
ROW = ("access", "github", "connection-1")


def test_what_is_sealed_opens_in_its_place():
    """The token comes back, as a Secret."""
    sealer = Sealer([NEW])
    assert sealer.open(sealer.seal(TEXT, *ROW), *ROW) == TEXT


def test_the_box_says_nothing():
    """Neither the text nor twice the same bytes: a nonce is never used again."""
    sealer = Sealer([NEW])
    boxes = {sealer.seal(TEXT, *ROW) for _ in range(100)}
    assert len(boxes) == 100
    assert not any(b"token" in box for box in boxes)


@pytest.mark.parametrize(
    "elsewhere",
    [
        ("access", "github", "connection-2"),
        ("refresh", "github", "connection-1"),
        ("access", "gitlab", "connection-1"),
        ("access", "github"),
        ("access", "githubconnection-1"),
        ("accessgithub", "", "connection-1"),
        ("access", "github", "connection-1", ""),
        (),
    ],
    ids=str,
)
def test_attack_swapped_sealed_rows(elsewhere):
    """Gateway attack list: a box moved to another row, column or provider does not open, however the parts are cut."""
    sealer = Sealer([NEW])
    with pytest.raises(SealBroken):
        sealer.open(sealer.seal(TEXT, *ROW), *elsewhere)


def test_attack_sealed_row_changed():
    """GCM: not one bit may differ, nonce, key id, text and tag alike."""
    sealer = Sealer([NEW])
    box = sealer.seal(TEXT, *ROW)
    for place in range(len(box)):
        with pytest.raises(SealBroken):
            sealer.open(box[:place] + bytes([box[place] ^ 1]) + box[place + 1 :], *ROW)


@pytest.mark.parametrize("length", [0, 3, 4, 5, 15, 16, 31, 32])
def test_attack_sealed_row_truncated(length):
    """Cut off anywhere, it is broken and nothing worse."""
    sealer = Sealer([NEW])
    with pytest.raises(SealBroken):
        sealer.open(sealer.seal(TEXT, *ROW)[:length], *ROW)


def test_rotation_old_opens_new_seals():
    """Design decision 20: the first of the list seals, all open; once the old one is gone, so is what it sealed."""
    before, during, after = Sealer([OLD]), Sealer([NEW, OLD]), Sealer([NEW])
    old, new = before.seal(TEXT, *ROW), during.seal(TEXT, *ROW)
    assert during.open(old, *ROW) == TEXT
    assert after.open(new, *ROW) == TEXT
    with pytest.raises(SealBroken):
        before.open(new, *ROW)
    with pytest.raises(SealBroken):
        after.open(old, *ROW)


def test_a_secret_listed_twice_counts_once():
    """A list edited in a hurry still works."""
    assert Sealer([NEW, NEW]).open(Sealer([NEW]).seal(TEXT, *ROW), *ROW) == TEXT


def test_sealed_under_a_token_opens_with_that_token_only():
    """Design decision 17: what the database holds, the digest of the token above all, does not open the successor."""
    box = seal_under("vst_rt_old", TEXT, "grant", "client")
    assert open_under("vst_rt_old", box, "grant", "client") == TEXT
    for wrong in ("vst_rt_other", "", sha256("vst_rt_old").hex()):
        with pytest.raises(SealBroken):
            open_under(wrong, box, "grant", "client")


@pytest.mark.parametrize("elsewhere", [("grant", "other"), ("grant",), ("client", "grant"), ("grantclient",)], ids=str)
def test_sealed_under_a_token_is_bound_to_its_question(elsewhere):
    """Design decision 17: AAD is grant, client, resource, scopes, successor and expiry."""
    with pytest.raises(SealBroken):
        open_under("vst_rt_old", seal_under("vst_rt_old", TEXT, "grant", "client"), *elsewhere)


@pytest.mark.parametrize("box", [b"", b"\0" * 12, b"\0" * 40], ids=len)
def test_sealed_under_a_token_garbage_is_broken(box):
    """A damaged column refuses; it does not crash the token endpoint."""
    with pytest.raises(SealBroken):
        open_under("vst_rt_old", box)
