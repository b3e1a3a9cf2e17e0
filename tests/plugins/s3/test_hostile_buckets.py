"""A damaged ledger in a bucket is named as one on a drive is; the machine that is asked may be a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drystone import Secret
from drystone.errors import LedgerDamagedError
from drystone.segments import SEGMENT, commit_name, segment_name
from drystone_s3 import S3ArtifactStore, S3Workspace
from services.seaweed import S3Server

Open = Callable[[str], S3Workspace]


@pytest.fixture
def machine(
    s3_server: S3Server,
    s3_bucket: str,
    credentials: dict[str, Secret],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Open]:
    """Opens the workspace of a bucket as a machine with a home of its own."""
    opened = []

    def machine(name: str) -> S3Workspace:
        monkeypatch.setenv("XDG_CACHE_HOME", str(project / name))
        root = f"s3://{s3_bucket}/workspace"
        opened.append(S3Workspace(root, endpoint_url=s3_server.endpoint_url, **credentials))
        return opened[-1]

    yield machine
    for each in opened:
        each.close()


@pytest.fixture
def objects(s3_server: S3Server, s3_bucket: str, credentials: dict[str, Secret]) -> S3ArtifactStore:
    """The objects of the ledger."""
    return S3ArtifactStore(f"s3://{s3_bucket}/workspace", endpoint_url=s3_server.endpoint_url, **credentials)


Damage = Callable[[S3ArtifactStore], None]

DAMAGE: dict[str, Damage] = {
    "missing": lambda store: store.delete(commit_name(3)),
    "two missing": lambda store: [store.delete(commit_name(seq)) for seq in (3, 4)] and None,
    "truncated": lambda store: store.write(commit_name(3), store.read_range(commit_name(3), 0, 90)),
    "empty": lambda store: store.write(commit_name(3), b""),
    "of another ledger": lambda store: store.write(commit_name(3), store.read_range(commit_name(1), 0, None)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_commit_is_refused_and_named(machine: Open, objects: S3ArtifactStore, damage: str) -> None:
    known = machine("known")
    for _ in range(8):
        known.create_model_version("m")
    DAMAGE[damage](objects)
    with pytest.raises(LedgerDamagedError, match="Commit 3 "):
        machine("fresh").models()
    for each in (known, machine("fresh")):
        ((kind, subject),) = [(found.kind, found.subject) for found in each.verify()]
        assert (kind, subject) == ("commit", commit_name(3))


def test_what_is_beside_the_commits_is_named_and_does_no_harm(machine: Open, objects: S3ArtifactStore) -> None:
    known = machine("known")
    for _ in range(SEGMENT):
        known.create_model_version("m")
    objects.write(segment_name(0), b"damaged")
    for name in ("holiday.jpg", "blobs/aa/1", "blobs/aa/2"):
        objects.write(name, b"x")
    for each in (known, machine("fresh")):
        assert len(each.model_versions("m", limit=None)) == SEGMENT
        assert [(found.kind, found.subject) for found in each.verify()] == [
            ("object", "blobs/"),
            ("object", "holiday.jpg"),
            ("object", segment_name(0)),
        ]
