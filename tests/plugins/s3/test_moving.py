"""Artifacts and whole workspaces that move into a bucket and back, with a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from drystone import FilesystemLedger, Secret, Stack, Workspace, copy_workspace, hookimpl, load_plugins, pipeline, step
from drystone.blobs import blob_key
from drystone.choices import lent
from drystone.errors import BlobLostError
from drystone.testing import memory_stack
from drystone_local import LocalArtifactStore
from drystone_s3 import S3ArtifactStore
from services.seaweed import S3Server


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def total(xs: list[int], plus: int = 0) -> int:
    return sum(xs) + plus


@pipeline
def sums(n: int = 1000, plus: int = 0) -> int:
    return total(numbers(n), plus)


@pytest.fixture
def bucket(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], S3ArtifactStore]]:
    """Stores in a fresh bucket, by prefix; workspaces are there behind URLs as `bucket://ledger`."""
    monkeypatch.setenv("S3_KEY", s3_server.admin.key)
    monkeypatch.setenv("S3_SECRET", s3_server.admin.secret)

    def store(prefix: str) -> S3ArtifactStore:
        return S3ArtifactStore(
            f"s3://{s3_bucket}/{prefix}",
            endpoint_url=s3_server.endpoint_url,
            key=Secret("env:S3_KEY"),
            secret=Secret("env:S3_SECRET"),
        )

    class Bucket:
        @hookimpl
        def drystone_ledgers(self) -> dict[str, Callable[[str], FilesystemLedger]]:
            return {"bucket": lambda url: FilesystemLedger(store(urlsplit(url).netloc))}

    with load_plugins().observed(Bucket(), "bucket"):
        yield store


@pytest.fixture
def team(bucket: Callable[[str], S3ArtifactStore]) -> Stack:
    return memory_stack("team", artifact_store=bucket("artifacts"))


def home(project: Path, name: str, monkeypatch: pytest.MonkeyPatch, location: str) -> Workspace:
    """The workspace of somebody with a home of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / name))
    monkeypatch.setenv("DRYSTONE_WORKSPACE", location)
    return Workspace.current()


def test_a_workspace_moves_into_a_bucket_and_its_results_are_used_there(
    project: Path, team: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = memory_stack("own", artifact_store=LocalArtifactStore(str(project / "own")))
    ann = home(project, "ann", monkeypatch, str(project / "here"))
    assert sums.with_options(stack=own)().executed == 2
    ann.close()
    with lent(own):
        copy = copy_workspace(project / "here", "bucket://ledger", stack=team)
    assert (copy.ahead, copy.blobs.lost) == (0, {})
    again = copy_workspace(project / "here", "bucket://ledger", stack=team)
    assert (again.commits, again.blobs.copied) == (0, ())
    (project / "own").rename(project / "gone")
    ben = home(project, "ben", monkeypatch, "bucket://ledger")
    used = sums.with_options(stack=team)()
    assert (used.executed, used.output.load()) == (0, sum(range(1000)))
    assert ben.verify() == []
    ben.close()
    with lent(team):
        copy_workspace("bucket://ledger", project / "back", stack=own)
    back = home(project, "ann", monkeypatch, str(project / "back"))
    assert sums.with_options(stack=own)().output.load() == sum(range(1000))
    assert back.run("sums-2") == used
    back.close()


def test_a_blob_that_a_bucket_lost_is_made_anew(
    workspace: Workspace, team: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = sums.with_options(stack=team)()
    (lost,) = done.steps["numbers"].outputs.values()
    team.artifact_store.delete(blob_key(lost.manifest.blobs[0].digest))
    assert sums.with_options(stack=team)().executed == 0, "nobody reads it"
    assert sums.with_options(stack=team)(plus=1).executed == 2
    assert lost.load() == list(range(1000))
    team.artifact_store.delete(blob_key(lost.manifest.blobs[0].digest))
    assert lost.load() == list(range(1000)), "whoever has read it has kept it"
    monkeypatch.setenv("DRYSTONE_CACHE", str(workspace.directory / "another machine's"))
    with pytest.raises(BlobLostError):
        lost.load()
    assert sums.with_options(stack=team)().executed == 1


def test_versions_are_pushed_into_a_bucket_and_pulled_from_it(project: Path, workspace: Workspace, team: Stack) -> None:
    own = memory_stack("own", artifact_store=LocalArtifactStore(str(project / "own")))
    done = sums.with_options(stack=own)()
    assert len(workspace.push(workspace.artifacts(), team).copied) == 2
    (project / "own").rename(project / "gone")
    other = memory_stack("other", artifact_store=LocalArtifactStore(str(project / "other")))
    assert workspace.pull([done.output], other).size > 0
    assert done.output.load() == sum(range(1000))
