"""What is said when a registry, or the engine, cannot be used; and which protocol is spoken."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest

from drystone import Secret
from drystone.errors import (
    CapabilityError,
    EngineAccessError,
    EngineUnreachableError,
    ImageNotFoundError,
    RegistryAccessError,
    RegistryError,
    RegistryUnreachableError,
)
from drystone_registry import ContainerRegistry, connections
from drystone_registry.messages import explained
from services.fronts import in_front_of
from services.registries import OciRegistry, free_port

if TYPE_CHECKING:
    from docker import DockerClient


@pytest.fixture(scope="module")
def wide_registry() -> Iterator[OciRegistry]:
    """One that this machine's other addresses reach as well."""
    from services.registries import serving

    with serving(host="0.0.0.0") as registry:
        yield registry


@pytest.fixture(scope="module")
def tls_registry() -> Iterator[OciRegistry]:
    """One with a certificate that nobody trusts, which this machine's other addresses reach as well."""
    from services.registries import serving

    with serving(host="0.0.0.0", tls=True) as registry:
        yield registry


def test_loopback_is_local_however_it_is_spelled(wide_registry: OciRegistry, small_image: Callable[[str], str]) -> None:
    """Plain http is spoken to it, by us and by the engine."""
    port = wide_registry.port
    pushed = ContainerRegistry(f"localhost:{port}/team").push(small_image("one"), "flights:a")
    for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "127.1", "0.0.0.0"):
        registry = ContainerRegistry(f"{host}:{port}/team")
        assert registry.is_local, host
        assert registry.digest("flights:a") == pushed.partition("@")[2], host
    assert ContainerRegistry(f"127.0.0.2:{port}/team").pull("flights:a") == small_image("one")
    assert not ContainerRegistry(wide_registry.outer).is_local


def test_a_certificate_on_this_machine_does_not_matter(
    tls_registry: OciRegistry, small_image: Callable[[str], str]
) -> None:
    """As to Docker; unless https is insisted on."""
    registry = ContainerRegistry(f"{tls_registry.address}/team")
    assert registry.push(small_image("one"), "flights:a").partition("@")[2] == registry.digest("flights:a")
    with pytest.raises(RegistryUnreachableError, match="is not trusted"):
        ContainerRegistry(tls_registry.address, plain_http=False).digest("a:b")


def test_a_certificate_that_is_not_trusted_is_told_with_the_way_out(
    tls_registry: OciRegistry, small_image: Callable[[str], str]
) -> None:
    registry = ContainerRegistry(f"{tls_registry.outer}/team")
    said = rf"{tls_registry.outer} is not trusted: https was tried \(.+\).*/etc/docker/certs.d/{tls_registry.outer}/ca"
    for ask in (lambda: registry.digest("a:b"), lambda: registry.push(small_image("one"), "a:b")):
        with pytest.raises(RegistryUnreachableError, match=said):
            ask()


