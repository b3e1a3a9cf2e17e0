"""What a registry is asked, in OCI's distribution API."""

from __future__ import annotations

import hashlib
import json
import platform
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from drystone.errors import CapabilityError, RegistryError

if TYPE_CHECKING:
    from drystone_registry.connections import Connection

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
"""Types of images for several platforms."""

MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "i386": "386"}
"""What images call the architectures that have another name here."""


def digest(connection: Connection, repository: str, reference: str) -> str | None:
    """The digest that a tag, or a digest, stands for."""
    path, accept = f"{repository}/manifests/{reference}", MANIFESTS + INDEXES
    answer = connection.ask("HEAD", path, "look for an image", expected=(200, 404), accept=accept)
    if answer.status == 404:
        return None
    if said := answer.headers.get("Docker-Content-Digest"):
        return str(said)
    body = connection.ask("GET", path, "read an image", expected=(200, 404), accept=accept)
    return _digest_of(body.body) if body.status == 200 else None


def labels(connection: Connection, repository: str, reference: str) -> dict[str, str] | None:
    """The labels in the configuration of an image."""
    manifest = _manifest(connection, repository, reference)
    if manifest is not None and "manifests" in manifest:
        manifest = _of_this_platform(connection, repository, manifest)
    if manifest is None:
        return None
    wanted = manifest.get("config", {}).get("digest", "")
    answer = connection.ask("GET", f"{repository}/blobs/{wanted}", "read an image's labels", expected=(200, 404))
    if answer.status == 404:
        return None
    found = _parsed(_checked(answer.body, wanted, connection), connection).get("config") or {}
    return {str(name): str(value) for name, value in (found.get("Labels") or {}).items()}


def _manifest(connection: Connection, repository: str, reference: str) -> dict[str, Any] | None:
    path = f"{repository}/manifests/{reference}"
    answer = connection.ask("GET", path, "read an image", expected=(200, 404), accept=MANIFESTS + INDEXES)
    if answer.status == 404:
        return None
    return _parsed(_checked(answer.body, reference, connection), connection)


def _of_this_platform(connection: Connection, repository: str, index: dict[str, Any]) -> dict[str, Any] | None:
    machine = platform.machine().lower()
    wanted = {"os": "linux", "architecture": ARCHITECTURES.get(machine, machine)}
    for each in index["manifests"]:
        if wanted.items() <= (each.get("platform") or {}).items():
            return _manifest(connection, repository, each["digest"])
    return None


def _parsed(body: bytes, connection: Connection) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise RegistryError(f"What {connection.host} answers is no description of an image. Look at its address.")
    return parsed


def _checked(body: bytes, reference: str, connection: Connection) -> bytes:
    if ":" in reference and _digest_of(body) != reference:
        raise RegistryError(
            f"{connection.host} gives something else for {reference}: it was damaged there, or on the way."
        )
    return body


def _digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def tags(connection: Connection, repository: str) -> list[str]:
    """All tags, of which the registry gives some at a time."""
    found: set[str] = set()
    page: str | None = f"{repository}/tags/list"
    seen: set[str] = set()
    while page and page not in seen:
        seen.add(page)
        answer = connection.ask("GET", page, "list tags", expected=(200, 404))
        if answer.status == 404:
            break
        found.update(_parsed(answer.body, connection).get("tags") or [])
        page = _next(answer.headers.get("Link", ""), page)
    return sorted(found)


def _next(link: str, page: str) -> str | None:
    """The path of the next page, of a header as `</v2/flights/tags/list?last=a>; rel="next"`; never another host's."""
    address, _, rest = link.partition(">")
    if "next" not in rest or not address.strip().startswith("<"):
        return None
    parts = urlsplit(urljoin(f"/v2/{page}", address.strip()[1:]))
    return f"{parts.path}?{parts.query}"


def delete(connection: Connection, repository: str, reference: str) -> None:
    """Remove an image with its tags, which registries do when it is called by digest."""
    wanted = digest(connection, repository, reference)
    if wanted is None:
        return
    path = f"{repository}/manifests/{wanted}"
    answer = connection.ask("DELETE", path, "delete an image", expected=(200, 202, 204, 404, 405))
    if answer.status == 405:
        raise CapabilityError(
            f"The container registry {connection.host} cannot delete images: it lacks the capability 'delete', as it "
            "was set up. Have that allowed (REGISTRY_STORAGE_DELETE_ENABLED=true of Docker's own registry), or use the "
            "registry's own tools."
        )


def try_to_push(connection: Connection, repository: str) -> None:
    """Begin to store something, and give it up: nothing is stored.

    Raises:
        RegistryError: It is not allowed.
    """
    answer = connection.ask("POST", f"{repository}/blobs/uploads/", "take images", expected=(202,))
    parts = urlsplit(answer.headers.get("Location", ""))
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    connection.ask("DELETE", path, "give up an upload", expected=(200, 202, 204, 404, 405))
