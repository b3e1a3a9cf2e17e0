"""The artifact store in a bucket does what every artifact store does, on a real server."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from drystone import ArtifactStore, Secret
from drystone.components import setting_to_json
from drystone.errors import StackError
from drystone.testing import ArtifactStoreContract
from drystone.values import dumps, to_json
from drystone_s3 import S3ArtifactStore, attempts
from drystone_s3.transfers import MOST, PART, part_size
from services.seaweed import S3Server

LARGE = 3 * PART + 5


class TestS3ArtifactStore(ArtifactStoreContract):
    fills_disk = False  # the disk is the server's
    rounds = 2  # SeaweedFS takes seconds to tell so many writers of one key apart
    libraries = (*ArtifactStoreContract.libraries, "aiobotocore", "aiohttp")

    @pytest.fixture
    def artifact_store(self, store: S3ArtifactStore) -> S3ArtifactStore:
        return store

    @pytest.fixture
    def another_store(self, store: S3ArtifactStore) -> S3ArtifactStore:
        return attrs.evolve(store, root=f"{store.root}-of-others")  # which begins the same

    @pytest.fixture
    def unreachable_store(self, credentials: dict[str, Secret], monkeypatch: pytest.MonkeyPatch) -> S3ArtifactStore:
        monkeypatch.setitem(attempts.PATIENCE, False, 0.0)
        return S3ArtifactStore("s3://bucket/artifacts", endpoint_url="http://127.0.0.1:1", **credentials)

    @pytest.fixture
    def secret_store(self, store: S3ArtifactStore, s3_server: S3Server) -> tuple[ArtifactStore, str]:
        store.write("a", b"x")  # it has resolved its secrets
        return store, s3_server.admin.secret


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["key", "secret", "token"])
def test_a_plain_secret_is_refused_and_not_repeated(name):
    with pytest.raises(TypeError, match=rf'{name}=Secret\("env:S3_{name.upper()}"\)') as caught:
        S3ArtifactStore("s3://flights", **{name: "hidden-text"})
    assert "hidden-text" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"root": "flights"}, "s3://flights/artifacts"),
        ({"root": "s3://"}, "s3://flights/artifacts"),
        ({"root": "s3://a/b"}, "s3://flights/artifacts"),
        ({"root": "s3://flights/../other"}, "s3://flights/artifacts"),
        ({"root": "s3://flights//double"}, "s3://flights/artifacts"),
        ({"root": "gs://flights"}, "s3://flights/artifacts"),
        ({"endpoint_url": "localhost:8333"}, "http://localhost:8333"),
        ({"endpoint_url": "http://key:text@localhost"}, "takes no credentials"),
        ({"key": Secret("env:A")}, "key= and secret= together"),
        ({"token": Secret("env:A")}, "a token= with key= and secret= only"),
        ({"key": Secret("env:A"), "secret": Secret("env:B"), "profile": "x"}, "not both"),
        ({"kms_key": "1234"}, 'with server_side_encryption="aws:kms" only'),
        ({"bukket": "x"}, "no setting 'bukket'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(StackError, match=said) as caught:
        S3ArtifactStore(**{"root": "s3://flights", **settings})
    assert "text@" not in str(caught.value) or "key:text" in settings.get("endpoint_url", "")


def test_what_tells_a_store_from_others_is_its_url_and_endpoint(monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    assert S3ArtifactStore("s3://flights/artifacts/").identity == "s3://flights/artifacts"
    assert S3ArtifactStore("s3a://flights").identity == "s3://flights"
    regional = S3ArtifactStore("s3://flights", endpoint_url="https://s3.eu-central-1.amazonaws.com")
    assert regional.identity == "s3://flights"
    other = S3ArtifactStore("s3://flights", endpoint_url="http://LOCALHOST:8333/")
    assert other.identity == "s3://flights?endpoint_url=http://localhost:8333"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:8333")  # how this machine reaches it
    assert S3ArtifactStore("s3://flights").identity == "s3://flights"
    assert S3ArtifactStore("s3://flights").endpoint == "http://localhost:8333"


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, PART * MOST, PART * MOST + 1, 5 << 40])
def test_a_file_of_any_size_fits_into_ten_thousand_parts(size):
    assert part_size(size) >= PART
    assert part_size(size) % (1 << 20) == 0
    assert -(-size // part_size(size)) <= MOST


# --- credentials ------------------------------------------------------------------------------------------------------


def test_credentials_are_found_as_those_of_aws_are(s3_server, s3_bucket, monkeypatch, tmp_path):
    """In the environment, and in a profile."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.admin.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.admin.secret)
    S3ArtifactStore(f"s3://{s3_bucket}").write("a", b"environment")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file = tmp_path / "credentials"
    file.write_text(
        f"[team]\naws_access_key_id = {s3_server.admin.key}\naws_secret_access_key = {s3_server.admin.secret}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert S3ArtifactStore(f"s3://{s3_bucket}", profile="team").read_range("a", 0, None) == b"environment"


def test_no_secret_leaves_a_store_that_is_in_use(store, s3_server):
    store.write("a", b"x")
    for shown in (repr(store), dumps(to_json(store)), str(setting_to_json(store)), repr(pickle.dumps(store))):
        assert s3_server.admin.secret not in shown
        assert s3_server.admin.key not in shown


def test_stores_with_other_credentials_share_nothing(store, s3_server, monkeypatch):
    store.write("a", b"x")
    monkeypatch.setenv("S3_WRONG", "wrong")
    other = attrs.evolve(store, secret=Secret("env:S3_WRONG"))
    with pytest.raises(OSError, match="SignatureDoesNotMatch"):
        other.read_range("a", 0, None)
    assert store.read_range("a", 0, None) == b"x"


def test_encryption_and_storage_class_are_asked_for(troubled, between):
    between.once("PUT", "/a", lambda handler, passed_on: handler.send_error(501))
    encrypted = attrs.evolve(
        troubled, server_side_encryption="aws:kms", kms_key="alias/team", storage_class="STANDARD_IA"
    )
    with pytest.raises(OSError, match="501"):
        encrypted.write("a", b"x")
    _, _, headers = between.requests[-1]
    sent = {name.lower(): value for name, value in headers.items()}
    assert sent["x-amz-server-side-encryption"] == "aws:kms"
    assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/team"
    assert sent["x-amz-storage-class"] == "STANDARD_IA"


# --- processes and threads --------------------------------------------------------------------------------------------


def test_a_forked_process_goes_on_with_a_store_that_is_in_use(store):
    store.write("a", b"from the parent")
    child = multiprocessing.get_context("fork").Process(target=answer, args=(store,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert store.read_range("b", 0, None) == b"from the parent, and back"


def answer(store: S3ArtifactStore) -> None:
    store.write("b", store.read_range("a", 0, None) + b", and back")


def test_threads_that_begin_at_once_use_one_connection(store):
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        store.write(f"{number}", b"x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(list(store.list(""))) == 8
    assert len(store._buckets._by_process) == 1


# --- large objects ----------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1 << 20) * 48 + b"12345")
    return file


def test_a_large_file_goes_and_comes_in_parts(troubled, between, large, tmp_path):
    troubled.upload(large, "blobs/large")
    sent = [path for method, path, _ in between.requests if method == "PUT" and "partNumber" in path]
    assert len(sent) == 4
    between.requests.clear()
    troubled.download("blobs/large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == large.read_bytes()
    assert [method for method, _, _ in between.requests] == ["GET"] * 4
    assert troubled.read_range("blobs/large", 5, LARGE) == large.read_bytes()[5:]
    assert troubled.read_range("blobs/large", PART - 1, PART + 2) == large.read_bytes()[PART - 1 : 2 * PART + 1]


def test_few_requests_are_made(troubled, between):
    troubled.write("a", b"x")
    troubled.create("b", b"x")
    troubled.read_range("a", 0, None)
    troubled.size("a")
    troubled.exists("c")
    troubled.modified("a")
    troubled.now()
    troubled.delete("a")
    assert [method for method, _, _ in between.requests] == ["PUT", "PUT", "GET", *["HEAD"] * 4, "DELETE"]
