"""What goes wrong between a store and its service is repaired, or told."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from drystone.errors import ArtifactStoreError, StoreAccessError, StoreUnreachableError
from drystone_s3 import S3ArtifactStore, attempts, buckets
from services.between import (
    Between,
    agrees,
    cuts_off,
    denies_what_it_did,
    hangs_up,
    loses_the_answer,
    passes,
    says,
)
from services.seaweed import NOBODY, READER, S3Server


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1 << 20) * 48 + b"12345")
    return file


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not get better is tried three times, and told."""
    monkeypatch.setattr(attempts, "PATIENCE", {False: 0.0, True: 0.0})


def unfinished(server: S3Server, bucket: str) -> list[str]:
    return [each["Key"] for each in server.administration.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]


# --- what passes is tried again ---------------------------------------------------------------------------------------

PASSING = [says(500, "InternalError"), says(503, "SlowDown"), hangs_up, loses_the_answer, denies_what_it_did]
NAMES = ["500", "503", "reset", "lost answer", "failure after the effect"]


@pytest.mark.parametrize("trouble", PASSING, ids=NAMES)
def test_what_passes_is_not_noticed(troubled, between, trouble):
    between.once("PUT", "/a", trouble)
    troubled.write("a", b"written")
    between.once("GET", "/a", trouble)
    assert troubled.read_range("a", 0, None) == b"written"
    between.once("HEAD", "/a", trouble)
    assert troubled.size("a") == 7
    between.once("GET", "list-type", trouble)
    assert [*troubled.list("")] == [("a", 7)]
    between.once("DELETE", "/a", trouble)
    troubled.delete("a")
    assert not troubled.exists("a")


@pytest.mark.parametrize("trouble", PASSING, ids=NAMES)
def test_a_key_that_an_own_attempt_made_is_not_told_to_be_taken(troubled, between, trouble):
    between.once("PUT", "/a", trouble)
    troubled.create("a", b"mine")
    with pytest.raises(FileExistsError):
        troubled.create("a", b"mine")
    assert troubled.read_range("a", 0, None) == b"mine"


def test_a_key_that_somebody_else_made_with_the_same_bytes_is_taken(troubled, between, store):
    store.create("a", b"the same")
    between.once("PUT", "/a", says(500, "InternalError"))
    with pytest.raises(FileExistsError):
        troubled.create("a", b"the same")


@pytest.mark.parametrize("what", ["POST", "PUT"])
@pytest.mark.parametrize("trouble", PASSING, ids=NAMES)
def test_an_upload_in_parts_survives_what_passes(troubled, between, trouble, what, large, store, s3_server, s3_bucket):
    """Also that it was completed, and nobody said so."""
    between.once(what, "uploadId" if what == "POST" else "partNumber=2", trouble)
    troubled.upload(large, "blobs/large")
    assert store.size("blobs/large") == large.stat().st_size
    assert store.read_range("blobs/large", 0, None) == large.read_bytes()
    assert unfinished(s3_server, s3_bucket) == []


