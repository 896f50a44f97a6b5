"""`${…}` in values: expanded once, never parsed, never shown."""

import pytest

from vestibule.documents import BROKEN
from vestibule.interpolation import MAX_FILE_BYTES, interpolate
from vestibule.reading import parse

ENV = {"NAME": "value", "EMPTY": "", "YAML": "[a, {b: c}]", "NESTED": "${NAME}"}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "secret").write_bytes(b"from file\n")
    (tmp_path / "crlf").write_bytes(b"two\r\nlines\r\n")
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${NAME}", "value"),
        ("a ${NAME} b ${NAME}", "a value b value"),
        ("${NAME:-other}", "value"),
        ("${EMPTY:-other}", "other"),
        ("${ABSENT:-other words: 1}", "other words: 1"),
        ("${ABSENT:-}", ""),
        ("$${NAME}", "${NAME}"),
        ("$NAME $$ {NAME}", "$NAME $$ {NAME}"),
        ("${YAML}", "[a, {b: c}]"),
        ("${NESTED}", "${NAME}"),
        ("${file:secret}", "from file"),
        ("Bearer ${file:crlf}", "Bearer two\r\nlines"),
    ],
)
def test_references(directory, text, value):
    document = interpolate(parse(f"a: ['{text}']", "f.yaml"), ENV, directory)
    assert (document.value, document.problems) == ({"a": [value]}, ())


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("${ABSENT}", "${ABSENT}, which is not set", "an environment variable ABSENT"),
        ("${EMPTY}", "${EMPTY}, which is empty", "an environment variable EMPTY"),
        ("${file:absent}", "${file:absent}, which is no file", "a readable text file of at most 64 KiB"),
        ("${file:.}", "${file:.}, which is no file", "a readable text file of at most 64 KiB"),
        ("${file:empty}", "${file:empty}, which is empty", "a readable text file of at most 64 KiB"),
        ("${file:large}", "${file:large}, which is too large", "a readable text file of at most 64 KiB"),
        ("${file:binary}", "${file:binary}, which is not UTF-8", "a readable text file of at most 64 KiB"),
        ("${file:}", "a ${ that begins no reference", "${NAME}, ${NAME:-default} or ${file:/path}"),
        ("${a b}", "a ${ that begins no reference", "${NAME}, ${NAME:-default} or ${file:/path}"),
        ("${NAME", "a ${ that begins no reference", "${NAME}, ${NAME:-default} or ${file:/path}"),
        ("${1}", "a ${ that begins no reference", "${NAME}, ${NAME:-default} or ${file:/path}"),
    ],
)
def test_missing_references_are_named(directory, text, found, expected):
    document = interpolate(parse(f"x: 1\na: '{text}'", "f.yaml"), ENV, directory)
    assert document.value == {"x": 1, "a": BROKEN}
    assert [(p.line, p.path, p.found, p.expected) for p in document.problems] == [(2, "a", found, expected)]


def test_keys_are_not_expanded(directory):
    """A key is a name of ours or of the person who writes; the environment chooses neither."""
    assert interpolate(parse("${NAME}: 1", "f.yaml"), ENV, directory).value == {"${NAME}": 1}


def test_what_a_reference_stood_for_is_not_shown(directory):
    document = interpolate(parse("a: '${NAME} and ${file:secret} ${ABSENT:-hidden}'", "f.yaml"), ENV, directory)
    problem = document.problem(("a",), expected="something else")
    assert problem.found == "the value of ${NAME} and ${file:secret} and ${ABSENT}"
    assert problem.excerpt.text == "a: ***"


def test_a_bare_reference_is_quoted_as_it_is_written(directory):
    document = interpolate(parse('a: "${NAME}"', "f.yaml"), ENV, directory)
    assert document.problem(("a",), expected="something else").excerpt.text == 'a: "${NAME}"'


def test_attack_file_name_with_nul(directory):
    document = interpolate(parse('a: "${file:x\\0y}"', "f.yaml"), ENV, directory)
    assert [p.found for p in document.problems] == ["${file:…}, which is no file"]
