"""`vestibule providers discover`: a definition from what a provider says about itself."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.text import Text

from vestibule.model import HttpCall, HttpFailure, HttpReply


@click.command("discover")
@click.argument("issuer")
@click.option("--name", help="What to call it; by default what its host is called.")
@click.option(
    "--write",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the definition into this new file instead of printing it.",
)
def command(issuer: str, name: str | None, target: Path | None) -> None:
    """Write a definition for the OpenID Connect provider at ISSUER, in the fewest lines."""
    from vestibule import logs
    from vestibule.tools.derivation import Underivable, derive, metadata_url

    logs.configure(level="critical")
    try:
        url = metadata_url(issuer)
        today = time.strftime("%Y-%m-%d", time.gmtime())
        derived = derive(asyncio.run(_metadata(url)), url=url, name=name, today=today)
    except Underivable as error:
        raise click.ClickException(str(error)) from None
    if target is None:
        click.echo(derived.text, nl=False)
        shown = "FILE"
    else:
        try:
            with target.open("x", encoding="utf-8") as file:
                file.write(derived.text)
        except FileExistsError:
            raise click.ClickException(f"{target} exists already; name another file, or remove it first") from None
        except OSError as error:
            raise click.ClickException(f"cannot write {target}: {error.strerror}") from None
        shown = str(target)
    console = Console(stderr=True, soft_wrap=True)
    if target is not None:
        console.print(Text(f"wrote {target}", style="green"))
    if sys.stderr.isatty() or target is not None:
        console.print(Text(f"next:  vestibule providers explain {shown}    see its requests", style="dim"))
        console.print(Text(f"       vestibule providers try {shown} --client-id …    sign in", style="dim"))


async def _metadata(url: str) -> dict[str, Any]:
    from vestibule.outbound import Outbound
    from vestibule.provider.calls import document_of
    from vestibule.tools.advice import SLUGS
    from vestibule.tools.derivation import Underivable

    outbound = Outbound()
    try:
        call = HttpCall(method="GET", url=url, headers=(("Accept", "application/json"),), trusted=True)
        answer = await outbound.send(call)
    finally:
        await outbound.close()
    if isinstance(answer, HttpFailure):
        raise Underivable(f"{url}: {answer.detail or answer.reason}. {SLUGS[f'provider_{answer.reason}']}")
    document = _document(answer, document_of(answer))
    if document is None:
        raise Underivable(
            f"{url} answers {answer.status} and no JSON object. Is this the issuer? The provider's documents name it "
            "as issuer, domain or authority. Without discovery, write the addresses down, as the definition of github."
        )
    return document


def _document(answer: HttpReply, document: Any) -> dict[str, Any] | None:
    return document if answer.status == 200 and isinstance(document, dict) else None  # noqa: PLR2004
