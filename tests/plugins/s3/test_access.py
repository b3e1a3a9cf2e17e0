"""The policies of docs/how-to/s3-access.md, word for word, on a real server: what each role can do and cannot do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drystone import FilesystemLedger, Secret
from drystone.errors import StoreAccessError, WorkspaceAccessError
from drystone.ledgers import Head, next_commit
from drystone_s3 import S3ArtifactStore
from services.seaweed import Identity, S3Server

PAGE = Path(__file__).parents[3] / "docs/how-to/s3-access.md"

Enter = Callable[[str], Identity]


def policies(bucket: str) -> dict[str, str]:
    """The policies of the page by what the first statement of each is called, for a bucket of a test."""
    found = [text for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL) if "Version" in text]
    texts = [text.replace("arn:aws:s3:::flights", f"arn:aws:s3:::{bucket}") for text in found]
    return {json.loads(text)["Statement"][0]["Sid"]: text for text in texts}


ROLES = {"reader": ("Names",), "runner": ("Names", "Commit"), "promoter": ("Names", "Commit", "Promote")}


@pytest.fixture
def enter(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Makes the process that of a user with a role, by its name."""
    texts = policies(s3_bucket)
    known = {
        role: Identity(f"{role}-{s3_bucket}", policies=tuple(texts[name] for name in named))
        for role, named in ROLES.items()
    }
    s3_server.allow(*known.values())

    def into(role: str) -> Identity:
        identity = known.get(role, s3_server.admin)
        monkeypatch.setenv("S3_KEY", identity.key)
        monkeypatch.setenv("S3_SECRET", identity.secret)
        return identity

    return into


@pytest.fixture
def store(s3_server: S3Server, s3_bucket: str) -> Callable[[str], S3ArtifactStore]:
    """Stores in the bucket, by prefix."""
    secrets = {"key": Secret("env:S3_KEY"), "secret": Secret("env:S3_SECRET")}
    return lambda prefix: S3ArtifactStore(f"s3://{s3_bucket}/{prefix}", endpoint_url=s3_server.endpoint_url, **secrets)


Store = Callable[[str], S3ArtifactStore]


def names(server: S3Server, bucket: str) -> dict[str, str]:
    """Every object of a bucket, with what tells its content."""
    found: dict[str, Any] = server.administration.list_objects_v2(Bucket=bucket)
    return {each["Key"]: each["ETag"] for each in found.get("Contents", ())}


def test_a_runner_commits_and_leases_and_grants_nothing(enter: Enter, store: Store) -> None:
    enter("runner")
    ledger = FilesystemLedger(store("workspace"))
    ledger.probe()
    head = Head()
    for _ in range(70):
        commit = next_commit(head, [{"type": "test", "v": 1, "critical": False}])
        ledger.append(commit)
        head = commit.head
    assert ledger.lease("run", "a", 60)
    assert ledger.lease("run", "a", 60)
    ledger.release("run", "a")
    ledger.forget("run")
    ledger.keep_checkpoint("v3-1", b"x")
    with pytest.raises(WorkspaceAccessError):
        ledger.grant(commit)
    assert not ledger.is_granted(commit)
    enter("promoter")
    promoter = FilesystemLedger(store("workspace"))
    promoter.grant(commit)
    assert promoter.is_granted(commit)
    assert list(promoter.oddities()) == []


