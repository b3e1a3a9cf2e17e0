"""The policies of docs/how-to/s3-access.md, word for word, on a real server: what each role can do and cannot do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from drystone import FilesystemLedger, Secret
from drystone.artifacts import Blob, Manifest
from drystone.blobs import BlobReader, blob_key
from drystone.digests import digest_bytes
from drystone.errors import BlobLostError, StoreAccessError, WorkspaceAccessError
from drystone.ledgers import Head, next_commit
from drystone_s3 import S3ArtifactStore
from services.seaweed import Identity, S3Server

PAGE = Path(__file__).parents[3] / "docs/how-to/s3-access.md"

Enter = Callable[[str], Identity]
Store = Callable[[str], S3ArtifactStore]

SECRETS = {"key": Secret("env:S3_KEY"), "secret": Secret("env:S3_SECRET")}


def policies(bucket: str) -> dict[str, str]:
    """The policies of the page by what the first statement of each is called, for a bucket of a test."""
    found = [text for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL) if "Version" in text]
    texts = [text.replace("arn:aws:s3:::flights", f"arn:aws:s3:::{bucket}") for text in found]
    return {json.loads(text)["Statement"][0]["Sid"]: text for text in texts}


ROLES = {"reader": ("Names",), "runner": ("Names", "Commit"), "promoter": ("Names", "Commit", "Promote")}


@attrs.frozen
class Home:
    """A bucket with the users of each role."""

    server: S3Server
    bucket: str
    known: dict[str, Identity]

    def objects(self) -> dict[str, str]:
        """Every object, with what tells its content."""
        pages = self.server.administration.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {each["Key"]: each["ETag"] for page in pages for each in page.get("Contents", ())}

    def empty(self) -> None:
        """Remove all of them."""
        for key in self.objects():
            self.server.administration.delete_object(Bucket=self.bucket, Key=key)


@pytest.fixture(scope="module")
def furnished(s3_server: S3Server) -> Iterator[Home]:
    bucket = s3_server.make_bucket()
    texts = policies(bucket)
    known = {
        role: Identity(f"{role}-{bucket}", policies=tuple(texts[name] for name in named))
        for role, named in ROLES.items()
    }
    s3_server.allow(*known.values())
    yield Home(s3_server, bucket, {**known, "admin": s3_server.admin})
    s3_server.remove_bucket(bucket)


@pytest.fixture
def home(furnished: Home) -> Iterator[Home]:
    yield furnished
    furnished.empty()


@pytest.fixture
def enter(home: Home, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Makes the process that of a user with a role."""

    def into(role: str) -> Identity:
        monkeypatch.setenv("S3_KEY", home.known[role].key)
        monkeypatch.setenv("S3_SECRET", home.known[role].secret)
        return home.known[role]

    return into


@pytest.fixture
def store(home: Home) -> Store:
    """Stores in the bucket, by prefix."""
    return lambda prefix: S3ArtifactStore(
        f"s3://{home.bucket}/{prefix}", endpoint_url=home.server.endpoint_url, **SECRETS
    )


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


def test_a_reader_reads_and_changes_nothing(enter: Enter, store: Store, home: Home) -> None:
    enter("runner")
    commit = next_commit(Head(), [{"type": "test", "v": 1, "critical": False}])
    FilesystemLedger(store("workspace")).append(commit)
    store("artifacts").write("blobs/aa/1", b"value")
    before = home.objects()
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
    assert home.objects() == before


def test_a_reader_is_told_of_a_damaged_blob_although_he_cannot_take_it_away(enter: Enter, store: Store) -> None:
    enter("runner")
    digest = digest_bytes(b"value")
    store("artifacts").write(blob_key(digest), b"other")
    enter("reader")
    manifest = Manifest(
        digest=digest,
        type="x",
        materializer="x",
        materializer_version=1,
        blobs=(Blob("file", digest, 5),),
        store=store("artifacts").identity,
    )
    with pytest.raises(BlobLostError, match="is damaged in the artifact store"):
        BlobReader(store("artifacts"), manifest).read("file")


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
def test_there_is_no_way_around(enter: Enter, home: Home, role: str, key: str, way: str) -> None:
    from botocore.exceptions import ClientError

    for each in ("artifacts/forged", "workspace/grants/made", "workspace/commits/1", "elsewhere"):
        home.server.administration.put_object(Bucket=home.bucket, Key=each, Body=b"x")
    before = home.objects()
    with pytest.raises(ClientError, match="AccessDenied"):
        WAYS[way](home.server.client(enter(role)), home.bucket, key)
    assert home.objects() == before


