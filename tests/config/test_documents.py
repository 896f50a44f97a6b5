"""YAML that remembers its lines, refuses what is ambiguous, and quotes nothing that could be secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.documents import BROKEN, ConfigError, Document, describe, dotted
from vestibule.reading import MAX_BYTES, parse, read

CANARY = "kanarienvogel"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("True", "True"),
        ("true", True),
        ("false", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("12", 12),
        ("-3", -3),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        (".inf", ".inf"),
        ("2026-07-28", "2026-07-28"),
        ("99999999999999999999", "99999999999999999999"),
        ('"true"', "true"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    """YAML 1.2.2 §10.3.2: a country code `no` or a time `1:30` is text."""
    found = parse(f"key: {text}", "f.yaml").value["key"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text():
    """As in JSON: `1:` and `true:` are names like any other."""
    assert parse("{1: a, true: b, null: c}", "f.yaml").value == {"1": "a", "true": "b", "null": "c"}


def test_places_know_their_lines():
    document = parse("a:\n  b:\n    - x\n    - c: 1\n      d:\n        2\n", "f.yaml")
    places = [("a",), ("a", "b"), ("a", "b", 0), ("a", "b", 1), ("a", "b", 1, "c"), ("a", "b", 1, "d"), ("a", "zz")]
    assert [document.line(place) for place in places] == [1, 2, 3, 4, 4, 6, 1]


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("a: [1\nb: 2", 2, "a syntax error: did not find expected ',' or ']'"),
        ("a:\n\t- b", 2, "a syntax error: found character that cannot start any token"),
        ("a: *nothing", 1, "a syntax error: found undefined alias '…'"),
        ("a: 1\n---\nb: 2", 2, "a syntax error: but found another document"),
        ("a: \x01", 1, "a control character"),
        ('a: "\\UFFFFFFFF"', 1, "a syntax error: found invalid Unicode character escape code"),
        ("[" * 100 + "]" * 100, 1, "a syntax error: nesting deeper than 32 levels"),
        ("[" + "[],\n" * 50_001 + "]", 50_000, "a syntax error: more than 50000 values"),
    ],
)
def test_syntax_errors_name_their_line(text, line, found):
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yaml")
    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.path, problem.found) == ("f.yaml", line, "", found)
    assert problem.expected == "valid YAML"


def test_attack_alias_bomb():
    """A billion laughs: each alias counts as all that it stands for."""
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="more than 50000 values"):
        parse("\n".join(layers), "f.yaml")


def test_attack_alias_that_contains_itself():
    with pytest.raises(ConfigError, match="nesting deeper than 32 levels"):
        parse("a: &a [*a]", "f.yaml")


def test_aliases_are_copies():
    document = parse("a: &x [1]\nb: *x", "f.yaml")
    assert document.value == {"a": [1], "b": [1]}
    assert document.value["a"] is not document.value["b"]
    assert document.line(("b",)) == 2


def test_attack_duplicate_keys():
    """YAML 1.2.2 §3.2.1.3: keys are unique; which one a parser takes is anybody's guess. The rest is still read."""
    document = parse("a: 1\nb: {c: 1, c: 2}\na:\n  d: 1\n  d: 2\ne: 3", "f.yaml")
    assert [(p.line, p.path, p.found, p.expected, p.hint) for p in document.problems] == [
        (2, "b.c", '"c" again', "each key once", "remove one of the two; the first is in line 2"),
        (5, "a.d", '"d" again', "each key once", "remove one of the two; the first is in line 4"),
        (3, "a", '"a" again', "each key once", "remove one of the two; the first is in line 1"),
    ]
    assert document.value == {"a": 1, "b": {"c": 1}, "e": 3}


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system [id]", "!!binary aGk=", "!secret x", "!!int abc"])
def test_attack_yaml_tags(text):
    """A tag chooses a constructor, and constructors run code."""
    document = parse(f"a: {text}", "f.yaml")
    assert document.value == {"a": BROKEN}
    assert [(p.line, p.path, p.found, p.expected) for p in document.problems] == [
        (1, "a", "a YAML tag", "a plain value")
    ]


def test_a_key_that_is_no_text_is_a_problem():
    document = parse("a:\n  ? [1, 2]\n  : x", "f.yaml")
    assert [(p.line, p.path, p.found) for p in document.problems] == [(1, "a", "a list or section as a key")]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a: " + b"x" * MAX_BYTES, "more than 1 MiB"),
        (b"a: \xff\xfe", "bytes that are not UTF-8"),
        (None, "no such file"),
    ],
)
def test_unreadable_files(tmp_path, content, found):
    path = tmp_path / "f.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert [(p.line, p.found) for p in caught.value.problems] == [(0, found)]


