# ruff: noqa: INP001  # a script, not a package
"""Takes the pictures in this directory: sample view models through `vestibule.web.pages`, seen by a real Chromium.

Run it after a change to the templates: `python docs/images/make.py [directory]`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from msgspec.structs import replace

from vestibule.web import pages

CONSENT = pages.ConsentPage(
    client_name="Claude Code",
    client_domain=None,
    client_source="dcr",
    redirect_uri="http://127.0.0.1:33418/callback",
    redirect_host="127.0.0.1:33418",
    loopback=True,
    resource_url="https://gate.example.com/mcp",
    resource_title="Acme Issues",
    permissions=[
        pages.PermissionChoice(
            id="read",
            title="Read issues",
            description="See issues, comments and attachments of your projects.",
            ticked=True,
            provider_scopes=[("GitHub", "read:org")],
        ),
        pages.PermissionChoice(
            id="write",
            title="Change issues",
            description="Create, edit and close issues in your name.",
            ticked=True,
            provider_scopes=[("GitHub", "repo")],
        ),
        pages.PermissionChoice(
            id="admin",
            title="Manage projects",
            description="Add and remove people, labels and milestones.",
            provider_scopes=[("GitHub", "repo"), ("GitHub", "admin:org")],
        ),
    ],
    providers=[pages.ProviderChoice(id="github", title="GitHub")],
    action="/oauth/consent",
    request="eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
)
VERIFIED = replace(
    CONSENT,
    client_name="Claude",
    client_domain="claude.ai",
    client_source="cimd",
    redirect_uri="https://claude.ai/api/mcp/auth_callback",
    redirect_host="claude.ai",
    loopback=False,
    permissions=CONSENT.permissions[:2],
)
ERROR = pages.ErrorPage(
    status=403,
    title="You are signed in, but not allowed in",
    description="This resource is limited to certain people, and your account is not among them.",
    advice="Ask whoever runs this gateway for access, or sign in with another account.",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    return_url="https://claude.ai/api/mcp/auth_callback?error=access_denied",
    return_label="Back to Claude",
)
DEV = pages.DevSignInPage(
    users=[
        pages.DevUser(id="ada", name="Ada Park", email="ada@acme.example", note="Member of acme/platform"),
        pages.DevUser(id="bruno", name="Bruno Silva", email="bruno@acme.example", note="No groups"),
        pages.DevUser(id="chen", name="Chen Wei", email="chen@elsewhere.example", note="Outside the company"),
    ],
    action="/dev/provider/authorize",
    hidden={"state": "c3RhdGU"},
    client_name="Acme Issues",
    scopes=["openid", "email"],
)

PICTURES = {
    "consent-light.png": (CONSENT, 1280, 900, False),
    "consent-dark.png": (CONSENT, 1280, 900, True),
    "consent-phone.png": (VERIFIED, 390, 844, False),
    "error.png": (ERROR, 1280, 560, False),
    "dev-signin.png": (DEV, 1280, 800, False),
}


def take(
    page: pages.ConsentPage | pages.ErrorPage | pages.DevSignInPage, target: Path, *, size: str, dark: bool
) -> None:
    """One picture. The scheme is a Blink setting: 0 is dark, 1 is light."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("chromium is needed to take the pictures")
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "page.html")
        source.write_bytes(pages.render(page).html)
        subprocess.run(  # noqa: S603  # our own arguments
            [
                chromium,
                "--headless",
                "--no-first-run",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                f"--user-data-dir={directory}/profile",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--window-size={size}",
                f"--screenshot={target}",
                source.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, (model, width, height, dark) in PICTURES.items():
        take(model, (where / name).resolve(), size=f"{width},{height}", dark=dark)
