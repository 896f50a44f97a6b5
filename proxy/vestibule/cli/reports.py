"""What commands share: the `--config` option, loading with errors for people, and how those errors look."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from vestibule.documents import ConfigError, Problem

if TYPE_CHECKING:
    from vestibule.loading import Loaded

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="VESTIBULE_CONFIG",
    default="vestibule.yaml",
    show_default=True,
    show_envvar=True,
    help="The config file.",
)


def load_or_exit(path: Path) -> "Loaded":
    """The config, or all its problems on standard error and exit code 1."""
    from vestibule.loading import load_config

    try:
        return load_config(path, os.environ)
    except ConfigError as error:
        Console(stderr=True, soft_wrap=True).print(render_problems(error.problems))
        sys.exit(1)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table without lines, on standard output; in a pipe it is as wide as it has to be, so that nothing folds."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=400)
    console.print(table)


def render_problems(problems: Iterable[Problem]) -> RenderableType:
    """Like a compiler: place, quoted line with the spot underlined, what was found and expected, what to do."""
    blocks: list[RenderableType] = []
    for problem in problems:
        blocks += [_render(problem), Text()]
    count = len(blocks) // 2
    return Group(*blocks, Text(f"{count} {'problem' if count == 1 else 'problems'} found", style="bold red"))


def _render(problem: Problem) -> Text:
    """Plain Text all along: file contents are never read as console markup."""
    where = f"{problem.file}:{problem.line}" if problem.line else problem.file
    text = Text.assemble((where, "bold"), "  ", (problem.path, "bold cyan"))
    if problem.excerpt:
        quote = problem.excerpt
        margin = str(problem.line)
        line = "".join(c if c.isprintable() else " " for c in quote.text)
        text.append(f"\n  {margin} │ ", style="dim").append(line)
        text.append(f"\n  {' ' * len(margin)} │ ", style="dim")
        text.append(" " * quote.start + "^" * quote.width, style="bold red")
    text.append("\n  found     ", style="dim").append(problem.found)
    if problem.expected:
        text.append("\n  expected  ", style="dim").append(problem.expected)
    if problem.hint:
        text.append("\n  hint      ", style="dim").append(problem.hint, style="green")
    return text