def test_a_directory_and_a_nul_are_unreadable_files(tmp_path):
    for path in (tmp_path, Path("a\0b")):
        with pytest.raises(ConfigError, match="a readable YAML file"):
            read(path)


def test_a_byte_order_mark_is_no_content(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read(tmp_path / "f.yaml").value == {"a": 1}


# --- quoting ----------------------------------------------------------------------------------------------------------


def quote(document: Document, place, **kwargs):
    excerpt = document.problem(place, expected="something else", **kwargs).excerpt
    return None if excerpt is None else (excerpt.text, " " * excerpt.start + "^" * excerpt.width)


def test_a_quote_shows_keys_the_value_itself_and_what_is_public():
    document = parse('a: {b: one, c: "two", d: three} # four', "f.yaml")
    assert quote(document, ("a", "c")) == ('a: {b: ***, c: "two", d: ***}', "               ^^^^^")
    assert quote(document, ("a", "c"), public={("a", "b")})[0] == 'a: {b: one, c: "two", d: ***}'
    assert quote(document, ("a", "c"), private=True)[0] == "a: {b: ***, c: ***, d: ***}"


def test_a_quote_of_a_section_underlines_its_key():
    document = parse("a:\n  bcd:\n    - x\n", "f.yaml")
    assert quote(document, ("a", "bcd")) == ("  bcd:", "  ^^^")
    assert quote(document, ("a", "bcd", "missing")) == ("  bcd:", "  ^^^")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"a: {{b: {CANARY}, c: 1}}", ("a", "c")),
        (f"a: 1  # {CANARY}", ("a",)),
        (f"a: !{CANARY} 1", ("a",)),
        (f"a: &{CANARY} 1", ("a",)),
        (f"a: [1, {CANARY}]", ("a", 0)),
        (f"a: [x, '{CANARY}\n  {CANARY}', 1]", ("a", 2)),
        (f"a: |\n  {CANARY}\nb: 1", ("a", "x")),
        (f"a: https://user:{CANARY}@host/", ("a",)),
        (f"a: https://host/?token={CANARY}", ("a",)),
        (f"a: postgresql://u:{CANARY}@host/db", ("a",)),
        (f"{CANARY * 4}: 1", (CANARY * 4,)),
        (f"a: &x {CANARY}\nb: *x", ("b", "c")),
        (f"a: {{b: 1, b: {CANARY}}}", ("a", "b")),
    ],
)
def test_attack_secret_in_the_quoted_line(text, place):
    """Whatever else stands on a line, or in a URL, is not repeated in an error."""
    document = parse(text, "f.yaml")
    problems = [*document.problems, document.problem(place, expected="something else")]
    assert CANARY not in repr(problems)


@pytest.mark.parametrize(
    "text", [f"a: *{CANARY}", f"a: !{CANARY}!x 1", f"a: &{CANARY} 1\nb: &{CANARY} [", f"%{CANARY}"]
)
def test_attack_secret_in_a_syntax_error(text):
    """An unquoted secret may begin with any of YAML's own characters."""
    try:
        problems = parse(text, "f.yaml").problems
    except ConfigError as error:
        problems = error.problems
    assert CANARY not in repr(problems)


def test_a_long_line_is_not_quoted():
    document = parse(f"a: [{', '.join(['x'] * 200)}]", "f.yaml")
    assert quote(document, ("a", 7)) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        ({}, "a section"),
        ([], "an empty list"),
        ("x", '"x"'),
        ("a\u202eb", '"a\\u202eb"'),
        ("y" * 100, '"' + "y" * 59 + '…"'),
        (True, "true"),
        (7, "7"),
    ],
)
def test_what_was_found_is_short_and_printable(value, text):
    assert describe(value) == text


def test_paths_are_dotted():
    assert dotted(("routes", 0, "send", "headers", "X-User")) == "routes[0].send.headers.X-User"
    assert dotted(("params", "a b", 1)) == 'params["a b"][1]'


@given(st.text(alphabet=st.sampled_from(list("ab:-[]{}&*!|>'\"%@#?,\n \t0~<=$\\U\x85\ufeff")), max_size=60))
def test_any_text_is_a_document_or_a_config_error(text):
    """Nothing that a person can type makes the reader fail in another way, and every quote fits its line."""
    try:
        document = parse(text, "f.yaml")
    except ConfigError:
        return
    for place in document.spots:
        problem = document.problem(place, expected="something else")
        if problem.excerpt:
            assert 0 <= problem.excerpt.start <= len(problem.excerpt.text)