def test_what_arrives_in_half_is_fetched_again(troubled, between, large, tmp_path):
    troubled.upload(large, "blobs/large")
    for _ in range(3):
        between.once("GET", "large", cuts_off)
    troubled.download("blobs/large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == large.read_bytes()


def test_an_object_that_becomes_shorter_meanwhile_is_read_whole(troubled, between, large, store, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(large.read_bytes()[::-2])
    troubled.upload(large, "blobs/large")

    def changes(handler, passed_on):
        store.upload(other, "blobs/large")
        says(500, "InternalError")(handler, passed_on)

    between.once("GET", "large", passes)
    between.once("GET", "large", changes)
    troubled.download("blobs/large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == other.read_bytes()


def test_an_upload_that_takes_long_is_not_there_before_its_end(troubled, between, large, store):
    seen = []

    def looks(handler, passed_on):
        seen.append((store.size("blobs/large"), [*store.list("")]))
        passes(handler, passed_on)

    between.once("PUT", "partNumber=4", looks)
    between.once("POST", "uploadId", looks)
    troubled.upload(large, "blobs/large")
    assert seen == [(None, [])] * 2
    assert store.size("blobs/large") == large.stat().st_size


# --- parts that are left over -----------------------------------------------------------------------------------------


def test_an_upload_that_fails_leaves_no_parts(troubled, between, large, s3_server, s3_bucket):
    between.once("PUT", "partNumber=3", says(403, "AccessDenied"))
    with pytest.raises(StoreAccessError, match="access denied"):
        troubled.upload(large, "blobs/large")
    assert unfinished(s3_server, s3_bucket) == []
    assert not troubled.exists("blobs/large")


def test_an_upload_that_is_interrupted_leaves_no_parts(troubled, between, large, s3_server, s3_bucket):
    def interrupts(handler, passed_on):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        loses_the_answer(handler, passed_on)

    between.once("PUT", "partNumber=2", interrupts)
    with pytest.raises(KeyboardInterrupt):
        troubled.upload(large, "blobs/large")
    assert unfinished(s3_server, s3_bucket) == []
    assert troubled.size("blobs/large") in (None, large.stat().st_size), "on a busy machine it is done before that"


def test_what_killed_processes_left_is_removed_by_the_next_upload(store, large, s3_server, s3_bucket, monkeypatch):
    """But neither what is not a day old, nor what is beside the store."""
    client = s3_server.administration
    for key in ("artifacts/blobs/left", "others/left"):
        client.create_multipart_upload(Bucket=s3_bucket, Key=key)
    store.upload(large, "blobs/large")
    assert sorted(unfinished(s3_server, s3_bucket)) == ["artifacts/blobs/left", "others/left"]
    monkeypatch.setattr(buckets, "STALE", -60)
    attrs.evolve(store).upload(large, "blobs/large")
    assert unfinished(s3_server, s3_bucket) == ["others/left"]


def test_in_a_bucket_without_a_prefix_only_blobs_are_ones_own(store, s3_server, s3_bucket, monkeypatch):
    for key in ("blobs/left", "others/left"):
        s3_server.administration.create_multipart_upload(Bucket=s3_bucket, Key=key)
    monkeypatch.setattr(buckets, "STALE", -60)
    assert attrs.evolve(store, root=f"s3://{s3_bucket}").abandon_unfinished() == 1
    assert unfinished(s3_server, s3_bucket) == ["others/left"]


# --- what does not pass is told ---------------------------------------------------------------------------------------


def told(store: S3ArtifactStore, kind: type[ArtifactStoreError]) -> str:
    """What every operation says, and `check`, which says it too."""
    said = set()
    for call in (
        lambda: store.write("a", b"x"),
        lambda: store.create("a", b"x"),
        lambda: store.read_range("a", 0, None),
        lambda: [*store.list("")],
    ):
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        said.add(str(caught.value))
    assert len(said) == 1, said
    text = said.pop()
    assert any(text in each for each in store.check())
    assert store.root in text
    assert "secret-of" not in text
    return text


def test_a_bucket_that_is_not_there_is_told(store):
    text = told(attrs.evolve(store, root="s3://no-such-bucket/a"), ArtifactStoreError)
    assert "no bucket no-such-bucket at http://127.0.0.1:" in text
    assert "`endpoint_url`" in text


def test_an_unknown_key_is_told(store, monkeypatch):
    monkeypatch.setenv("S3_KEY", "unknown")
    assert "`key`" in told(store, StoreAccessError)


def test_a_wrong_secret_is_told(store, monkeypatch):
    monkeypatch.setenv("S3_SECRET", "wrong")
    assert "`secret`" in told(store, StoreAccessError)
    with pytest.raises(StoreAccessError, match="`secret`"):
        store.size("a")  # an answer to HEAD does not say why


def test_who_may_do_nothing_is_told(store, monkeypatch):
    monkeypatch.setenv("S3_KEY", NOBODY.key)
    monkeypatch.setenv("S3_SECRET", NOBODY.secret)
    assert "`key` or `profile`" in told(store, StoreAccessError)
    assert [each.partition(":")[0] for each in store.check()] == [
        f"It cannot be {what}" for what in ("read", "listed", "written to", "deleted from")
    ]


def test_who_may_only_read_is_told_what_is_missing(store, monkeypatch):
    store.write("a", b"x")
    monkeypatch.setenv("S3_KEY", READER.key)
    monkeypatch.setenv("S3_SECRET", READER.secret)
    reader = attrs.evolve(store)
    assert reader.read_range("a", 0, None) == b"x"
    with pytest.raises(StoreAccessError):
        reader.write("a", b"y")
    assert [each.partition(":")[0] for each in reader.check()] == [
        "It cannot be written to",
        "It cannot be deleted from",
    ]


def test_a_service_that_is_not_there_is_told_within_ten_seconds(store):
    begun = time.monotonic()
    with pytest.raises(StoreUnreachableError, match="`endpoint_url`"):
        attrs.evolve(store, endpoint_url="http://127.0.0.1:1").write("a", b"x")
    assert time.monotonic() - begun < 15  # on a machine that is busy


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port whose queue is full, so that nobody is let in."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_service_that_lets_nobody_in_is_told(store, deaf, impatient):
    fast = {"config_kwargs": {"connect_timeout": 0.2}}
    dead = attrs.evolve(store, endpoint_url=f"http://127.0.0.1:{deaf}", options=fast)
    assert "does not answer" in told(dead, StoreUnreachableError)


def test_a_service_that_never_answers_is_told(store, impatient):
    listener = socket.create_server(("127.0.0.1", 0))
    slow = attrs.evolve(
        store,
        endpoint_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
        options={"config_kwargs": {"read_timeout": 0.2}},
    )
    with listener, pytest.raises(StoreUnreachableError, match="does not answer"):
        slow.read_range("a", 0, None)


def test_https_where_only_http_is_spoken_is_told(store, s3_server):
    secure = attrs.evolve(store, endpoint_url=s3_server.endpoint_url.replace("http:", "https:"))
    text = told(secure, StoreUnreachableError)
    assert "`endpoint_url`" in text
    assert "https" in text


def test_a_profile_that_is_not_there_is_told(s3_server):
    store = S3ArtifactStore("s3://flights", endpoint_url=s3_server.endpoint_url, profile="no-such")
    assert "no profile 'no-such'" in told(store, StoreAccessError)


def test_that_there_are_no_credentials_is_told(s3_server, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    text = told(S3ArtifactStore("s3://flights", endpoint_url=s3_server.endpoint_url), StoreAccessError)
    assert "`key` and `secret`" in text


def test_a_region_that_is_none_is_told(store):
    assert "`region`" in told(attrs.evolve(store, region="not a region"), ArtifactStoreError)


DOCUMENTED = {
    "RequestTimeTooSkewed": (403, StoreAccessError, "clock of this machine"),
    "ExpiredToken": (400, StoreAccessError, "`token`"),
    "AuthorizationHeaderMalformed": (400, ArtifactStoreError, "`region`"),
    "PermanentRedirect": (301, ArtifactStoreError, "`region`"),
    "KMS.NotFoundException": (400, ArtifactStoreError, "`kms_key`"),
    "InvalidStorageClass": (400, ArtifactStoreError, "`storage_class`"),
    "NotImplemented": (501, ArtifactStoreError, "`server_side_encryption`"),
    "ServiceUnavailable": (503, StoreUnreachableError, "Try again later"),
    "SomethingNew": (400, ArtifactStoreError, "SomethingNew"),
}
"""What SeaweedFS cannot be brought to answer, and S3 documents."""


@pytest.mark.parametrize("code", DOCUMENTED)
def test_what_s3_documents_is_told(troubled: S3ArtifactStore, between: Between, code: str, impatient: None) -> None:
    status, kind, said = DOCUMENTED[code]
    between.always(says(status, code))
    assert said in told(troubled, kind)


def test_a_server_that_does_not_speak_s3_is_told(troubled, between):
    between.always(lambda handler, passed_on: handler.send_error(404))
    with pytest.raises(ArtifactStoreError, match="`endpoint_url`"):
        troubled.write("a", b"x")


def test_a_server_that_ignores_conditions_is_found(troubled, between):
    between.once("PUT", "/checks/", passes)
    between.once("PUT", "/checks/", agrees)
    assert any("If-None-Match" in each for each in troubled.check())


def test_a_clock_that_is_wrong_is_found(store, monkeypatch):
    moment = time.time()
    monkeypatch.setattr("drystone_s3.checks.time.time", lambda: moment + 400)
    assert [each[:28] for each in store.check()] == ["The clock of this machine is"]