def test_a_reader_reads_and_changes_nothing(enter: Enter, store: Store, s3_server: S3Server, s3_bucket: str) -> None:
    enter("runner")
    commit = next_commit(Head(), [{"type": "test", "v": 1, "critical": False}])
    FilesystemLedger(store("workspace")).append(commit)
    store("artifacts").write("blobs/aa/1", b"value")
    before = names(s3_server, s3_bucket)
    enter("reader")
    ledger = FilesystemLedger(store("workspace"))
    assert [each.id for each in ledger.read()] == [commit.id]
    assert (ledger.holder("run"), ledger.checkpoints(), ledger.is_granted(commit)) == (None, [], False)
    assert ledger.now() > 1e9
    assert store("artifacts").read_range("blobs/aa/1", 0, None) == b"value"
    calls: list[Callable[[], object]] = [
        lambda: ledger.append(next_commit(commit.head, [])),
        lambda: ledger.grant(commit),
        lambda: ledger.lease("run", "a", 60),
        ledger.probe,
    ]
    for call in calls:
        with pytest.raises(WorkspaceAccessError, match=r"refuses|may not"):
            call()
    for write in (lambda: store("artifacts").write("x", b""), lambda: store("artifacts").delete("blobs/aa/1")):
        with pytest.raises(StoreAccessError):
            write()
    assert names(s3_server, s3_bucket) == before


WAYS: dict[str, Callable[[Any, str, str], object]] = {
    "writes": lambda client, bucket, key: client.put_object(Bucket=bucket, Key=key, Body=b"forged"),
    "copies": lambda client, bucket, key: client.copy_object(
        Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": "artifacts/forged"}
    ),
    "uploads in parts": lambda client, bucket, key: client.create_multipart_upload(Bucket=bucket, Key=key),
    "deletes": lambda client, bucket, key: client.delete_object(Bucket=bucket, Key=key),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("role", "key"),
    [
        ("runner", "workspace/grants/made"),
        ("runner", "workspace/anything"),
        ("runner", "elsewhere"),
        ("reader", "workspace/grants/made"),
        ("reader", "workspace/commits/1"),
        ("reader", "workspace/leases/run.1"),
        ("reader", "artifacts/forged"),
    ],
)
def test_there_is_no_way_around(
    enter: Enter, s3_server: S3Server, s3_bucket: str, role: str, key: str, way: str
) -> None:
    from botocore.exceptions import ClientError

    for each in ("artifacts/forged", "workspace/grants/made", "workspace/commits/1", "elsewhere"):
        s3_server.administration.put_object(Bucket=s3_bucket, Key=each, Body=b"x")
    before = names(s3_server, s3_bucket)
    with pytest.raises(ClientError, match="AccessDenied"):
        WAYS[way](s3_server.client(enter(role)), s3_bucket, key)
    assert names(s3_server, s3_bucket) == before


@pytest.mark.parametrize("folder", ["commits", "segments", "grants"])
def test_history_stays_whoever_wants_it_gone(
    enter: Enter, store: Store, s3_server: S3Server, s3_bucket: str, folder: str
) -> None:
    """With the policy on the bucket, which stops nobody from doing what his role lets him do."""
    from botocore.exceptions import ClientError

    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}
    owner = Identity(f"owner-{s3_bucket}", policies=(json.dumps({"Version": "2012-10-17", "Statement": [everything]}),))
    s3_server.allow(owner)
    s3_server.administration.put_bucket_policy(Bucket=s3_bucket, Policy=policies(s3_bucket)["KeepHistory"])
    enter("promoter")
    ledger = FilesystemLedger(store("workspace"))
    commit = next_commit(Head(), [{"type": "test", "v": 1, "critical": False}])
    ledger.grant(commit)
    ledger.append(commit)
    assert ledger.lease("run", "a", 60)
    ledger.forget("run")
    key = f"workspace/{folder}/1"
    s3_server.administration.put_object(Bucket=s3_bucket, Key=key, Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3_server.client(owner).delete_object(Bucket=s3_bucket, Key=key)
    assert key in names(s3_server, s3_bucket)
    s3_server.administration.delete_bucket_policy(Bucket=s3_bucket)


def test_nobody_makes_policies_for_himself(enter: Enter, s3_server: S3Server, s3_bucket: str) -> None:
    from botocore.exceptions import ClientError

    everything = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{s3_bucket}/*"}
            ],
        }
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        s3_server.client(enter("promoter")).put_bucket_policy(Bucket=s3_bucket, Policy=everything)
