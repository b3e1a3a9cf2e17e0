"""Keeps blobs as objects of an S3 bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from drystone import ArtifactStore, Secret
from drystone.errors import ArtifactStoreError, StackError
from drystone_s3.buckets import Bucket, Buckets
from drystone_s3.failures import translated

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables in which AWS's own tools look for an endpoint, too."""


def _root(value: str) -> str:
    return value.rstrip("/") if isinstance(value, str) else value


def _check_root(instance: S3ArtifactStore, attribute: attrs.Attribute[str], value: str) -> None:
    scheme, _, rest = value.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme not in ("s3", "s3a") or not bucket or not _is_plain(prefix or "all") or "?" in bucket:
        raise StackError(
            f"S3ArtifactStore({value!r}): it takes a bucket and perhaps a prefix in it, as s3://flights/artifacts."
        )


def _check_secret(instance: S3ArtifactStore, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, Secret):
        raise TypeError(
            f"S3ArtifactStore({attribute.name}=…) takes a reference and no plain text: "
            f'{attribute.name}=Secret("env:S3_{attribute.name.upper()}").'
        )


def _check_pair(instance: S3ArtifactStore, attribute: attrs.Attribute[Any], value: object) -> None:
    _check_secret(instance, attribute, value)
    if (instance.key is None) != (instance.secret is None):
        raise StackError("S3ArtifactStore takes key= and secret= together, or none of them.")
    if instance.profile is not None and instance.key is not None:
        raise StackError("S3ArtifactStore takes a profile= or key= and secret=, not both.")


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
        key: The access key, `secret` its secret key, `token` that of a session.
        server_side_encryption: How objects are encrypted where they lie: `AES256`, `aws:kms`.
        kms_key: The key for `aws:kms`, as its id or ARN.
        storage_class: Such as `STANDARD_IA`.
        options: More settings of `s3fs.S3FileSystem`; secrets as `Secret`.
    """

    root: str = attrs.field(validator=_check_root, converter=_root)
    endpoint_url: str | None = attrs.field(default=None, kw_only=True)
    region: str | None = attrs.field(default=None, kw_only=True)
    profile: str | None = attrs.field(default=None, kw_only=True)
    key: Secret | None = attrs.field(default=None, kw_only=True, validator=_check_secret)
    secret: Secret | None = attrs.field(default=None, kw_only=True, validator=_check_pair)
    token: Secret | None = attrs.field(default=None, kw_only=True, validator=_check_secret)
    server_side_encryption: str | None = attrs.field(default=None, kw_only=True)
    kms_key: str | None = attrs.field(default=None, kw_only=True)
    storage_class: str | None = attrs.field(default=None, kw_only=True)
    options: dict[str, Any] = attrs.field(factory=dict, kw_only=True, repr=False)

    @property
    def capabilities(self) -> frozenset[str]:
        """Other machines see it, one of several writers makes a key, and objects know when they were stored."""
        return frozenset({"create", "shared", "clock"})

    @property
    def identity(self) -> str:
        """The URL, and the endpoint if there is one: two servers may have buckets of one name."""
        given = self.endpoint_url or next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
        url = f"s3://{self.root.partition('://')[2]}"
        endpoint = urlsplit(given)
        if not endpoint.hostname or endpoint.hostname.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return url
        return f"{url}?endpoint_url={endpoint.scheme}://{endpoint.netloc.rpartition('@')[2].lower()}{endpoint.path.rstrip('/')}"

    def check(self) -> Iterator[str]:
        """Whether the bucket is there and can be read and written; nothing of that stays."""
        key = f"check/{os.urandom(8).hex()}"
        try:
            self.write(key, b"check")
            if self.read_range(key, 0, None) != b"check":
                yield f"{self.root} does not give back what was written to it."
            self.delete(key)
        except ArtifactStoreError as exc:
            yield str(exc)

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
        with self._at(key) as bucket:
            bucket.download(key, local_path)

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on."""
        with self._at(key) as bucket:
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
        with suppress(FileNotFoundError), self._at(key) as bucket:
            return int(bucket.ask("head_object", key)["ContentLength"])
        return None

    def modified(self, key: str) -> float:
        """When an object was stored, by the clock of the service, to the second."""
        with self._at(key) as bucket:
            return float(bucket.ask("head_object", key)["LastModified"].timestamp())

    def now(self) -> float:
        """The time by the clock of the service, to the second, as it stands in each of its answers."""
        with self._at("clock") as bucket:
            return bucket.now()

    @cached_property
    def _buckets(self) -> Buckets:
        return Buckets()

    @contextmanager
    def _at(self, key: str) -> Iterator[Bucket]:
        """The bucket; what its library raises is translated.

        Raises:
            ValueError: The key could leave the store.
            FileNotFoundError: Nothing is stored under it.
            FileExistsError: It is taken.
            StoreAccessError, StoreUnreachableError, ArtifactStoreError: Anything else went wrong.
        """
        if not _is_plain(key):
            raise ValueError(f"{key!r} is not a key of an artifact store: it must be a relative path of plain names.")
        with translated(self):
            yield self._buckets.mine(self.root, self._filesystem_options)

    def _filesystem_options(self) -> dict[str, Any]:
        """What s3fs is told; secrets as their texts."""
        encryption = {"ServerSideEncryption": self.server_side_encryption, "SSEKMSKeyId": self.kms_key}
        additional = {**encryption, "StorageClass": self.storage_class}
        credentials = {"key": self.key, "secret": self.secret, "token": self.token}
        settings = {**credentials, "endpoint_url": self.endpoint_url, "profile": self.profile, **self.options}
        return {
            **{name: _resolved(each) for name, each in settings.items() if each is not None},
            "s3_additional_kwargs": {
                **{name: each for name, each in additional.items() if each is not None},
                **self.options.get("s3_additional_kwargs", {}),
            },
            "client_kwargs": {
                **({"region_name": self.region} if self.region else {}),
                **_resolved(self.options.get("client_kwargs", {})),
            },
        }


def _resolved(setting: Any) -> Any:
    if isinstance(setting, Secret):
        return setting.resolve()
    return {name: _resolved(each) for name, each in setting.items()} if isinstance(setting, dict) else setting


def _is_plain(path: str) -> bool:
    return "\\" not in path and "\0" not in path and {"", ".", ".."}.isdisjoint(path.split("/"))
