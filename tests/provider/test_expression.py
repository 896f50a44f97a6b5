"""The reading language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.provider.expression import MAX_GROWTH, MAX_NODES, Expression
from vestibule.provider.template import BadTemplate


@pytest.mark.parametrize("source", ["", "a.", "[", "a[", "nope(a)", "a ==", "[" * 1990, "a" * 2001, None, 5], ids=str)
def test_bad_expression_is_found_when_it_compiles(source):
    """A bad JMESPath expression is an error of the definition."""
    with pytest.raises(BadTemplate):
        Expression(source)


@pytest.mark.parametrize(
    ("source", "document"),
    [
        ("a.b.c", None),
        ("a[].b", {"a": None}),
        ("a[?b].c | [0]", {}),
        ("join(',', a)", {"a": None}),
        ("join(',', a)", {"a": [1, None]}),
        ("length(a)", {"a": 5}),
        ("sort_by(a, &b)", {"a": [{"b": 1}, {"b": "x"}]}),
        ("floor(a)", {"a": float("inf")}),
        ("max_by(a, &b)", {"a": [1]}),
    ],
)
def test_expression_that_fails_is_null(source, document):
    """A provider's surprise must not become our exception; JMESPath over null does not raise."""
    assert Expression(source)(document) is None


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (None, False),
        (False, False),
        ("", False),
        ([], False),
        ({}, False),
        (True, True),
        (0, True),
        ("no", True),
        ([0], True),
    ],
    ids=str,
)
def test_truth_is_jmespaths(value, holds):
    """JMESPath specification: false, null and what is empty are false; zero is not."""
    assert Expression("a").holds({"a": value}) is holds


@pytest.mark.parametrize(
    ("source", "roots"),
    [
        ("a.b.c", {"a"}),
        ("a[?b].c | [0].d", {"a"}),
        ("a.b || c", {"a", "c"}),
        ("(a.email && b || c).email", {"a", "b", "c"}),
        ("[a[].login, b[].join('/', [c.login, d])][]", {"a", "b"}),
        ("contains(a, 'x') && !b", {"a", "b"}),
        ("{x: a, y: b.z}", {"a", "b"}),
        ("sort_by(a, &b)[0]", {"a"}),
        ("@", set()),
        ("'literal'", set()),
        ("a == b", {"a", "b"}),
        ("*.a", set()),
    ],
)
def test_roots_of_an_expression(source, roots):
    """Only names that are looked up in the document itself, so that a misspelt one is found at load."""
    assert Expression(source).roots == roots


@given(st.text(alphabet="ab.[]?|&!@*()',`0 ", max_size=20))
def test_expressions_compile_or_are_refused(source):
    """No source raises anything but BadTemplate, no document anything at all."""
    try:
        expression = Expression(source)
    except BadTemplate:
        return
    expression({"a": [1, {"b": "x"}]})


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"a": {"b": 1}}', {"a": {"b": 1}}), ("[]", []), ("{", None), ("", None), (None, None), (5, None), ([], None)],
    ids=str,
)
def test_json_inside_of_text(text, value):
    """Apple posts a document as a parameter; what is no JSON is null and does not make the rest null."""
    assert Expression("from_json(a)")({"a": text}) == value
    assert Expression("from_json(a).x || b")({"a": text, "b": 7}) == 7


@pytest.mark.parametrize(
    "source",
    [
        " | ".join(["[@, @][]"] * 7),
        " | ".join(["[@, @, @, @][]"] * 4),
        " | ".join(["{a: @, b: @} | values(@)"] * 7),
        "to_string(" * 3 + "@" + ")" * 3,
        " | ".join(["join('', [@, @])"] * 7),
        "map(&[@, @], " * 7 + "a" + ")" * 7,
        "join(a, b)",
        f"join('{'x' * (MAX_GROWTH + 1)}', a)",
        "[" + ", ".join(["join('--------', a)"] * 9) + "]",
        "a" + ".a" * MAX_NODES,
        " || ".join(["a"] * MAX_NODES),
        "!" * MAX_NODES + "a",
    ],
)
def test_attack_expression_that_fills_the_memory(source):
    """A definition of a hundred characters must not double a document until nothing is left."""
    with pytest.raises(BadTemplate):
        Expression(source)


def test_attack_growth_is_bounded():
    """The most that is admitted: so many times what was read, and no more."""
    found = Expression(" | ".join(["[@, @][]"] * 6))(["x"] * 1000)
    assert len(found) == 1000 * MAX_GROWTH


@given(st.text(alphabet="ab[]{}@,:|.* &()", max_size=40))
def test_any_expression_stays_in_bounds(source):
    """Whatever compiles makes no more of a document than the bound says."""
    try:
        expression = Expression(source)
    except BadTemplate:
        return
    found = expression({"a": ["x"] * 10, "b": {"a": ["y"] * 10}})
    assert len(repr(found)) < 400 * MAX_GROWTH
