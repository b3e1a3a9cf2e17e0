"""The settings of a bucket: what they may be, and what s3fs is told of them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from drystone import Secret
from drystone.errors import StackError

if TYPE_CHECKING:
    from drystone_s3.artifact_store import S3ArtifactStore

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables in which AWS's own tools look for an endpoint, too."""

DEFAULTS: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 20,
    "max_pool_connections": 64,
    "retries": {"total_max_attempts": 1},  # `attempted` repeats, so that no request succeeds unseen
    "request_checksum_calculation": "when_required",  # others than the signature's are unknown to many servers
    "response_checksum_validation": "when_required",
}
"""Settings of botocore, where a store's options have no others."""


def without_slash(root: Any) -> Any:
    """A URL without a slash at its end."""
    return root.rstrip("/") if isinstance(root, str) else root


def split(root: str) -> tuple[str, str]:
    """The bucket and the prefix of a URL."""
    bucket, _, prefix = root.partition("://")[2].partition("/")
    return bucket, prefix


def is_plain(path: str) -> bool:
    """Whether a path has nothing but names in it."""
    return "\\" not in path and "\0" not in path and {"", ".", ".."}.isdisjoint(path.split("/"))


def check_root(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A bucket, and perhaps a prefix."""
    bucket, prefix = split(value) if isinstance(value, str) else ("", "")
    is_bucket = re.fullmatch(r"[A-Za-z0-9._-]{3,255}", bucket)
    if str(value).partition("://")[0] not in ("s3", "s3a") or not is_bucket or not is_plain(prefix or "all"):
        raise StackError(
            f"{type(instance).__name__}({value!r}): it takes a bucket, and perhaps a prefix in it, as "
            "s3://flights/artifacts."
        )


def check_endpoint(instance: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    """A URL without credentials."""
    if value is None:
        return
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise StackError(
            f"{type(instance).__name__}: endpoint_url={value!r} is no URL of a service, like http://localhost:8333 or "
            "https://s3.example.org."
        )
    if "@" in parts.netloc:
        raise StackError(
            f'{type(instance).__name__}: an endpoint_url takes no credentials. Give key=Secret("env:S3_KEY") and '
            'secret=Secret("env:S3_SECRET").'
        )


def check_secret(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A reference, and no plain text."""
    if value is not None and not isinstance(value, Secret):
        name = attribute.name
        raise TypeError(
            f"{type(instance).__name__}: {name}= takes a reference, since plain text would be shown and recorded: "
            f'{name}=Secret("env:S3_{name.upper()}").'
        )


def check_together(store: S3ArtifactStore) -> None:
    """What cannot be without, or beside, something else."""
    name = type(store).__name__
    if (store.key is None) != (store.secret is None):
        raise StackError(f"{name} takes key= and secret= together, or neither.")
    if store.token is not None and store.key is None:
        raise StackError(f"{name} takes a token= with key= and secret= only.")
    if store.profile is not None and store.key is not None:
        raise StackError(f"{name} takes profile=, or key= and secret=, not both.")
    if store.kms_key is not None and not (store.server_side_encryption or "").startswith("aws:kms"):
        raise StackError(f'{name} takes a kms_key= with server_side_encryption="aws:kms" only.')


def endpoint(url: str | None) -> str:
    """Where a service answers, written in one way; empty if that is AWS, whose bucket names are unique."""
    parts = urlsplit(url or "")
    host = (parts.hostname or "").lower()
    if not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def usual_endpoint() -> str:
    """Where the service answers on this machine, if no setting says so."""
    return next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")


def located(root: str, endpoint: str) -> str:
    """A URL of a bucket, with its endpoint if that is not AWS."""
    url = "/".join(filter(None, ("s3:/", *split(root))))
    return f"{url}?endpoint_url={endpoint}" if endpoint else url


def of_filesystem(store: S3ArtifactStore) -> dict[str, Any]:
    """What s3fs is told; secrets as their texts."""
    options = resolved(store.options)
    additional = {
        "ServerSideEncryption": store.server_side_encryption,
        "SSEKMSKeyId": store.kms_key,
        "StorageClass": store.storage_class,
    }
    named = {"key": store.key, "secret": store.secret, "token": store.token, "profile": store.profile}
    client = {"region_name": store.region} | options.get("client_kwargs", {})
    return {
        "use_listings_cache": False,
        "skip_instance_cache": True,
        **options,
        **_given(resolved(named) | {"endpoint_url": store.endpoint_url}),
        "client_kwargs": _given(client),
        "config_kwargs": DEFAULTS | options.get("config_kwargs", {}),
        "s3_additional_kwargs": _given(additional | options.get("s3_additional_kwargs", {})),
    }


def resolved(setting: Any) -> Any:
    """A setting with the texts of its secrets."""
    if isinstance(setting, Secret):
        return setting.resolve()
    return {name: resolved(each) for name, each in setting.items()} if isinstance(setting, dict) else setting


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in settings.items() if each is not None}