def test_the_engine_s_certificates_are_trusted_here_too(
    tls_registry: OciRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CERTIFICATES", tmp_path)
    (tmp_path / tls_registry.outer).mkdir()
    (tmp_path / tls_registry.outer / "ca.crt").write_bytes(tls_registry.certificate.read_bytes())
    assert ContainerRegistry(tls_registry.outer).digest("flights:never") is None


@pytest.mark.parametrize("there", [True, False])
def test_a_token_server_elsewhere_has_to_be_there_and_to_be_trusted(
    there: bool, tls_registry: OciRegistry, oci_registry: OciRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the registry that names it is on this machine; no password is sent."""
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    realm = f"https://{tls_registry.outer if there else f'127.0.0.1:{free_port()}'}/token"
    said = {"WWW-Authenticate": f'Bearer realm="{realm}"'}
    with in_front_of(oci_registry.address, answers=lambda method, path: (401, said, b"")) as front:
        registry = ContainerRegistry(front.address, username="a", password=Secret("env:REGISTRY_PASSWORD"))
        reason = "its certificate is not trusted" if there else "Connection refused"
        with pytest.raises(RegistryUnreachableError, match=rf"token server {realm}, which does not answer \({reason}"):
            registry.digest("a:b")


def test_plain_http_elsewhere_is_spoken_when_that_is_said(
    wide_registry: OciRegistry, small_image: Callable[[str], str]
) -> None:
    """And the engine has to be told, too."""
    with pytest.raises(
        RegistryUnreachableError, match=r"speaks no TLS: https was tried.*plain_http=True.*insecure-reg"
    ):
        ContainerRegistry(wide_registry.outer).digest("a:b")
    registry = ContainerRegistry(wide_registry.outer, plain_http=True)
    assert registry.digest("flights:never") is None
    with pytest.raises(RegistryUnreachableError, match=r"the Docker engine tried https.*\"insecure-registries\": \["):
        registry.push(small_image("one"), "flights:a")
    (problem,) = registry.check()
    assert f'"insecure-registries": ["{wide_registry.outer}"]' in problem


def test_plain_http_where_tls_is_spoken_is_told(tls_registry: OciRegistry) -> None:
    with pytest.raises(RegistryUnreachableError, match=r"speaks https: http was tried\. Leave plain_http=True away"):
        ContainerRegistry(tls_registry.outer, plain_http=True).digest("a:b")


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "registry.invalid"])
def test_a_registry_that_is_not_there_is_told_by_the_protocols_that_were_tried(host: str, closed_port: int) -> None:
    address = host.format(port=closed_port)
    with pytest.raises(RegistryUnreachableError, match=rf"{address} does not answer: https was tried \(") as raised:
        ContainerRegistry(address).digest("a:b")
    assert "Look at its address" in str(raised.value)


def test_something_else_than_a_registry_is_told(oci_registry: OciRegistry) -> None:
    with in_front_of(oci_registry.address, answers=lambda method, path: (418, {}, b"<html>")) as front:
        with pytest.raises(
            RegistryError, match="asked to look for an image, answers 418, which is not what a registry"
        ):
            ContainerRegistry(front.address).digest("a:b")
        assert "418" in "".join(ContainerRegistry(front.address).check())


def test_a_proxy_is_used_as_the_environment_says(oci_registry: OciRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for what is on this machine."""
    with in_front_of(oci_registry.address, answers=lambda method, path: (404, {}, b"")) as front:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://{front.address}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert ContainerRegistry("registry.invalid", plain_http=True).digest("flights:a") is None
        assert ContainerRegistry(oci_registry.address).digest("flights:never") is None
    assert [path for _, path, _ in front.asked] == ["http://registry.invalid/v2/flights/manifests/a"]


def test_what_only_reads_is_tried_again_and_what_writes_is_not(oci_registry: OciRegistry) -> None:
    with in_front_of(oci_registry.address) as front:
        front.answers = lambda method, path: (503, {}, b"") if len(front.asked) % 3 or method != "HEAD" else None
        registry = ContainerRegistry(front.address)
        assert registry.digest("flights:never") is None
        assert [method for method, _, _ in front.asked] == ["HEAD"] * 3
        front.asked.clear()
        with pytest.raises(RegistryUnreachableError, match="overloaded or broken: asked to list tags it answers 503"):
            registry.tags("flights")
        there = {"Docker-Content-Digest": "sha256:" + "1" * 64}
        front.answers = lambda method, path: (200, there, b"") if method == "HEAD" else (503, {}, b"")
        front.asked.clear()
        with pytest.raises(RegistryUnreachableError, match="503"):
            registry.delete("flights:a")
        assert [method for method, _, _ in front.asked] == ["HEAD", "DELETE"]


def test_a_push_that_a_registry_stumbles_over_is_made_again(
    oci_registry: OciRegistry, small_image: Callable[[str], str]
) -> None:
    """As ours does when two push one tag in the same instant; if it never recovers, that is told."""
    with in_front_of(oci_registry.address) as front:
        left, registry = [500, 502], ContainerRegistry(front.address)

        def answers(method: str, path: str) -> tuple[int, dict[str, str], bytes] | None:
            return (left.pop(), {}, b"") if left and method == "PUT" and "/manifests/" in path else None

        front.answers = answers
        pushed = registry.push(small_image("one"), "flights:stumbling")
        assert left == []
        assert registry.digest("flights:stumbling") == pushed.partition("@")[2]
        left.extend([500] * 100)
        with pytest.raises(RegistryUnreachableError, match=r"overloaded or broken: asked to push .* 500 Internal"):
            registry.push(small_image("one"), "flights:stumbling")


def test_a_registry_that_forbids_deletes_says_so(
    own_registry: Callable[..., OciRegistry], small_image: Callable[[str], str]
) -> None:
    registry = ContainerRegistry(own_registry(deletes=False).address)
    pushed = registry.push(small_image("kept"), "flights:a")
    with pytest.raises(CapabilityError, match="lacks the capability 'delete', as it was set up"):
        registry.delete("flights:a")
    assert registry.digest(pushed) is not None


def test_whoever_may_only_read_is_told_by_the_check(oci_registry: OciRegistry) -> None:
    with in_front_of(oci_registry.address) as front:
        front.answers = lambda method, path: (403, {}, b"") if method == "POST" else None
        (problem,) = ContainerRegistry(f"{front.address}/team").check()
    assert problem.endswith(
        "forbids whoever has no credentials to take images. Have that allowed there, or use other credentials."
    )


def test_a_check_leaves_nothing(own_registry: Callable[..., OciRegistry], closed_port: int) -> None:
    served = own_registry()
    assert [*ContainerRegistry(f"{served.address}/team").check()] == []
    with urlopen(f"http://{served.address}/v2/_catalog") as answer:
        assert json.load(answer) == {"repositories": []}
    stored = [each.name for each in served.directory.glob("images/**/*")]
    assert not {"blobs", "_manifests", "_layers", "data"}.intersection(stored)
    (problem,) = ContainerRegistry(f"localhost:{closed_port}").check()
    assert "does not answer" in problem


def test_an_absent_engine_is_told(oci_registry: OciRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a socket and on a port; what the registry alone can answer it answers."""
    registry = ContainerRegistry(oci_registry.address)
    for host in (f"unix://{tmp_path}/none.sock", f"tcp://127.0.0.1:{free_port()}"):
        monkeypatch.setenv("DOCKER_HOST", host)
        with pytest.raises(EngineUnreachableError, match=f"No Docker engine answers at {host}. Start it"):
            registry.push("sha256:" + "0" * 64, "flights:a")
        assert registry.digest("flights:never") is None
        (problem,) = registry.check()
        assert "No Docker engine answers" in problem


def test_an_engine_that_is_somebody_else_s_is_told(
    oci_registry: OciRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import docker  # noqa: F401 - which somebody else could not import from here

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/locked.sock")
    registry, me = ContainerRegistry(oci_registry.address), os.geteuid()
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(f"{tmp_path}/locked.sock")
        engine.listen()
        (tmp_path / "locked.sock").chmod(0)
        try:
            if me == 0:  # whom no permission keeps out
                os.seteuid(65534)
            with pytest.raises(EngineAccessError, match=r"may not be used by this user.*usermod"):
                registry.push("sha256:" + "0" * 64, "flights:a")
        finally:
            if me == 0:
                os.seteuid(0)


def test_what_the_engine_has_not_is_fetched(
    oci_registry: OciRegistry, docker_engine: DockerClient, small_image: Callable[[str], str]
) -> None:
    """By tag and by digest."""
    registry, text = ContainerRegistry(f"{oci_registry.address}/fetched"), os.urandom(8).hex()
    image = small_image(text)
    pushed = registry.push(image, "flights:a")
    for name in ("flights:a", pushed):
        docker_engine.api.remove_image(image, force=True)
        assert registry.pull(name) == image


def test_an_image_for_several_platforms_has_the_labels_of_this_one(
    oci_registry: OciRegistry, small_image: Callable[[str], str]
) -> None:
    """And has none where it is for others only, in which case the engine says so as well."""
    import platform

    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    registry = ContainerRegistry(f"{oci_registry.address}/platforms")
    mine, other = (registry.push(small_image(text), f"flights:{text}") for text in ("mine", "other"))

    def put(tag: str, entries: dict[str, str]) -> None:
        kind = "application/vnd.docker.distribution.manifest.list.v2+json"
        manifests = [entry(oci_registry, reference, architecture) for architecture, reference in entries.items()]
        body = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode()
        url = f"http://{oci_registry.address}/v2/platforms/flights/manifests/{tag}"
        with urlopen(Request(url, body, {"Content-Type": kind}, method="PUT")) as answer:
            assert answer.headers["Docker-Content-Digest"] == f"sha256:{hashlib.sha256(body).hexdigest()}"

    put("both", {"s390x": other, here: mine})
    put("others", {"s390x": other})
    assert (registry.labels("flights:both") or {})["text"] == "mine"
    assert registry.pull("flights:both") == small_image("mine")
    assert registry.labels("flights:others") is None
    with pytest.raises(ImageNotFoundError, match="for other platforms only"):
        registry.pull("flights:others")


def entry(registry: OciRegistry, reference: str, architecture: str) -> dict[str, object]:
    kind, digest = "application/vnd.docker.distribution.manifest.v2+json", reference.partition("@")[2]
    url = f"http://{registry.address}/v2/platforms/flights/manifests/{digest}"
    with urlopen(Request(url, headers={"Accept": kind})) as answer:
        size = len(answer.read())
    system = {"architecture": architecture, "os": "linux"}
    return {"mediaType": kind, "digest": digest, "size": size, "platform": system}


def test_tags_come_in_pages(oci_registry: OciRegistry) -> None:
    """Of this registry alone, and no page twice."""
    pages = {
        "/v2/flights/tags/list": ('</v2/flights/tags/list?last=b>; rel="next"', ["b", "a"]),
        "/v2/flights/tags/list?last=b": ('<http://192.0.2.1/v2/flights/tags/list?last=b>; rel="next"', ["c"]),
    }

    def page(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        link, tags = pages[path]
        return 200, {"Link": link}, json.dumps({"name": "flights", "tags": tags}).encode()

    with in_front_of(oci_registry.address, answers=page) as front:
        assert ContainerRegistry(front.address).tags("flights") == ["a", "b", "c"]


def test_damaged_descriptions_are_not_believed(oci_registry: OciRegistry) -> None:
    with (
        in_front_of(oci_registry.address, answers=lambda method, path: (200, {}, b"{}")) as front,
        pytest.raises(RegistryError, match="was damaged there, or on the way"),
    ):
        ContainerRegistry(front.address).labels("flights@sha256:" + "1" * 64)


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        ("write /var/lib/x: no space left on device", "EngineError", "disk is full"),
        ("denied: requested access to the resource is denied", "RegistryAccessError", "wants credentials"),
        ("name unknown: The repository with name 'a' does not exist", "RegistryError", "aws ecr create-repository"),
        ("toomanyrequests: You have reached your pull rate limit", "RegistryUnreachableError", "overloaded or broken"),
        ("Get https://a/v2/: net/http: TLS handshake timeout", "RegistryUnreachableError", "does not answer"),
        ("something new", "RegistryError", "said 'something new'"),
    ],
)
def test_what_the_engine_says_is_understood(said: str, error: str, told: str) -> None:
    found = explained(said, ContainerRegistry("registry.example.org/team"), "push")
    assert type(found).__name__ == error
    assert told in str(found)


def test_what_credentials_may_not_do_is_told_apart_from_wrong_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    registry = ContainerRegistry("ghcr.io/team", username="tester", password=Secret("env:REGISTRY_PASSWORD"))
    for said, told in (("denied: no write access", "forbids"), ("unauthorized: authentication required", "refuses")):
        found = explained(said, registry, "push")
        assert isinstance(found, RegistryAccessError)
        assert told in str(found)
        assert "hunter2" not in str(found)
