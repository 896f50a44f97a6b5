"""The only source of randomness: sizes, alphabets and shapes."""

import math
import re

import pytest

from vestibule.crypto import random
from vestibule.crypto.digests import BASE62, well_formed_key
from vestibule.model import KeyKind


@pytest.mark.parametrize("kind", KeyKind)
@pytest.mark.parametrize("prefix", ["vst", "a1", "abcdefgh12345678"])
def test_key_text(prefix, kind):
    """Design decision 14: `<prefix>_<kind>_<random>`, so that secret scanners find leaked ones."""
    text = random.key_text(prefix, kind)
    assert re.fullmatch(rf"{prefix}_{kind.value}_[A-Za-z0-9]{{49}}", text)
    assert well_formed_key(text)


def test_keys_carry_256_bits():
    """RFC 6749 §10.10 asks for 128; design decision 14 for 256."""
    assert random.KEY_CHARACTERS * math.log2(len(BASE62)) >= 256


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (random.token, r"[A-Za-z0-9_-]{43}"),
        (random.row_id, r"[A-Za-z0-9_-]{20}"),
        (random.trace_id, r"[0-9a-f]{32}"),
    ],
)
def test_texts_are_safe_everywhere(make, shape):
    """Protocol rule 4: ids and secrets only from [A-Za-z0-9_-], which no encoding changes; trace ids as W3C says."""
    made = {make() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(shape, text) for text in made)
