"""`check` says what keeps an engine from being used, each with the way out."""

import os

import pytest

from drystone import Place
from drystone_docker import DockerOrchestrator, Image
from drystone_docker import checks as module
from drystone_docker.engines import close
from drystone_local import LocalArtifactStore
from drystone_s3 import S3ArtifactStore


@pytest.fixture
def check(orchestrator, tmp_path):
    """What is wrong with an orchestrator of some settings, in an empty project."""

    def problems(store=None, **settings):
        bound = orchestrator(**settings).at(Place(root=tmp_path, workspace=tmp_path))
        return [*bound.within({"artifact_store": store or LocalArtifactStore(f"{tmp_path}/artifacts")}).check()]

    yield problems
    close()


def test_nothing_is_wrong(check):
    assert check() == []


def test_an_engine_that_does_not_run(tmp_path):
    (problem,) = DockerOrchestrator(host=f"unix://{tmp_path}/docker.sock").check()
    assert problem.startswith("No container engine answers at unix://")


def test_a_base_image_that_nobody_has(check):
    (problem,) = check(base_image="127.0.0.1:9/drystone/absent:1")
    assert problem.startswith(
        "The base image 127.0.0.1:9/drystone/absent:1 is not on the container engine, and cannot be pulled:"
    )
    assert "`docker pull 127.0.0.1:9/drystone/absent:1` tries the same" in problem


def test_base_images_of_steps_are_looked_for_too(check):
    steps = {name: Image(base_image=f"127.0.0.1:9/{name}:1") for name in ("train", "test")}
    assert len(check(steps=steps)) == 2


def test_an_image_for_another_machine(check, docker_engine):
    other = "arm64" if docker_engine.info()["Architecture"] == "x86_64" else "amd64"
    (problem,) = check(platform=f"linux/{other}")
    assert f"and not for linux/{other}. Take another base_image, or set platform=" in problem


def test_limits_beyond_the_machine(check):
    few, many = check(cpus=4096, memory="1000TiB")
    assert few.startswith("cpus=4096 are more than the engine's machine has")
    assert many.startswith("memory='1000TiB' is more than the engine's machine has")


def test_a_disk_that_is_nearly_full(check, monkeypatch):
    monkeypatch.setattr(module, "LEAST", 1 << 60)
    (problem,) = check()
    assert problem.startswith("The disk of the container engine has ")
    assert "`docker system df` shows what takes the space" in problem


def test_a_volume_that_is_not_there(check, tmp_path):
    (problem,) = check(volumes={"absent": "/there"})
    assert problem.startswith(f"volumes names {tmp_path}/absent, which is not there.")


def test_a_user_who_may_not_write_where_artifacts_are(check, tmp_path):
    (tmp_path / "artifacts").mkdir(mode=0o755)
    (problem,) = check(user="4321:4321")
    assert problem == (
        f"user='4321:4321' may not write into the artifact store, {tmp_path}/artifacts, which belongs to user "
        f"{os.getuid()}. Leave user= away, so that steps run as you do."
    )


def test_a_store_on_this_machine_is_within_reach(check):
    assert check(S3ArtifactStore("s3://flights/artifacts", endpoint_url="http://127.0.0.1:8333")) == []
