"""Every example of docs/providers.md: each loads, and what it shows of the catalog is what the catalog says.

```yaml definition      a whole file; with a file's name in its first line, all of it is in that file
```yaml part            some keys of a file that the first line names, or laid over Acme, the first definition
```yaml refused         the same, and it does not load
```yaml config          keys of a config that has Acme, and loads
"""

import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vestibule import catalog
from vestibule.loading import load_config
from vestibule.provider.defaults import merge
from vestibule.provider.provider import DefinitionError
from vestibule.reading import parse
from vestibule.tools.explaining import explain

ROOT = Path(catalog.__file__).parents[2]
TEXT = (ROOT / "docs/providers.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = []
"""Kind and text."""
for indent, kind, text in re.findall(r"^( *)```yaml(.*)\n((?:.*\n)*?) *```$", TEXT, re.MULTILINE):
    BLOCKS.append((kind.strip(), re.sub(f"^{indent}", "", text, flags=re.MULTILINE)))
KEY = "Zk3vT0xq8Yw1nB5uJ7sD2fG4hK6lM9pQrStUvWxYz0A"


def named(kind: str) -> list[Any]:
    texts = [text for found, text in BLOCKS if found == kind]
    return [pytest.param(text, id=re.sub(r"\W+", "-", text[:40]).strip("-")) for text in texts]


def private_key() -> bytes:
    key, form = ec.generate_private_key(ec.SECP256R1()), serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def value(text: str) -> dict[str, Any]:
    document = parse(text, "example.yaml")
    assert not document.problems
    assert isinstance(document.value, dict)
    return document.value


ACME_TEXT = next(text for kind, text in BLOCKS if kind == "definition")
ACME = value(ACME_TEXT)


def shown_file(text: str) -> dict[str, Any] | None:
    """What the file that the first line names says."""
    found = re.match(r"# (providers/[\w-]+\.yaml)\n", text)
    return value((ROOT / found[1]).read_text(encoding="utf-8")) if found else None


def missing(part: Any, whole: Any, path: str = "") -> list[str]:
    """Paths of what `part` says and `whole` does not."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return [found for key in part for found in missing(part[key], whole.get(key, "no such key"), f"{path}.{key}")]
    return [] if part == whole else [path]


def test_every_example_is_of_a_kind():
    assert {kind for kind, _ in BLOCKS} == {"definition", "part", "refused", "config"}
    assert len(BLOCKS) == TEXT.count("```yaml")


@pytest.mark.parametrize("text", named("definition"))
def test_definitions_load(tmp_path, text):
    (tmp_path / "example.yaml").write_text(text, encoding="utf-8")
    explain("example", catalog.load("./example.yaml", tmp_path).raw, params={}, scopes=())
    file = shown_file(text)
    assert file is None or value(text) == file


@pytest.mark.parametrize("text", named("part"))
def test_parts_load(text):
    """A part of a file loads because the file does, which `test_catalog` and `test_golden` show."""
    file = shown_file(text)
    if file is None:
        explain("example", merge(ACME, value(text)), params={}, scopes=())
    else:
        assert missing(value(text), file) == []


@pytest.mark.parametrize("text", named("refused"))
def test_what_is_refused_is_refused(text):
    """And in the words that the document quotes."""
    with pytest.raises(DefinitionError) as refused:
        explain("example", merge(ACME, value(text)), params={}, scopes=())
    assert [problem.message for problem in refused.value.problems if problem.message not in TEXT] == []


@pytest.mark.parametrize("text", named("config"))
def test_configs_load(tmp_path, text):
    """Together with Acme's: an example need not be a whole file."""
    (tmp_path / "acme.yaml").write_text(ACME_TEXT, encoding="utf-8")
    (tmp_path / "apple.p8").write_bytes(private_key())
    config = tmp_path / "vestibule.yaml"
    whole = next(text for kind, text in BLOCKS if kind == "config")
    if text != whole:
        entry = re.sub(r"\A.*\n", "", text)
        whole = whole.replace("providers:\n", f"providers:\n{entry}").replace(
            "http://127.0.0.1:8080", "https://a.example"
        )
    config.write_text(whole, encoding="utf-8")
    names = ("VESTIBULE_SIGNING_KEY", "VESTIBULE_SEALING_KEY", "ACME_CLIENT_ID", "ACME_CLIENT_SECRET")
    assert "acme" in load_config(config, dict.fromkeys(names, KEY)).providers


@pytest.mark.parametrize(
    "row", re.findall(r"^\| `(https://\S+)` \| (good|refused)", TEXT, re.MULTILINE), ids=lambda cell: cell
)
def test_patterns_of_hosts_are_judged_as_told(row):
    pattern, verdict = row[0].replace("\\|", "|"), row[1]
    change = {"params": {"host": {"from": "cb.host", "pattern": pattern}}, "token": {"url": "${p.host}/token"}}
    if verdict == "good":
        explain("example", merge(ACME, change), params={}, scopes=())
    else:
        with pytest.raises(DefinitionError):
            explain("example", merge(ACME, change), params={}, scopes=())
