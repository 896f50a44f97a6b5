"""What people meet in a log line or on a page is in the documents, and what the documents name is in the code."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import vestibule

PACKAGE = Path(vestibule.__file__).parent
DOCS = PACKAGE.parents[1] / "docs"
SOURCES = [path for path in PACKAGE.rglob("*.py") if path.parent.name not in {"tools", "cli"}]
"""Without the commands: they say in place what to do next."""
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]

SECOND, THIRD = 1, 2
ARGUMENTS = {
    "Fail": SECOND,
    "ProviderFailed": SECOND,
    "Ended": 0,
    "Unreachable": 0,
    "HttpFailure": 0,
    "UriProblem": 0,
    "end": THIRD,
    "end_connection": THIRD,
    "revoke_family": THIRD,
    "_revoke_family": THIRD,
    "_fail": THIRD,
}
"""Which argument of a call is a slug; of every Refusal it is the first."""
RULES = {"judge", "ambiguity", "redirect_problem"}
"""Functions that return a slug, or nothing when there is nothing to refuse."""
NAMES = {"slug", "reason"}
TABLES = {"CODES"}


def refusals() -> set[str]:
    """Names of `Refusal` and all that is derived from it, however far."""
    classes = {node.name: node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found = {"Refusal"}
    while more := {name for name, node in classes.items() if found & {called(base) for base in node.bases}} - found:
        found |= more
    return found


def called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def texts(node: ast.expr) -> Iterator[str]:
    """The texts that an expression can be; where a part is only known at run time, it is a `*`."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from texts(one)
            yield from texts(other)
        case ast.BoolOp(values=values):
            for value in values:
                yield from texts(value)
        case ast.JoinedStr(values=values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in values)


def columns(tree: ast.Module, target: ast.expr, rows: ast.expr) -> Iterator[str]:
    """`for broken, slug in (…)`: the texts in the column of `slug`; a named table is looked up."""
    if not isinstance(target, ast.Tuple) or not (at := [i for i, e in enumerate(target.elts) if called(e) in NAMES]):
        return
    if isinstance(rows, ast.Name):
        assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
        rows = next((node.value for node in assigned if called(node.targets[0]) == rows.id), rows)
    for row in rows.elts if isinstance(rows, ast.Tuple) else ():
        if isinstance(row, ast.Tuple):
            yield from texts(row.elts[at[0]])


def slugs_of_the_code() -> set[str]:
    arguments = ARGUMENTS | dict.fromkeys(refusals(), 0)
    found: set[str] = set()
    for tree in TREES:
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=function, args=given, keywords=keywords):
                    place = arguments.get(called(function), len(given))
                    found.update(text for argument in given[place : place + 1] for text in texts(argument))
                    found.update(text for keyword in keywords if keyword.arg in NAMES for text in texts(keyword.value))
                case ast.Assign(targets=[target], value=value) if called(target) in NAMES:
                    found.update(texts(value))
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict(keys=keys)) if name in TABLES:
                    found.update(text for key in keys if key for text in texts(key))
                case ast.For(target=target, iter=rows) | ast.comprehension(target=target, iter=rows):
                    found.update(columns(tree, target, rows))
                case ast.FunctionDef(name=name) if name in RULES:
                    returns = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value]
                    found.update(text for value in returns for text in texts(value))
    return {text for text in found if re.fullmatch(r"[a-z0-9_*]+", text)}


def slugs_of_the_document() -> set[str]:
    """Those in the first cell of a table's row."""
    rows = re.findall(r"^\| (`[^|]*) \|", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {slug for row in rows for slug in re.findall(r"`([^`]+)`", row)}


def test_every_reason_is_explained():
    """A new refusal needs a row in troubleshooting.md."""
    known = slugs_of_the_document()
    assert sorted(s for s in slugs_of_the_code() if not any(fnmatchcase(slug, s) for slug in known)) == []


def test_every_explained_reason_exists():
    patterns = slugs_of_the_code()
    assert sorted(s for s in slugs_of_the_document() if not any(fnmatchcase(s, slug) for slug in patterns)) == []


def test_slugs_are_found_where_they_are_written():
    """One of each way in which the code writes them, so that the two tests above cannot pass by finding nothing."""
    assert slugs_of_the_code() >= {
        "key_in_query",  # raised
        "registrations_full",  # raised by a class that is derived elsewhere
        "pkce_plain",  # a row of a table in a loop
        "key_revoked",  # a row of a named table
        "not_permitted",  # one of two
        "connection_gone",  # the last resort of an `or`
        "provider_refresh_lost",  # assigned
        "client_gone",  # assigned to an attribute
        "not_on_allow_list",  # returned
        "access_denied",  # a key of a mapping
        "revoked_by_client",  # an argument
        "provider_*",  # put together
    }


def test_every_decision_that_the_code_names_is_told():
    text = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| (\d+) \| ", text.partition("## Decisions")[2], re.MULTILINE))
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    named = {number for source in sources for number in re.findall(r"decision (\d+)", source)}
    assert named <= told


@pytest.mark.parametrize("document", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    """Files beside the document, and headings as GitHub names them."""
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        path = (document.parent / file).resolve() if file else document
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target
