"""Where definitions are found, and how `extends` is resolved."""

from pathlib import Path

import pytest

from vestibule import catalog
from vestibule.documents import ConfigError


def test_the_source_tree_comes_before_the_installed_copy():
    """An editable install can leave a stale copy in site-packages."""
    assert catalog.directory() == Path(catalog.__file__).parents[2] / "providers"
    assert {"github", "oidc"} <= set(catalog.names())


def test_an_installed_package_has_its_own_copy(monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "_PACKAGE", tmp_path / "site-packages" / "vestibule")
    (tmp_path / "providers").mkdir()
    assert catalog.directory() == tmp_path / "site-packages" / "vestibule" / "_providers"


@pytest.mark.parametrize("name", catalog.names())
def test_every_entry_loads(name):
    definition = catalog.load(name, Path("/nowhere"))
    assert definition.raw["title"]
    assert "extends" not in definition.raw
    assert definition.names[0] == name


def test_overlays_win_and_null_stays_a_mark(workspace):
    """The parent's null is meant for a default that lies further down than both."""
    workspace.write("child.yaml", "extends: ./acme.yaml\ntitle: Child\ntoken: {headers: null}\n")
    definition = catalog.load("./child.yaml", workspace.directory)
    assert definition.raw["title"] == "Child"
    assert definition.raw["token"] == {"url": "${p.base}/token", "headers": None}
    assert [Path(document.file).name for document in definition.documents] == ["child.yaml", "acme.yaml"]
    assert definition.names == ()


def test_a_file_may_extend_the_catalog_and_files_beside_itself(workspace):
    (workspace.directory / "sub").mkdir()
    workspace.write("sub/parent.yaml", "extends: oidc\ntitle: Parent\n")
    workspace.write("sub/child.yaml", "extends: ./parent.yaml\n")
    definition = catalog.load("sub/child.yaml", workspace.directory)
    assert definition.names == ("oidc",)
    assert definition.raw["title"] == "Parent"


@pytest.mark.parametrize("name", ["nowhere", "./nowhere.yaml", ".", "a\0b"])
def test_an_unknown_definition_is_the_callers_to_report(workspace, name):
    with pytest.raises(FileNotFoundError):
        catalog.load(name, workspace.directory)


@pytest.mark.parametrize(
    ("files", "line", "path", "expected"),
    [
        ({"a": "extends: ./a.yaml"}, 1, "extends", "do not extend each other in a circle"),
        (
            {"a": "x: 1\nextends: ./b.yaml", "b": "extends: a.yaml"},
            1,
            "extends",
            "do not extend each other in a circle",
        ),
        ({"a": "extends: gihtub"}, 1, "extends", "or a path to a file"),
        ({"a": "extends: ./b.yaml"}, 1, "extends", "or a path to a file"),
        ({"a": "extends: [b]"}, 1, "extends", "the name of a definition, or a path to one"),
        ({"a": "extends:"}, 1, "extends", "the name of a definition, or a path to one"),
        ({"a": "[]"}, 1, "", "a provider definition"),
        ({"a": ""}, 0, "", "a provider definition"),
        ({"a": "x: 1\nx: 2"}, 2, "x", "each key once"),
        ({"a": "x: ["}, 1, "", "valid YAML"),
    ],
)
def test_broken_definitions(workspace, files, line, path, expected):
    for name, text in files.items():
        workspace.write(f"{name}.yaml", text)
    with pytest.raises(ConfigError) as caught:
        catalog.load("./a.yaml", workspace.directory)
    [problem] = caught.value.problems
    assert (problem.line, problem.path) == (line, path)
    assert expected in problem.expected


def test_attack_endless_chain(workspace):
    """Not a circle, and still more files than any definition needs."""
    for n in range(20):
        workspace.write(f"d{n}.yaml", f"extends: ./d{n + 1}.yaml")
    with pytest.raises(ConfigError, match="at most 8 definitions"):
        catalog.load("./d0.yaml", workspace.directory)


@pytest.mark.parametrize("source", ["/etc/passwd", "../secret.yaml", "./x/../../secret.yaml"])
def test_attack_definition_that_reads_files(workspace, source):
    """A definition may come from anywhere; what it extends lies beside it, and no other file is opened or quoted."""
    workspace.write("secret.yaml", "password: hush")
    (workspace.directory / "sub").mkdir()
    workspace.write("sub/a.yaml", f"extends: {source}\n")
    with pytest.raises(ConfigError) as refused:
        catalog.load("./sub/a.yaml", workspace.directory)
    assert "beside this file" in refused.value.problems[0].expected
    assert "hush" not in str(refused.value)
