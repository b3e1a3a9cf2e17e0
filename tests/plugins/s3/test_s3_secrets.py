"""Secrets of a stack are nowhere but in the environment: whatever is done with them, and whatever fails."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import sys
import urllib.parse
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from services.seaweed import Identity, S3Server

STACKS = """
import os

from drystone import Secret, Stack
from drystone_local import LocalOrchestrator
from drystone_s3 import S3ArtifactStore, S3Workspace


def stack(name, root, endpoint=os.environ["ENDPOINT"], secret="env:S3_SECRET", **settings):
    secrets = dict(key=Secret("env:S3_KEY"), secret=Secret(secret))
    store = S3ArtifactStore(root, endpoint_url=endpoint, region="us-east-1", **secrets, **settings)
    return Stack(name, orchestrator=LocalOrchestrator(isolation="process"), artifact_store=store)


BUCKET = os.environ["BUCKET"]
team = stack("team", f"s3://{BUCKET}/artifacts")
stranger = stack("stranger", f"s3://{BUCKET}/artifacts", secret="env:WRONG_SECRET")
session = stack("session", f"s3://{BUCKET}/artifacts", token=Secret("env:S3_TOKEN"))
nowhere = stack("nowhere", "s3://there-is-no-such-bucket/artifacts")
away = stack("away", f"s3://{BUCKET}/artifacts", endpoint="http://127.0.0.1:9", options={"connect_timeout": 1})
odd = stack("odd", f"s3://{BUCKET}/artifacts", options={"client_kwargs": {"use_ssl": Secret("env:S3_TOKEN")}, "no": 1})
default = team
workspace = S3Workspace(
    f"s3://{BUCKET}/workspace",
    endpoint_url=os.environ.get("WORKSPACE_ENDPOINT", os.environ["ENDPOINT"]),
    key=Secret("env:S3_KEY"),
    secret=Secret(os.environ.get("WORKSPACE_SECRET", "env:S3_SECRET")),
)
"""

FLOW = """
from pathlib import Path

from drystone import log_metadata, pipeline, step


@step
def numbers() -> list:
    print("counting")
    log_metadata({"count": 3})
    return [1, 2, 3] * 100_000


@step(retries=1)
def total(xs: list) -> int:
    if not Path("again").exists():
        Path("again").touch()
        raise RuntimeError("the first attempt fails")
    return sum(xs)


@pipeline
def flow():
    return total(numbers())


@step
def broken(xs: list) -> int:
    raise ValueError(xs[0])


@pipeline
def failing():
    return broken(numbers())


if __name__ == "__main__":
    flow.with_options(stack="stranger", cache=False)()
