"""Patterns: what they mean, that they cannot be made to run for long, and what they let through."""

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.provider.pattern import MAX_STATES, MAX_VALUE_CHARS, Pattern, Run
from vestibule.provider.template import BadTemplate


@pytest.mark.parametrize(
    ("source", "fits", "fits_not"),
    [
        ("abc", ["abc"], ["ab", "abcd", "xabc", "ABC", "abc\n", ""]),
        ("^abc$", ["abc"], ["xabc", "abcx", "abc\n"]),
        ("a|bc|", ["a", "bc", ""], ["abc", "b"]),
        ("[a-c_-]", ["a", "c", "_", "-"], ["d", "", "ab"]),
        ("[^/?#]+", ["x.y", "é"], ["a/b", "?", ""]),
        (r"\d{2,3}", ["12", "123"], ["1", "1234", "٣٣"]),
        (r"\w+\.\w+", ["a.b"], ["a", "ab", "é.b"]),
        (r"a{2}b{0,1}c{1,}", ["aac", "aabccc"], ["ac", "aabbc", "aab"]),
        ("(ab)*(?:c|d)?", ["", "abab", "abd"], ["aba", "cd"]),
        (".", ["x", "é", "/"], ["", "\n", "xy"]),
        (r"[\d\-\]]+", ["1-]"], ["a"]),
        (r"\S\D\W", ["a-!"], ["a-a", " -!"]),
    ],
)
def test_pattern_matches_the_whole_value(source, fits, fits_not):
    """`https://good.example` must not admit what only begins or ends with it."""
    pattern = Pattern(source)
    assert [value for value in fits if not pattern.matches(value)] == []
    assert [value for value in fits_not if pattern.matches(value)] == []


@pytest.mark.parametrize(
    "source",
    [
        *("(", ")", "[", "[]", "a)", "(a", "a**", "a+?", "a{", "a{x}", "a{2,1}", "a{999}", "*", "?", "+a", "\\", "a\\"),
        *("(?=a)", "(?!a)", "(?<=a)", "(?i)a", "(?P<n>a)", r"(a)\1", r"\b", r"\A", r"\x41", "[b-a]", "a^b", "a$b"),
        *("ü", "[ü]", "(" * 30 + ")" * 30, "a" * 501, 5, None, ["a"]),
    ],
    ids=str,
)
def test_attack_pattern_outside_of_the_language(source):
    """No look-around, reference, flag or lazy repeat: what cannot be judged is not admitted."""
    with pytest.raises(BadTemplate, match="regular expression"):
        Pattern(source)


@pytest.mark.parametrize("nothing", ["", "a{0}", "(a{0}|b{0}){0}", "a{0}b{0}"])
def test_attack_pattern_that_repeats_nothing(nothing):
    """It makes no state, so the limit of states never ends its repeats: four nested ones are four billion."""
    started = time.perf_counter()
    source = "(" * 16 + nothing + "){255}" * 16
    assert Pattern(source).matches("")
    assert not Pattern(source).matches("a")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "source", ["(a+)+$", "(a|a)*b", "(a*)*b", "(.*)*x", "(a|aa)+$", "((a+)+)+b", r"(\w+\s?)*x", "(a?){50}a{50}"]
)
def test_attack_catastrophic_pattern(source):
    """A backtracking engine takes for ever; here it is steps times states, whatever the pattern."""
    started = time.perf_counter()
    Pattern(source).matches("a" * MAX_VALUE_CHARS + "!")
    assert time.perf_counter() - started < 2


def test_attack_pattern_of_many_states():
    """Counts multiply: a pattern of twenty characters must not fill the memory."""
    with pytest.raises(BadTemplate, match=f"more than {MAX_STATES} states"):
        Pattern("(((a{99}){99}){99}){99}")


def test_attack_long_value():
    """What is longer than any URL fits nothing."""
    assert Pattern("a*").matches("a" * MAX_VALUE_CHARS)
    assert not Pattern("a*").matches("a" * (MAX_VALUE_CHARS + 1))


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "1", "-"])
SOURCES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})")
        | st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{0,2}", "{1,}"])).map(lambda p: f"({p[0]}){p[1]}")
    ),
    max_leaves=6,
)


@given(SOURCES, st.text(alphabet="ab1-\n", max_size=6))
def test_pattern_means_what_re_means(source, text):
    """Within the subset: people know regular expressions, so these are some."""
    with suppress(BadTemplate):
        assert Pattern(source).matches(text) == bool(re.fullmatch(source, text, re.ASCII))


@given(st.text(max_size=30))
def test_any_source_is_a_pattern_or_refused(source):
    with suppress(BadTemplate):
        Pattern(source).matches(source)


def shown(pattern):
    forms = Pattern(pattern).forms()
    return forms and ["".join("*" if isinstance(part, Run) else part for part in form) for form in forms]


@pytest.mark.parametrize(
    ("source", "forms"),
    [
        (r"https://a\.(com|eu)", ["https://a.com", "https://a.eu"]),
        ("[a-z]+", ["*"]),
        ("x[a-z]*y", ["xy", "x*y"]),
        ("ab?c", ["ac", "abc"]),
        ("(ab){1,2}", ["ab", "abab"]),
        ("(ab)+", ["*"]),
        ("(a|b)(c|d)", ["ac", "ad", "bc", "bd"]),
        ("(a|b){50}", ["*"]),
        ("(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)", None),
    ],
)
def test_forms_of_a_pattern(source, forms):
    """Fixed texts and runs; what has too many forms has none, and is judged to be anything."""
    assert shown(source) == forms


@given(SOURCES, st.text(alphabet="ab1-\n", max_size=5))
def test_forms_hold_every_match(source, text):
    """The judgement about hosts stands on this: nothing is let through that no form shows."""
    with suppress(BadTemplate):
        pattern = Pattern(source)
        forms = pattern.forms()
        if forms is not None and pattern.matches(text):
            assert any(_made_by(form, text) for form in forms)


def _made_by(form, text):
    if not form:
        return not text
    first, *rest = form
    if isinstance(first, str):
        return text.startswith(first) and _made_by(rest, text[len(first) :])
    return any(
        all(char in first.chars for char in text[:n]) and _made_by(rest, text[n:]) for n in range(1, len(text) + 1)
    )
