"""The command line. `--help` and typos must answer at once, so a command's module is imported only when it runs; the
table below is all that the help page needs. Each module has a click command named `command`.
"""

from importlib import import_module

import rich_click as click

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("vestibule.cli.serve", "Run the gateway."),
    "dev": ("vestibule.cli.dev", "Try it: a gateway with a provider and a backend of its own, nothing to set up."),
    "check": ("vestibule.cli.check", "Read the config; show every error, or what it does."),
    "secrets": ("vestibule.cli.secrets", "Make the secrets that a config needs."),
    "keys": ("vestibule.cli.keys", "Make, list and revoke keys without a person."),
    "clients": ("vestibule.cli.clients", "Show registered clients."),
    "providers": ("vestibule.cli.providers", "Show the identity providers that are known by name."),
    "schema": ("vestibule.cli.schema", "Write the JSON Schema of the config, for editors."),
}


class _Commands(click.RichGroup):
    """Lists stand-ins and replaces the chosen one by the real command."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        return click.RichCommand(name=cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        command: click.Command = import_module(COMMANDS[name][0]).command
        return name, command, rest


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vestibule-gateway", prog_name="vestibule")
def main() -> None:
    """OAuth 2.1 in front of APIs and MCP servers that already exist."""