@pytest.mark.parametrize("folder", ["commits", "segments", "grants"])
def test_history_stays_whoever_wants_it_gone(enter: Enter, store: Store, home: Home, folder: str) -> None:
    """With the policy on the bucket, which stops nobody from doing what his role lets him do."""
    from botocore.exceptions import ClientError

    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}
    owner = Identity(
        f"owner-{home.bucket}", policies=(json.dumps({"Version": "2012-10-17", "Statement": [everything]}),)
    )
    home.server.allow(owner)
    home.server.administration.put_bucket_policy(Bucket=home.bucket, Policy=policies(home.bucket)["KeepHistory"])
    enter("promoter")
    ledger = FilesystemLedger(store("workspace"))
    commit = next_commit(Head(), [{"type": "test", "v": 1, "critical": False}])
    ledger.grant(commit)
    ledger.append(commit)
    assert ledger.lease("run", "a", 60)
    ledger.forget("run")
    key = f"workspace/{folder}/1"
    home.server.administration.put_object(Bucket=home.bucket, Key=key, Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        home.server.client(owner).delete_object(Bucket=home.bucket, Key=key)
    assert key in home.objects()
    home.server.administration.delete_bucket_policy(Bucket=home.bucket)


def test_nobody_makes_policies_for_himself(enter: Enter, home: Home) -> None:
    from botocore.exceptions import ClientError

    everything = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{home.bucket}/*"}
            ],
        }
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        home.server.client(enter("promoter")).put_bucket_policy(Bucket=home.bucket, Policy=everything)


# A team

FLOW = """
from drystone import Model, pipeline, step


@step
def numbers(size: int) -> list:
    return [1] * size


@step
def total(xs: list) -> int:
    return sum(xs)


@pipeline(model=Model("sums"))
def sums(size: int = 100_000):
    return total(numbers(size))
"""

STACKS = """
from drystone import Secret, Stack
from drystone_local import LocalOrchestrator
from drystone_s3 import S3ArtifactStore, S3Workspace

settings = dict(endpoint_url={endpoint!r}, key=Secret("env:S3_KEY"), secret=Secret("env:S3_SECRET"))
workspace = S3Workspace("s3://{bucket}/workspace", **settings)
store = S3ArtifactStore("s3://{bucket}/artifacts", **settings)
default = Stack("team", orchestrator=LocalOrchestrator(), artifact_store=store)
"""


@attrs.frozen
class Team:
    """Users of one project, each with a role and a machine."""

    home: Home
    folder: Path

    def run(self, role: str, *words: str) -> tuple[int, str]:
        """Exit code and output of a command, as somebody with a role."""
        user = self.home.known[role]
        done = subprocess.run(
            [Path(sys.executable).with_name("drystone"), *words],
            cwd=self.folder,
            env={
                **os.environ,
                "S3_KEY": user.key,
                "S3_SECRET": user.secret,
                "XDG_CACHE_HOME": str(self.folder / "homes" / role),
                "DRYSTONE_AUTHOR": role,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def does(self, role: str, *words: str) -> str:
        """Output of a command that has to go well."""
        code, said = self.run(role, *words)
        assert code == 0, said
        return said

    def refused(self, role: str, *words: str) -> str:
        """What is said of a command that must change nothing."""
        before = self.home.objects()
        code, said = self.run(role, *words)
        assert code == 1, said
        assert self.home.objects() == before
        assert "Traceback" not in said
        return said


@pytest.fixture
def team(home: Home, project: Path) -> Team:
    (project / "stacks.py").write_text(STACKS.format(endpoint=home.server.endpoint_url, bucket=home.bucket))
    (project / "flow.py").write_text(FLOW)
    return Team(home, project)


def test_a_team_works_in_its_roles(team: Team) -> None:
    """A runner runs and cannot promote, a promoter promotes, a reader sees it all and changes nothing."""
    team.does("runner", "run", "flow.py:sums")
    team.does("runner", "run", "flow.py:sums", "-p", "size=5000000")  # whose list is stored in parts
    said = team.refused("runner", "models", "promote", "sums", "1", "production")
    assert "You may not promote" in said
    assert "an object below grants/" in said
    assert "Nothing of this was recorded" in said
    team.does("promoter", "models", "promote", "sums", "1", "production")
    team.does("promoter", "models", "promote", "sums", "2", "production")
    assert "production" in team.does("reader", "models", "show", "sums")
    assert "sums-2" in team.does("reader", "runs", "list")
    team.does("reader", "artifacts", "get", "sums.total@2", "total")
    assert (team.folder / "total" / "value.json").read_text() == "5000000"
    assert "whole" in team.does("reader", "workspace", "verify")
    for words in (
        ["run", "flow.py:sums", "--no-cache"],
        ["models", "promote", "sums", "1", "production"],
    ):
        said = team.refused("reader", *words)
        assert "access denied" in said
        assert "s3-access.md" in said
    team.refused("runner", "models", "rollback", "sums", "production")
    assert "whole" in team.does("runner", "workspace", "verify")


def test_a_stage_that_a_runner_moves_by_hand_stays_where_it_is(team: Team, store: Store, enter: Enter) -> None:
    """He may add commits, so he can add this one; without a grant no machine believes it, and all name it."""
    team.does("runner", "run", "flow.py:sums")
    team.does("runner", "run", "flow.py:sums", "--no-cache")
    team.does("promoter", "models", "promote", "sums", "1", "production")
    enter("runner")
    ledger = FilesystemLedger(store("workspace"))
    moved = {"model": "sums", "stage": "production", "number": 2, "previous": 1, "action": "promote", "reason": None}
    commit = next_commit(ledger.head(), [{"type": "model.stage_moved", "v": 1, "critical": True, **moved}])
    with pytest.raises(WorkspaceAccessError):
        ledger.grant(commit)
    ledger.append(commit)
    for role in ("reader", "runner", "promoter"):
        shown = json.loads(team.does(role, "models", "show", "sums", "--json"))
        assert "2" not in json.dumps(shown[0].get("stages", {})), shown
        code, said = team.run(role, "workspace", "verify", "--json")
        (finding,) = json.loads(said)
        assert (code, finding["kind"], finding["subject"]) == (1, "grant", str(commit.seq))
