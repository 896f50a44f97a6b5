"""`vestibule schema --docs`: the generated parts of the documents are current, and all else in them stays as it is."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import structs

from vestibule import catalog
from vestibule.cli import main
from vestibule.cli.language import call_defaults, catalog_table, language_reference
from vestibule.cli.reference import PARTS, config_reference, login_states, replace_between, rewrite, table_diagram
from vestibule.loading import load_config
from vestibule.provider import definition
from vestibule.provider.flow import TRANSITIONS
from vestibule.storage.tables import metadata

DOCS = Path(catalog.__file__).parents[2] / "docs"
SECRETS = {
    "signing": "Zk3vT0xq8Yw1nB5uJ7sD2fG4hK6lM9pQrStUvWxYz0A",
    "sealing": "aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3aB4c",
}
GENERATED = [path for path in sorted(DOCS.glob("*.md")) if "<!-- generated: " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_the_documents_are_current(path):
    """`vestibule schema --docs docs/configuration.md --docs docs/how-it-works.md --docs docs/providers.md` does it."""
    text = path.read_text(encoding="utf-8")
    assert rewrite(text) == text


def test_every_part_has_its_place():
    """In one document or several; twice in the same, the second would never be brought up to date."""
    texts = [path.read_text(encoding="utf-8") for path in GENERATED]
    counts = {name: [text.count(f"<!-- generated: {name} -->") for text in texts] for name in PARTS}
    assert {name for name, found in counts.items() if max(found) == 1} == set(PARTS)


def test_every_key_of_the_config_is_explained():
    """The text below its field in `config` is the last cell."""
    assert [line for line in config_reference().splitlines() if line.endswith("|  |")] == []


@pytest.mark.parametrize(
    "row",
    [
        "| `storage` | text | `sqlite:///vestibule.db` |  |",
        "| `access_token` | duration | `1h` | from 1m to 1d |",
        "| `max_body_bytes` | whole number | `67108864` | at least 1 |",
        "| `providers` | list of text | **required** | at least one entry |",
        "| `signing` | list of secret text | **required** | at least one entry |",
        "| `allow` | `anyone` or list of [section](#routesallow) | **required** |  |",
        "| `match` | [section](#routespermissionsidmatch) | as below |  |",
        "| `permissions` | [section](#routespermissionsid) by name | none | names: 1 to 64 lower-case",
        "| `dcr` | `true`, `false` | `true` |  |",
        "| `consent` | `ask`, `trusted` | `ask` |  |",
    ],
)
def test_types_defaults_and_limits_are_those_of_the_struct(row):
    assert row in config_reference()


def test_every_key_of_the_language_is_explained():
    """The text below its field in `provider.definition`, or what is said about its section, is the last cell."""
    reference = language_reference()
    assert [line for line in reference.splitlines() if re.search(r"\|\s*\|$", line)] == []
    for kind in vars(definition).values():
        if isinstance(kind, type) and issubclass(kind, definition.Section) and kind is not definition.Section:
            keys = [field.encode_name for field in structs.fields(kind) if field.name in kind.__annotations__]
            assert re.search(r"\|\n".join(rf"\| `{key}` \|[^\n]*" for key in keys), reference), kind


@pytest.mark.parametrize(
    "row",
    [
        "| `auth` | `basic`, `client_secret_jwt`, `jwt_as_secret`, `none`, `post`, `private_key_jwt` | `post` |",
        "| `issuer` | template | **required** |",
        "| `nonce` | `off`, `on` | `on` |",
        "| `alg` | `ES256`, `ES384`, `ES512`, `EdDSA`, `HS256`, `HS384`, `HS512`, `PS256`, `RS256` |",
        "| `private_key_jwt`: `RS256`; `client_secret_jwt`: `HS256`; `jwt_as_secret`: `ES256` |",
        "| `url` | template | **required**; with `oidc`: `${d.authorization_endpoint}` |",
        "; with `oidc`: also `nonce: ${nonce}` | Its parameters. |",
        "| `out` | [section](#tokenout) or text | as below |",
        "| `revoke` | [section](#a-conditional-call) | none |",
        "| `early` | a whole number, from 0 to 5184000 | `120` |",
        "| `sub` | JMESPath | **required**; with `oidc`: `id.sub \\|\\| userinfo.sub` |",
        "| `sep` | text | a space |",
        "| `header` | template by name | `Authorization: Bearer ${access_token}` |",
    ],
)
def test_types_and_defaults_are_those_of_the_language(row):
    """Of the Structs, and of what `complete` fills in."""
    assert row in language_reference()


def test_every_kind_of_call_tells_what_it_sends():
    rows = {line.split("`")[1]: line for line in call_defaults().splitlines()[2:]}
    assert list(rows) == ["authorize.par", "token", "exchange.<name>", "refresh", "revoke", "identity.calls.<name>"]
    assert "`grant_type: refresh_token`, `refresh_token: ${refresh_token}`" in rows["refresh"]
    assert "`GET` | `bearer` | none | `Authorization: Bearer ${access_token}`" in rows["identity.calls.<name>"]


def test_the_table_of_the_catalog_has_a_row_for_each():
    rows = catalog_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == catalog.names()
    assert "| `params.shop`, `client.id + secret` |" in next(row for row in rows if "`shopify`" in row)


def test_the_diagrams_show_all_that_the_tables_hold():
    states = login_states()
    for step, events in TRANSITIONS.items():
        for event, following in events.items():
            assert re.search(rf"^ +{step} --> {following}: .*\b{event.__name__}\b", states, re.MULTILINE)
    diagram = table_diagram()
    assert all(f"    {table.name} {{" in diagram for table in metadata.tables.values())
    assert "grants ||--o{ families : grant_id" in diagram
    assert "families |o--o{ keys : family_id" in diagram


def test_the_complete_example_is_right(tmp_path):
    """What newcomers copy has to load."""
    text = (DOCS / "configuration.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    (tmp_path / "signing").write_text(SECRETS["signing"])
    path = tmp_path / "vestibule.yaml"
    path.write_text(text.replace("/run/secrets/", ""), encoding="utf-8")
    names = ("GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "WORK_CLIENT_SECRET")
    loaded = load_config(path, {"VESTIBULE_SEALING_KEY": SECRETS["sealing"]} | dict.fromkeys(names, "value"))
    assert [route.id for route in loaded.config.routes] == ["issues", "reports"]


BEFORE, AFTER = "# Title\n<!-- generated: login states -->\n", "<!-- /generated: login states -->\nMore.\n"


@pytest.mark.parametrize("old", ["", "stale\n", "several\nlines\n"])
def test_only_what_is_between_the_markers_is_replaced(old):
    assert replace_between(BEFORE + old + AFTER, "login states", "\nnew\n\n") == f"{BEFORE}new\n{AFTER}"


@pytest.mark.parametrize("text", ["# Title\n", BEFORE, AFTER, AFTER + BEFORE])
def test_a_document_without_a_pair_of_markers_is_left_alone(tmp_path, text):
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(main, ["schema", "--docs", str(tmp_path / "page.md")])
    assert result.exit_code == 1
    assert "generated: " in result.output
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == text


def test_docs_are_written_in_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(BEFORE + AFTER, encoding="utf-8")
    result = CliRunner().invoke(main, ["schema", "--docs", str(page)])
    assert (result.exit_code, result.output) == (0, f"wrote {page}\n")
    assert page.read_text(encoding="utf-8") == f"{BEFORE}{login_states()}\n{AFTER}"
