"""The artifact store in a bucket does what every artifact store does, on a real server."""

from __future__ import annotations

import pytest

from drystone import Secret
from drystone.testing import ArtifactStoreContract
from drystone_s3 import S3ArtifactStore
from services.seaweed import S3Server


@pytest.fixture
def credentials(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, Secret]:
    monkeypatch.setenv("S3_KEY", s3_server.admin.key)
    monkeypatch.setenv("S3_SECRET", s3_server.admin.secret)
    return {"key": Secret("env:S3_KEY"), "secret": Secret("env:S3_SECRET")}


class TestS3ArtifactStore(ArtifactStoreContract):
    fills_disk = False  # the disk is the server's
    rounds = 2

    @pytest.fixture
    def artifact_store(self, s3_server: S3Server, s3_bucket: str, credentials: dict[str, Secret]) -> S3ArtifactStore:
        return S3ArtifactStore(f"s3://{s3_bucket}/artifacts", endpoint_url=s3_server.endpoint_url, **credentials)
