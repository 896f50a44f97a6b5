"""`vestibule dev`: try it, with nothing to set up."""

import rich_click as click


@click.command("dev")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--backend", metavar="URL", help="Your own MCP server or API, instead of the demo server.")
def command(port: int, backend: str | None) -> None:
    """Try it: a gateway with a provider and a backend of its own, nothing to set up.

    Listens on 127.0.0.1 only and forgets everything when it ends.
    """
    from vestibule.dev.run import run
    from vestibule.documents import ConfigError

    try:
        run(port, backend)
    except ModuleNotFoundError as missing:
        if missing.name != "mcp":
            raise
        raise click.ClickException(
            "the demo server needs the package mcp: pip install 'vestibule-gateway[dev]', or give --backend URL"
        ) from None
    except ConfigError as error:
        raise click.BadParameter(
            "; ".join(f"found {problem.found}, expected {problem.expected}" for problem in error.problems),
            param_hint="--backend",
        ) from None
    except OSError as error:
        raise click.ClickException(f"cannot listen on port {port}: {error.strerror}; try another --port") from None