"""

SECRETS = {
    "S3_SECRET": "",  # that of an identity, below
    "WRONG_SECRET": "wr0ng/secret+that=is&not%right",
    "S3_TOKEN": "t0ken/of+a=session&that%ended",
}


@attrs.frozen
class Spy(Identity):
    """Somebody whose secret looks different in URLs, in HTML, and in a repr."""

    @property
    def secret(self) -> str:
        """The secret key."""
        return f"s3cr3t/with+odd=and&{self.name}"


@attrs.frozen
class Machine:
    """A project with everything that belongs to its user, and what commands said there."""

    folder: Path
    environment: dict[str, str]
    said: list[bytes] = attrs.field(factory=list)

    def run(self, *words: str, **environment: str) -> int:
        """Run a command of drystone, or a script; returns the exit code."""
        program = [sys.executable, *words] if words[0].endswith(".py") else [self.drystone, *words]
        done = subprocess.run(
            program,
            cwd=self.folder / "project",
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=120,
        )
        self.said.append(done.stdout + done.stderr)
        return done.returncode

    @property
    def drystone(self) -> str:
        """The command."""
        return str(Path(sys.executable).with_name("drystone"))


@pytest.fixture
def machine(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> Machine:
    user = Spy(f"spy-{s3_bucket}", ("Read", "Write", "List"))
    s3_server.allow(user)
    folders = {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config"}
    for name in (*folders.values(), "project"):
        (tmp_path / name).mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text("")
    (tmp_path / "project" / "stacks.py").write_text(STACKS)
    (tmp_path / "project" / "flow.py").write_text(FLOW)
    return Machine(
        tmp_path,
        {
            **{name: str(tmp_path / folder) for name, folder in folders.items()},
            "ENDPOINT": s3_server.endpoint_url,
            "BUCKET": s3_bucket,
            "DRYSTONE_AUTHOR": "somebody",
            **SECRETS,
            "S3_KEY": user.key,
            "S3_SECRET": user.secret,
        },
    )


def forms(secret: str) -> set[bytes]:
    """A text, and what else somebody could read it from."""
    quoted = {secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}
    encoded = {base64.b64encode(f"{secret}".encode()).decode().rstrip("=")[:-1], secret.encode().hex(), secret[::-1]}
    return {text.encode() for text in (*quoted, *encoded, secret.replace("&", "&amp;"), repr(secret)[1:-1])}


def unpacked(data: bytes) -> Iterator[bytes]:
    """Bytes, and what they are when they are unpacked."""
    yield data
    with suppress(OSError, EOFError, zlib.error):
        yield gzip.decompress(data)
    with suppress(zlib.error):
        yield zlib.decompress(data)


def kept(machine: Machine, server: S3Server, bucket: str) -> Iterator[tuple[str, bytes]]:
    """All that was said, and all that is kept anywhere, in the bucket or on the machine."""
    yield from ((f"what command {number} said", text) for number, text in enumerate(machine.said))
    for path in machine.folder.rglob("*"):
        yield f"the path {path}", str(path).encode()
        if path.is_file():
            yield from ((str(path), each) for each in unpacked(path.read_bytes()))
    for page in server.administration.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for each in page.get("Contents", ()):
            found = server.administration.get_object(Bucket=bucket, Key=each["Key"])
            yield f"the name and metadata of {each['Key']}", f"{each['Key']} {found['Metadata']}".encode()
            yield from ((each["Key"], data) for data in unpacked(found["Body"].read()))


def test_no_secret_is_kept_or_said(machine: Machine, s3_server: S3Server, s3_bucket: str) -> None:
    """Of a team's stack and of five that cannot work, in runs that succeed, are repeated, fail and never start.

    What pytest or rich would print of the variables of every frame of a traceback is beyond this.
    """
    assert machine.run("run", "flow.py:flow", DRYSTONE_TRACE="1") == 0
    assert machine.run("--debug", "run", "flow.py:failing") == 1
    assert machine.run("run", "flow.py:failing", "--json") == 1
    for stack in ("stranger", "session", "nowhere", "away", "odd"):
        assert machine.run("--debug", "run", "flow.py:flow", "--stack", stack, "--no-cache", DRYSTONE_TRACE="1") == 1
        assert machine.run("stacks", "publish", stack) == 0, machine.said[-1].decode()
    for stack in ("stranger", "odd"):
        assert machine.run("stacks", "check", stack) == 1
    assert machine.run("flow.py") == 1
    for words in (
        ["stacks", "show", "odd"],
        ["stacks", "diff", "team", "stranger"],
        ["stacks", "doc", "--output", "stacks.md"],
        ["plugins", "doctor"],
        ["runs", "show", "flow-1"],
        ["logs", "failing-1"],
        ["workspace", "verify"],
        ["replay", "failing-1", "broken"],
    ):
        machine.run("--debug", *words, DRYSTONE_TRACE="1")
    for changed in (
        {"S3_SECRET": ""},
        {"WORKSPACE_SECRET": "env:WRONG_SECRET"},
        {"WORKSPACE_ENDPOINT": "http://127.0.0.1:9"},
    ):
        assert machine.run("--debug", "models", "promote", "m", "1", "production", **changed) == 1
    assert machine.run("run", "flow.py:flow", "--no-cache", S3_SECRET="") == 1
    secrets = {name: machine.environment[name] for name in ("S3_KEY", *SECRETS)}
    found = [
        (name, place)
        for place, data in kept(machine, s3_server, s3_bucket)
        for name, secret in secrets.items()
        if any(form in data for form in forms(secret))
    ]
    assert found == []
    assert any(b"counting" in data for _, data in kept(machine, s3_server, s3_bucket)), "the search finds what is there"
    assert b"env:S3_SECRET" in b"\n".join(machine.said)
