"""What tests of buckets share: credentials, and a server between client and service that makes trouble."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drystone import Secret
from drystone_s3 import S3ArtifactStore
from services.between import Between
from services.seaweed import Identity, S3Server


@pytest.fixture
def between(s3_server: S3Server) -> Iterator[Between]:
    """A server that makes trouble, before the one of these tests."""
    server = Between(s3_server.port)
    yield server
    server.close()


@pytest.fixture
def credentials(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, Secret]:
    """Settings by which the server's administrator is known."""
    return credentials_of(s3_server.admin, monkeypatch)


def credentials_of(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> dict[str, Secret]:
    """Settings by which somebody is known."""
    monkeypatch.setenv("S3_KEY", identity.key)
    monkeypatch.setenv("S3_SECRET", identity.secret)
    return {"key": Secret("env:S3_KEY"), "secret": Secret("env:S3_SECRET")}


@pytest.fixture
def store(s3_server: S3Server, s3_bucket: str, credentials: dict[str, Secret]) -> S3ArtifactStore:
    """An empty store."""
    return S3ArtifactStore(f"s3://{s3_bucket}/artifacts", endpoint_url=s3_server.endpoint_url, **credentials)


@pytest.fixture
def troubled(between: Between, s3_bucket: str, credentials: dict[str, Secret]) -> S3ArtifactStore:
    """The same store, through the server that makes trouble."""
    return S3ArtifactStore(f"s3://{s3_bucket}/artifacts", endpoint_url=between.endpoint_url, **credentials)
