"""Which values an expression reads, and documents in which it finds something."""

import pytest

from vestibule import catalog
from vestibule.provider.expression import Expression
from vestibule.tools.expressions import grown, is_read, leaves, planted, reads


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("user.id", {"user.id"}),
        ("emails[?primary && verified] | [0].email", {"emails.primary", "emails.verified", "emails.email"}),
        ("orgs[].login", {"orgs.login"}),
        ("x.sites[0].id", {"x.sites.id"}),
        ("(userinfo.email && userinfo || id).email", {"userinfo.email", "id.email"}),
        ("teams[].join('/', [organization.login, slug])", {"teams.organization.login", "teams.slug"}),
        ("from_json(cb.user).name", {"cb.user.name"}),
        ("id.hd == 'acme.com'", {"id.hd"}),
        ("sort_by(orgs, &id)[0].name", {"orgs.id", "orgs.name"}),
        ("data.*.name", {"data.*.name"}),
        ("'text'", set()),
    ],
)
def test_an_expression_reads(source, read):
    assert {".".join(path) for path in reads(Expression(source))} == read


@pytest.mark.parametrize(
    ("path", "used"), [("user.id", True), ("user.plan.name", False), ("orgs.login", True), ("any.key.name", True)]
)
def test_a_leaf_is_read_if_a_path_leads_to_it_or_above_it(path, used):
    read = reads(Expression("[user.id, orgs, any.*.name]"))
    assert is_read(tuple(path.split(".")), read) is used


def test_leaves_take_lists_apart_and_name_each_path_once():
    document = {"a": [{"b": 1}, {"b": 2, "c": None}], "d": [], "e": {}}
    assert dict(leaves(document)) == {("a", "b"): 1, ("a", "c"): None, ("d",): [], ("e",): {}}


@pytest.mark.parametrize(
    "source",
    [
        "access_token",
        "authed_user.access_token",
        "x.sites[0].id",
        "emails[?primary && verified] | [0].email",
        "items[?type == 'work'].address | [0]",
        "(userinfo.email && userinfo || id).email",
        "from_json(cb.user).name",
        "not_null(a.b, c)",
        "sort_by(orgs, &id)[0].name",
        "data.*.name | [0]",
        "groups[0:1] | [0]",
    ],
)
def test_a_planted_document_yields_the_value(source):
    expression = Expression(source)
    assert expression(planted(expression, "VALUE")) == "VALUE"


def test_planting_keeps_what_is_there():
    document = planted(Expression("user.id"), "1", {"user": {"id": "0", "name": "n"}, "more": [1]})
    assert document == {"user": {"id": "0", "name": "n"}, "more": [1]}
    assert grown([{"a": 1}], [{"b": 2}, {"c": 3}]) == [{"a": 1, "b": 2}, {"c": 3}]


@pytest.mark.parametrize("name", catalog.names())
def test_something_can_be_planted_for_every_map_of_the_catalog(name):
    """So that `explain` shows all requests of a login, and none is left out because a reply could not be invented."""
    raw = catalog.load(name, catalog.directory()).raw
    for field, source in raw.get("identity", {}).get("map", {}).items():
        if source is None:
            continue
        expression = Expression(source)
        value = ["GROUP"] if field == "groups" else True if field == "email_verified" else "VALUE"
        assert expression(planted(expression, value)) not in (None, [], ""), (field, source)
