"""What is written to the log, in a process of its own: set-up is for the whole process."""

import json
import subprocess
import sys

import pytest

CANARY = "vst_at_canary"
PROGRAM = """
import logging
import structlog
from vestibule.logs import configure
from vestibule.model import Secret

configure(pretty=PRETTY)
log = structlog.get_logger("test")

def fails(key):
    cookie = key
    raise RuntimeError("boom")

try:
    fails("vst_at_" + "canary")
except RuntimeError:
    log.exception("failed", secret=Secret("vst_at_" + "canary"))
logging.getLogger("httpx").info("GET https://idp.example/?code=vst_at_" + "canary")
logging.getLogger("uvicorn.error").error("ASGI callable returned without completing response.")
"""


def run(pretty):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("PRETTY", str(pretty))], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("pretty", [False, True], ids=["json", "dev"])
def test_attack_secrets_in_tracebacks(pretty):
    """A traceback names the error and where it was, never the local variables: they hold keys, codes and cookies."""
    written = run(pretty)
    assert "RuntimeError" in written
    assert "boom" in written
    assert "fails" in written
    assert CANARY not in written


def test_one_object_a_line():
    """JSON for machines; an intended broken end and the URLs of libraries are not in it."""
    (line,) = run(pretty=False).splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["secret"]) == ("failed", "error", "Secret(***)")
