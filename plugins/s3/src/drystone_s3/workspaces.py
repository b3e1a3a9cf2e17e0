"""A workspace that a team shares through a bucket, with no server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, Unpack
from urllib.parse import parse_qsl

from drystone import FilesystemLedger, Secret, Workspace
from drystone.errors import StackError
from drystone_s3.artifact_store import S3ArtifactStore
from drystone_s3.settings import located


class Settings(TypedDict, total=False):
    """Those of `S3ArtifactStore`, which mean the same for a workspace."""

    endpoint_url: str | None
    region: str | None
    profile: str | None
    key: Secret | None
    secret: Secret | None
    token: Secret | None
    server_side_encryption: str | None
    kms_key: str | None
    storage_class: str | None
    options: dict[str, Any]


class S3Workspace(Workspace):
    """A workspace in a bucket: `S3Workspace("s3://flights/workspace")`.

    Each machine keeps a copy below `~/.cache/drystone`, by URL and endpoint. Nothing is asked of the service before the
    workspace is used.

    Args:
        root: The bucket, and the prefix in it; nothing else may be there.
        allow_pickle: Whether values may be pickled where nothing better fits.
        settings: Those of `S3ArtifactStore`: `endpoint_url`, `region`, `profile`, `key`, `secret`, `token` and so on.
    """

    def __init__(self, root: str, *, allow_pickle: bool = False, **settings: Unpack[Settings]) -> None:
        self._root, self._settings = root, settings
        store = S3ArtifactStore(root, **settings)
        url = located(root, store.endpoint)
        super().__init__(url, allow_pickle=allow_pickle, ledger=lambda: FilesystemLedger(store))

    def __reduce__(self) -> tuple[Callable[..., S3Workspace], tuple[Any, ...]]:
        return _opened, (self._root, self.allow_pickle, self._settings)


def _opened(root: str, allow_pickle: bool, settings: Settings) -> S3Workspace:
    return S3Workspace(root, allow_pickle=allow_pickle, **settings)


IN_URLS = ("endpoint_url", "region", "profile")
"""Settings that a URL can have: `s3://flights/workspace?endpoint_url=http://localhost:8333`."""


def opened_ledger(url: str) -> FilesystemLedger:
    """The ledger behind a URL of a bucket; credentials are found as AWS's own tools find them.

    Raises:
        StackError: That is no URL of a bucket, or it has other settings than `IN_URLS`.
    """
    root, _, query = url.partition("?")
    given = dict(parse_qsl(query))
    if unknown := given.keys() - {*IN_URLS}:
        raise StackError(f"{url}: {', '.join(sorted(unknown))} cannot be in a URL. What can: {', '.join(IN_URLS)}.")
    endpoint_url, region, profile = (given.get(name) for name in IN_URLS)
    return FilesystemLedger(S3ArtifactStore(root, endpoint_url=endpoint_url, region=region, profile=profile))
