"""Servers written in JavaScript: `node/*.mjs` on packages that `npm ci` puts into a cache outside the repository.

The cache is named after the lock file, so another lock file gets packages of its own, and the next test run none at
all. Scripts run from a copy beside a link to the packages: that is where Node looks for them.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from real.processes import Server, need, program

SCRIPTS = Path(__file__).parent / "node"
INSTALL_SECONDS = 240


def node_scripts(directory: Path) -> Path:
    """A directory in which the scripts run, made once for a test run; the packages are installed first if need be."""
    need("node")
    need("npm")
    packages = _installed()
    copy = directory / "node"
    if not copy.exists():
        copy.mkdir()
        for script in SCRIPTS.glob("*.mjs"):
            shutil.copy(script, copy)
        (copy / "node_modules").symlink_to(packages)
    return copy


class NodeServer(Server):
    def __init__(self, name: str, scripts: Path, *arguments: str, port: int, ready: str | None = None) -> None:
        command = [program("node") or "node", str(scripts / f"{name}.mjs"), *arguments]
        env = {"NODE_ENV": "test", "NO_COLOR": "1"}
        super().__init__(name, command, port=port, directory=scripts.parent, env=env, ready=ready)


def request(method: str, url: str, **arguments: Any) -> httpx.Response:
    """Without proxies, and without TLS: loading certificates would cost more than a request on loopback."""
    with httpx.Client(trust_env=False, verify=False, timeout=arguments.pop("timeout", 10)) as http:
        return http.request(method, url, **arguments)


def _installed() -> Path:
    lock = (SCRIPTS / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vestibule-tests"
    final = cache / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if final.exists():
        return final / "node_modules"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as made:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SCRIPTS / name, made)
        command = [program("npm") or "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            ended = subprocess.run(
                command, cwd=made, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
            )
            problem = ended.stderr[-2000:] if ended.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"no end after {INSTALL_SECONDS} s"
        if problem:
            _missing(f"the packages in {SCRIPTS.name}/package-lock.json cannot be installed: {problem}")
        try:
            Path(made).rename(final)  # at once, so that no other test run ever sees half of it
            Path(made).mkdir()  # for the end of the `with`
        except OSError:
            if not final.exists():  # another test run was faster
                raise
    return final / "node_modules"


def _missing(reason: str) -> None:
    """As `need`: in CI a failure, on a laptop without a network a skip."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
