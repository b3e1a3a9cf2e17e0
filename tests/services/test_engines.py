"""The engine that other tests get is a real one, and what they leave on it is seen and removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.engines import engine, image, mentioning, removed

if TYPE_CHECKING:
    from docker import DockerClient


def test_the_base_image_runs_python_and_pip(docker_engine: DockerClient, base_image: str) -> None:
    said = docker_engine.containers.run(base_image, ["python3", "-m", "pip", "--version"], remove=True)
    assert b"(python 3." in said


def test_containers_that_are_left_are_found_by_what_they_mention_and_removed(
    docker_engine: DockerClient, base_image: str, tmp_path: Path
) -> None:
    with removed(docker_engine, tmp_path) as left:
        assert left() == []
        docker_engine.containers.run(base_image, ["true", str(tmp_path)], name=f"a-{tmp_path.name}", detach=True).wait()
        docker_engine.containers.run(base_image, ["sleep", "60"], labels={"of": f"{tmp_path}/x"}, detach=True)
        assert f"/a-{tmp_path.name}" in left()
        assert len(left()) == 2
        assert len(left(f"{tmp_path}/x")) == 1
    assert not mentioning(docker_engine, str(tmp_path))


def test_without_an_engine_tests_are_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.delenv("DRYSTONE_REQUIRE_SERVICES", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match=r"no Docker engine at unix://.*none.sock \(.*No such file.*\); `\. "
    ):
        engine()


def test_without_the_image_tests_fail_where_nothing_may_be_missing(
    docker_engine: DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRYSTONE_REQUIRE_SERVICES", "1")
    with pytest.raises(pytest.fail.Exception, match=r"has no image nobody-made:this, .*`\. \.ci/services`"):
        image(docker_engine, "nobody-made:this")
