"""`vestibule serve`: the gateway of a config file."""

from pathlib import Path

import rich_click as click

from vestibule.cli.reports import config_option, load_or_exit


@click.command("serve")
@config_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"])
)
def command(config_path: Path, host: str, port: int, log_level: str) -> None:
    """Run the gateway.

    TLS ends in front of it, at a load balancer or an ingress; `public_url` says what clients see.
    """
    loaded = load_or_exit(config_path)
    from vestibule import app, logs, server

    logs.configure(level=log_level)
    server.run(app.build(loaded).asgi, host, port)
