"""`vestibule secrets`: there are no default secrets (design decision 20), so making good ones is one command."""

import rich_click as click

from vestibule.crypto.random import token

SECRET_BYTES = 32

_ENV = """\
# Two secrets, made just now and stored nowhere: whoever has them can forge sign-ins and open stored tokens.
# Save this as a file that only the gateway can read, such as vestibule.env with mode 0600, and keep it out of git:
#     (umask 077; vestibule secrets > vestibule.env)
#     set -a; . ./vestibule.env; set +a; vestibule serve
# The config then refers to them, and never holds them itself:
#     secrets:
#       signing: ["${{VESTIBULE_SIGNING_KEY}}"]
#       sealing: ["${{VESTIBULE_SEALING_KEY}}"]
# To rotate one, put a new secret first in its list and keep the old one behind it until what it made has expired.
VESTIBULE_SIGNING_KEY={signing}
VESTIBULE_SEALING_KEY={sealing}
"""

_YAML = """\
# Made just now and stored nowhere: whoever has these can forge sign-ins and open stored tokens. A config that holds
# secrets itself must be readable by the gateway only, and stay out of git. To rotate one, put a new secret first in its
# list and keep the old one behind it until what it made has expired.
secrets:
  signing:
    - {signing}
  sealing:
    - {sealing}
"""


@click.command("secrets")
@click.option(
    "--format",
    "form",
    type=click.Choice(["env", "yaml"]),
    default="env",
    show_default=True,
    help="Lines for an environment file, or a `secrets` section for the config.",
)
def command(form: str) -> None:
    """Print fresh signing and sealing secrets, ready to paste.

    `signing` protects sign-ins, cookies and identity tokens; `sealing` encrypts provider tokens in the database.
    """
    template = _ENV if form == "env" else _YAML
    click.echo(template.format(signing=_quoted(form), sealing=_quoted(form)), nl=False)


def _quoted(form: str) -> str:
    """Quoted in YAML, where a text that begins with `-` or looks like a number would be something else."""
    text = token(SECRET_BYTES)
    return f'"{text}"' if form == "yaml" else text
