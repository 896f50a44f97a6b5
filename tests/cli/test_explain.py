"""`providers explain` and `providers discover` as people type them; what they compute is tested with the tools."""

import json

import pytest
from click.testing import CliRunner

from vestibule.cli import main

ACME = """\
title: Acme
params: {tenant: {required: true, pattern: '[a-z]+'}}
authorize: {url: "https://${p.tenant}.acme.com/authorize"}
token: {url: "https://${p.tenant}.acme.com/token"}
identity: {calls: {me: {url: "https://${p.tenant}.acme.com/me"}}, map: {sub: me.id}}
"""


def vestibule(*args):
    return CliRunner().invoke(main, [*map(str, args)])


@pytest.fixture
def acme(tmp_path):
    (tmp_path / "acme.yaml").write_text(ACME)
    return tmp_path / "acme.yaml"


def test_explain_numbers_and_aligns_requests(acme):
    output = vestibule("providers", "explain", acme, "--param", "tenant=blue", "--scope", "read").output
    for text in (
        "  1  The browser goes to the provider\n     GET https://blue.acme.com/authorize\n",
        "               redirect_uri           REDIRECT_URI\n",
        "     POST https://blue.acme.com/token\n       header  Accept  application/json\n",
        "               sub  ← me.id\n",
        "       header  Authorization  Bearer ACCESS_TOKEN\n",
        "scope                  read",
    ):
        assert text in output


def test_explain_in_json_says_the_same(acme):
    told = json.loads(vestibule("providers", "explain", acme, "--format", "json").output)
    assert [stage["title"] for stage in told["stages"]] == ["Login", "Refresh", "Revocation"]
    assert told["stages"][0]["requests"][2]["url"] == "https://tenant.acme.com/token"
    assert told["identity"] == [["sub", "me.id"]]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nowhere"], "providers list"),
        (["ACME", "--param", "tenant=Blue"], "--param tenant=…: does not match [a-z]+"),
        (["ACME", "--param", "colour=blue"], "unknown parameter"),
        (["ACME", "--param", "tenant"], "write it as tenant=VALUE"),
    ],
)
def test_explain_says_what_to_do(args, told, acme):
    result = vestibule("providers", "explain", *[str(acme) if arg == "ACME" else arg for arg in args])
    assert result.exit_code != 0
    assert told in result.output.replace("│", "").replace("\n", " ").replace("  ", " ")


def test_explain_points_at_the_line_of_a_mistake(acme):
    acme.write_text(ACME.replace("sub: me.id", "sub: mee.id"))
    result = vestibule("providers", "explain", acme)
    assert result.exit_code == 1
    assert "acme.yaml:5" in result.output
    assert "unknown name `mee`" in result.output


@pytest.mark.parametrize("issuer", ["http://acme.com", "https://user:pass@acme.com"])
def test_discover_asks_only_where_it_may(issuer):
    result = vestibule("providers", "discover", issuer)
    assert result.exit_code == 1
