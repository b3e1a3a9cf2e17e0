"""Keeps blobs as objects of an S3 bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from drystone import ArtifactStore, Secret
from drystone_s3 import settings
from drystone_s3.buckets import Bucket, Buckets
from drystone_s3.checks import problems
from drystone_s3.failures import translated


@attrs.frozen
class S3ArtifactStore(ArtifactStore):
    """Keeps blobs as objects of an S3 bucket, of AWS or of a server that speaks S3.

    Without `profile`, `key` and `secret`, credentials are found as AWS's own tools find them: in the environment, in
    `~/.aws`, or from the machine's role.

    Attributes:
        root: The bucket, and perhaps a prefix in it: `s3://flights/artifacts`.
        endpoint_url: Of a server that is not AWS, such as `http://localhost:8333`.
        region: Of the bucket, such as `eu-central-1`.
        profile: Of `~/.aws/config`.
        key: The access key; `secret` is its secret key, `token` that of a session.
        server_side_encryption: How objects are encrypted where they lie: `AES256`, `aws:kms`.
        kms_key: The key for `aws:kms`, as its id or ARN.
        storage_class: Such as `STANDARD_IA`.
        options: More settings of `s3fs.S3FileSystem`; secrets as `Secret`.
    """

    root: str = attrs.field(converter=settings.without_slash, validator=settings.check_root)
    endpoint_url: str | None = attrs.field(default=None, kw_only=True, validator=settings.check_endpoint)
    region: str | None = attrs.field(default=None, kw_only=True)
    profile: str | None = attrs.field(default=None, kw_only=True)
    key: Secret | None = attrs.field(default=None, kw_only=True, validator=settings.check_secret)
    secret: Secret | None = attrs.field(default=None, kw_only=True, validator=settings.check_secret)
    token: Secret | None = attrs.field(default=None, kw_only=True, validator=settings.check_secret)
    server_side_encryption: str | None = attrs.field(default=None, kw_only=True)
    kms_key: str | None = attrs.field(default=None, kw_only=True)
    storage_class: str | None = attrs.field(default=None, kw_only=True)
    options: dict[str, Any] = attrs.field(factory=dict, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        settings.check_together(self)

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return settings.split(self.root)[0]

    @property
    def endpoint(self) -> str:
        """Where the service answers, by the setting or AWS's own variables; empty if that is AWS itself."""
        return settings.endpoint(self.endpoint_url or settings.usual_endpoint())

    @property
    def identity(self) -> str:
        """The URL, and the `endpoint_url` that the settings give, since two servers may have buckets of one name.

        An endpoint of the environment is no part of it: machines may reach one service in different ways.
        """
        return settings.located(self.root, settings.endpoint(self.endpoint_url))

    @property
    def capabilities(self) -> frozenset[str]:
        """Other machines see it, one of several writers makes a key, and objects know when they were stored."""
        return frozenset({"create", "shared", "clock"})

    def check(self) -> Iterator[str]:
        """Whether the bucket is there and can be read, listed and written; nothing of that stays."""
        yield from problems(self)

    def upload(self, local_path: Path, key: str) -> None:
        """Store a file, as an object that appears when all of its parts are there."""
        with self._at(key) as bucket, local_path.open("rb") as file:
            bucket.upload(key, file)

    def write(self, key: str, data: bytes) -> None:
        """Store bytes."""
        with self._at(key) as bucket:
            bucket.write(key, data)

    def create(self, key: str, data: bytes) -> None:
        """Store bytes under a key that must be free: the service decides who was first."""
        with self._at(key) as bucket:
            bucket.create(key, data)

    def download(self, key: str, local_path: Path) -> None:
        """Copy an object to a local file."""
        with self._at(key, reading=True) as bucket:
            bucket.download(key, local_path)

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on."""
        with self._at(key, reading=True) as bucket:
            return bucket.read(key, start, length)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys below a prefix, with sizes."""
        with self._at(prefix.rpartition("/")[0] or "all") as bucket:
            yield from bucket.list(prefix)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._at(key) as bucket:
            bucket.ask("delete_object", key)

    def size(self, key: str) -> int | None:
        """The size of an object."""
        with suppress(FileNotFoundError), self._at(key, reading=True) as bucket:
            return int(bucket.head(key)["ContentLength"])
        return None

    def modified(self, key: str) -> float:
        """When an object was stored, by the clock of the service, to the second."""
        with self._at(key, reading=True) as bucket:
            return float(bucket.head(key)["LastModified"].timestamp())

    def now(self) -> float:
        """The time by the clock of the service, to the second, as it stands in each of its answers."""
        with self._at("clock") as bucket:
            return bucket.now()

    def abandon_unfinished(self) -> int:
        """Remove the parts of large objects that nobody has finished for a day; returns how many there were.

        Their writers were killed. What is in parts is in no listing, and costs. The first large upload of each process
        does this, too.
        """
        with self._at("all") as bucket:
            return bucket.abandon_unfinished()

    @cached_property
    def _buckets(self) -> Buckets:
        return Buckets()

    @contextmanager
    def _at(self, key: str, *, reading: bool = False) -> Iterator[Bucket]:
        """The bucket, for what concerns a key; what its library raises is translated.

        Raises:
            ValueError: The key could leave the store.
        """
        if not settings.is_plain(key):
            raise ValueError(f"{key!r} is not a key of an artifact store: it must be a relative path of plain names.")
        with translated(self, reading=reading):
            yield self._buckets.mine(*settings.split(self.root), lambda: settings.of_filesystem(self))
