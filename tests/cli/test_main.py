"""The shell: quick to answer, and importing nothing that it does not need."""

import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from vestibule.cli import COMMANDS, main

HEAVY = (
    "litestar",
    "sqlalchemy",
    "httpx",
    "jinja2",
    "jwcrypto",
    "cryptography",
    "yaml",
    "msgspec",
    "uvicorn",
    "asyncio",
)


def run(*args):
    command = [sys.executable, "-X", "importtime", "-c", "from vestibule.cli import main; main()", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("args", [["--help"], [], ["-h"], ["serv"], ["--version"]])
def test_help_and_typos_import_nothing_heavy(args):
    imported = {line.rsplit("|", 1)[-1].strip() for line in run(*args).stderr.splitlines() if "|" in line}
    assert "click" in imported
    assert not [name for name in HEAVY if name in imported]


def test_help_answers_in_half_a_second():
    """The best of three: the machine may be busy, the program is not."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "from vestibule.cli import main; main()", "--help"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


def test_help_lists_every_command():
    output = CliRunner().invoke(main, ["--help"]).output
    assert all(name in output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name):
    assert find_spec(COMMANDS[name][0]) is not None
    result = CliRunner().invoke(main, [name, "--help"])
    assert (result.exit_code, f"{name} " in result.output) == (0, True)


def test_an_unknown_command_is_a_usage_error():
    result = CliRunner().invoke(main, ["chekc"])
    assert result.exit_code == 2
    assert "No such command" in result.output
