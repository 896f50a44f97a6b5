"""`vestibule schema --docs`: the generated parts of the documents are current, and all else in them stays as it is."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from vestibule import catalog
from vestibule.cli import main
from vestibule.cli.reference import PARTS, config_reference, login_states, replace_between, rewrite, table_diagram
from vestibule.loading import load_config
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
    """`vestibule schema --docs docs/configuration.md --docs docs/how-it-works.md` makes them so."""
    text = path.read_text(encoding="utf-8")
    assert rewrite(text) == text


def test_every_part_has_its_place():
    texts = "".join(path.read_text(encoding="utf-8") for path in GENERATED)
    assert [texts.count(f"<!-- generated: {name} -->") for name in PARTS] == [1] * len(PARTS)


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
