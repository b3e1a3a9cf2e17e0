"""Real OCI registries, `docker-registry`, for tests.

`oci_registry` is one for everybody, `locked_registry` wants the name and password of `TESTER`; each is one process for
all tests of a worker. `own_registry` starts others, that may speak TLS or forbid deletes, for one test.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from services.absences import absent
from services.seaweed import LAUNCHER

PATIENCE = 60.0
"""Seconds that a registry may take to start on a busy machine."""


@attrs.frozen
class Account:
    """Who is let in.

    Attributes:
        hashed: The password, as a registry's file of passwords has it (bcrypt).
    """

    username: str
    password: str
    hashed: str


TESTER = Account("tester", "pass-of-tester", "$2b$04$a1jYsaan99tFGP1aa3lzQOZUqK.BLz40P5t/3iRCnJnCrvTv0o07i")


@attrs.define
class OciRegistry:
    """One process of `docker-registry`, with its files in a directory.

    Attributes:
        account: Who alone is let in; else everybody.
        host: The address that it listens on; a wildcard makes it reachable by all of this machine's.
        tls: Whether it speaks TLS, with a certificate that nobody trusts, which is in `certificate`.
        deletes: Whether images can be deleted.
    """

    directory: Path
    account: Account | None = None
    host: str = "127.0.0.1"
    tls: bool = False
    deletes: bool = True
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it answers on this machine."""
        return f"127.0.0.1:{self.port}"

    @property
    def outer(self) -> str:
        """Where it answers those who call this machine from outside, if it listens there."""
        return f"{outer_address()}:{self.port}"

    @property
    def certificate(self) -> Path:
        """The certificate that it shows, which is its own authority."""
        return self.directory / "tls.crt"

    @property
    def log(self) -> str:
        """What it said."""
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, on another port if somebody was faster, and wait until it answers."""
        if self.tls:
            self._certify()
        for _ in range(5):
            self.port = free_port(self.host)
            self._spawn()
            if self._listens():
                return
            self.kill()
        raise AssertionError(f"docker-registry does not start:\n{self.log[-4000:]}")

    def kill(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _certify(self) -> None:
        key, names = self.directory / "tls.key", f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{outer_address()}"
        made = ["-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", self.certificate, "-days", "2"]
        command = ["openssl", "req", "-x509", *made, "-subj", "/CN=registry-of-tests", "-addext", names]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def _settings(self) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": f"{self.host}:{self.port}", "secret": "of-tests"}
        if self.tls:
            http["tls"] = {"certificate": str(self.certificate), "key": str(self.directory / "tls.key")}
        auth = {"htpasswd": {"realm": "tests", "path": str(self.directory / "passwords")}}
        storage = {"filesystem": {"rootdirectory": str(self.directory / "images")}, "delete": {"enabled": self.deletes}}
        return {"version": "0.1", "storage": storage, "http": http} | ({"auth": auth} if self.account else {})

    def _spawn(self) -> None:
        if self.account:
            (self.directory / "passwords").write_text(f"{self.account.username}:{self.account.hashed}\n")
        settings = self.directory / "config.yml"
        settings.write_text(json.dumps(self._settings))  # which is YAML as well
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, str(os.getpid()), program(), "serve", str(settings)],
                cwd=self.directory,
                env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which stop it
            )

    def _listens(self) -> bool:
        """Wait until it takes connections; false if it ended, as where another process has taken its port."""
        assert self._process is not None
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2):
                return True
            time.sleep(0.05)
        return False


def program() -> str:
    """The registry's program; without it tests are skipped, or fail where nothing may be missing."""
    return shutil.which("docker-registry") or absent(
        "There is no OCI registry: apt-get install docker-registry, which has the program `docker-registry`."
    )


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def outer_address() -> str:
    """An address of this machine that is no loopback address; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


@contextlib.contextmanager
def serving(**settings: Any) -> Iterator[OciRegistry]:
    """A registry of its own, whose images are removed afterwards."""
    program()  # before anything is made
    with tempfile.TemporaryDirectory(prefix="drystone-registry-", ignore_cleanup_errors=True) as directory:
        registry = OciRegistry(Path(directory), **settings)
        try:
            registry.start()
            yield registry
        finally:
            registry.kill()


@pytest.fixture(scope="session")
def oci_registry() -> Iterator[OciRegistry]:
    """A registry that lets everybody in."""
    with serving() as registry:
        yield registry


@pytest.fixture(scope="session")
def locked_registry() -> Iterator[OciRegistry]:
    """A registry that lets `TESTER` in, and nobody else."""
    with serving(account=TESTER) as registry:
        yield registry


@pytest.fixture
def own_registry() -> Iterator[Callable[..., OciRegistry]]:
    """Starts registries of this test's own, each with the settings it is given."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(serving(**settings))
