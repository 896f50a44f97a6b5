"""The writing language."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.provider.template import (
    FILTERS,
    MAX_FILTERS,
    MAX_RESULT_CHARS,
    BadTemplate,
    Template,
    Unrenderable,
)

NAMES = {
    "p": {"base": "https://x.example", "empty": "", "yes": True, "n": 7, "list": ["a", 1], "ü": "Grüße"},
    "code": "c/1 &",
    "gone": None,
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$5 {x} $", "$5 {x} $"),
        ("${p.base}/token/", "https://x.example/token/"),
        ("${ p.base }", "https://x.example"),
        ("${p.base}${p.n}", "https://x.example7"),
        ("${p.yes}", "true"),
        ("${p.empty}", ""),
        ("${gone ?? code}", "c/1 &"),
        ("${gone ?? p.nowhere ?? 'none'}", "none"),
        ("${p.empty ?? code}", ""),
        ("${gone ?? ''}", ""),
        ("${'}'}", "}"),
        ("${code|urlencode}", "c%2F1%20%26"),
        ("${code|base64}", "Yy8xICY="),
        ("${code|base64url}", "Yy8xICY"),
        ("${code|slice(0, 2)}", "c/"),
        ("${code|slice(-1)}", "&"),
        ("${p.list|join(',')}", "a,1"),
        ("${code|concat(':', p.n)|lower}", "c/1 &:7"),
        ("${gone|lower ?? code|slice(0,1)}", "c"),
        ("${'abc'|sha256_hex|slice(0, 8)}", "ba7816bf"),
        ("${'abc'|md5_hex}", "900150983cd24fb0d6963f7d28e17f72"),
        (
            "${'what do ya want for nothing?'|hmac_sha256_hex('Jefe')}",  # RFC 4231 §4.3
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
    ],
)
def test_template_writes(source, text):
    """Provider language: `${path}`, `${a ?? b}`, `${x|filter}`, `${x|filter(argument)}`."""
    assert Template(source).text(NAMES) == text


@pytest.mark.parametrize(
    "source",
    [
        "${gone}",
        "${nowhere}",
        "${p.base.deeper}",
        "Bearer ${gone}",
        "${gone|base64}",
        "${code|concat(gone)}",
        "${p.list.0}",
    ],
)
def test_null_is_contagious(source):
    """A null parameter is not sent, so `Bearer None` cannot be."""
    assert Template(source).text(NAMES) is None


def test_lone_value_keeps_its_type():
    """JSON bodies need numbers and booleans, not their spelling."""
    assert Template("${p.yes}").value(NAMES) is True
    assert Template("${p.list}").value(NAMES) == ["a", 1]
    assert Template(100).value(NAMES) == 100
    assert Template(100).text(NAMES) == "100"
    assert Template(True).text(NAMES) == "true"


@pytest.mark.parametrize(
    "source",
    [
        "${",
        "${a",
        "x ${a} ${",
        "${}",
        "${a b}",
        "${a ??}",
        "${?? a}",
        "${a|}",
        "${a|nope}",
        "${a|__class__}",
        "${a|join}",
        "${a|lower(1)}",
        "${a|join(',', ';')}",
        "${a|join(,)}",
        "${a|join(','}",
        "${a.}",
        "${.a}",
        "${a..b}",
        "${a[0]}",
        "${a()}",
        "${1 + 1}",
        "${'a}",
        "${" + "|".join(["a"] + ["lower"] * (MAX_FILTERS + 1)) + "}",
        "x" * 2001,
        None,
        1.5,
        ["a"],
    ],
    ids=str,
)
def test_bad_template_is_found_when_it_compiles(source):
    """Unknown filters, wrong arity and broken syntax are errors of the definition, not of a user's login."""
    with pytest.raises(BadTemplate):
        Template(source)


@pytest.mark.parametrize(
    "source",
    [
        "${p}",
        "${p.list}",
        "${p.list|lower}",
        "${code|join(',')}",
        "${big}",
        "${float}",
        "${code|slice('a')}",
        "${half}",
    ],
)
def test_value_without_text_is_no_text(source):
    """Objects, arrays, fractions, enormous numbers and lone surrogates have no spelling to be trusted."""
    names = {**NAMES, "big": 1 << 64, "float": 1.5, "half": "\ud800"}
    with pytest.raises(Unrenderable):
        Template(source).text(names)


def test_attack_output_is_bounded():
    """A reply of a megabyte must not become a header, however it is repeated or encoded."""
    with pytest.raises(Unrenderable):
        Template("${x}").text({"x": "a" * (MAX_RESULT_CHARS + 1)})
    with pytest.raises(Unrenderable):
        Template("${x}" * 400).text({"x": "a" * 1000})
    with pytest.raises(Unrenderable):
        Template("${x" + "|urlencode" * MAX_FILTERS + "}").text({"x": "/" * 40_000})


@pytest.mark.parametrize("source", ["${" + "'" * 1990, "${a" * 600, "${'a'" * 300, "${a|concat(" * 150])
def test_attack_compiling_is_bounded(source):
    """No input makes the placeholder pattern backtrack for long."""
    started = time.perf_counter()
    with pytest.raises(BadTemplate):
        Template(source)
    assert time.perf_counter() - started < 1


def test_paths_and_roots():
    """What the check of names asks a template for, arguments included."""
    template = Template("a${p.base}b${t.x ?? code|concat(client.secret)}")
    assert template.paths == {("p", "base"), ("t", "x"), ("code",), ("client", "secret")}
    assert template.roots == {"p", "t", "code", "client"}


def test_pattern_of_unknown_values():
    """Where a value is not known yet there may be one path segment, and everything else is literal."""
    pattern = Template("https://x.example/${id.tid}/v2.0").pattern({})
    assert pattern.fullmatch("https://x.example/9188040d/v2.0")
    assert not pattern.fullmatch("https://x.example/a/b/v2.0")
    assert not pattern.fullmatch("https://xaexample/a/v2.0")
    assert not pattern.fullmatch("https://x.example//v2.0")


@given(st.text(max_size=60))
def test_compiling_ends_in_a_template_or_an_error(source):
    """Any text is one or the other; what compiles renders, or says why not."""
    for text in (source, "${" + source + "}"):
        try:
            template = Template(text)
        except BadTemplate:
            continue
        with suppress(Unrenderable):
            template.text(NAMES)


@given(st.sampled_from(sorted(FILTERS)), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_filters_end_in_text_or_an_error(name, value):
    """Replies reach filters: whatever they hold, the outcome is text, null or Unrenderable."""
    arguments = {0: "", 1: "(x)", 2: "(x, x)"}[FILTERS[name][1]]
    try:
        text = Template(f"${{x|{name}{arguments}}}").text({"x": value})
    except Unrenderable:
        return
    assert text is None or isinstance(text, str)
