"""Servers for end-to-end tests: each in a process of its own, on loopback, on an ephemeral port, bounded in time.

A server is ended by its own process id, never by a name. Every process is started through `_BOUNDED`, which sets an
alarm and then becomes the program: an alarm survives exec, so that a server outlives neither its test run nor a test
run that was killed. What a server prints goes to a file and into the report of the test that fails (conftest).
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import httpx
import pytest

OWN_MODULES = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
"""Environment in which `python -m real.…` finds the stand-ins."""
START_SECONDS = 15.0
STOP_SECONDS = 5.0
LIFETIME_SECONDS = 1800
_BOUNDED = "import os, signal, sys; signal.alarm(int(sys.argv[1])); os.execvp(sys.argv[2], sys.argv[2:])"


def need(name: str) -> None:
    """Go on only if the module or program `name` is there: in CI its absence is a failure, on a laptop a skip."""
    if program(name) or importlib.util.find_spec(name):
        return
    reason = f"{name!r} is not installed: pip install -e '.[test]', or the system's package of that name"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def program(name: str) -> str | None:
    """The console script beside this interpreter, else the program on the PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def free_port() -> int:
    """A port that nothing listens on; the operating system does not hand it out again soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StartError(Exception):
    """The server ended or did not answer in time; carries the end of what it printed."""


class Server:
    """One program that listens on 127.0.0.1:`port`; `with` starts it, waits until it answers, and ends it.

    `start` and `stop` may be called again: a restart on the same port is what a client sees of a crash.
    """

    running: ClassVar[list["Server"]] = []

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        port: int,
        directory: Path,
        env: Mapping[str, str] | None = None,
        ready: str | None = None,
    ) -> None:
        """`ready` is a path that has to answer 200; without it an accepted connection is enough."""
        self.name = name
        self.command = list(command)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.ready = ready
        self.output_file = directory / f"{name}-{port}.log"
        # The tests' own environment is not passed on: a proxy variable or a secret of the machine would change results.
        self.env = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        bounded = [sys.executable, "-I", "-S", "-c", _BOUNDED, str(LIFETIME_SECONDS), *self.command]
        with self.output_file.open("ab") as output:
            self._process = subprocess.Popen(
                bounded, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        Server.running.append(self)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                self.stop()
                what = f"did not answer within {START_SECONDS:.0f} s" if ended is None else f"ended with status {ended}"
                raise StartError(f"{self.name} {what}\n{self.output()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not obeyed in time."""
        process = self._process
        if process is None:
            return
        self._process = None
        Server.running.remove(self)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL at once, for tests of a crash."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self.stop()

    def output(self, since: int = 0, characters: int = 8000) -> str:
        """The end of what the server printed after the first `since` bytes, over all of its starts."""
        return self.output_file.read_bytes()[since:].decode(errors="replace")[-characters:]

    def printed(self) -> int:
        """How many bytes the server has printed so far."""
        return self.output_file.stat().st_size

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False  # somebody else may listen there
        try:
            if self.ready is None:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            return httpx.get(self.url + self.ready, timeout=2, trust_env=False).status_code == httpx.codes.OK
        except (OSError, httpx.TransportError):
            return False
