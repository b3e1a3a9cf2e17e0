"""Settings of images: what they may be, and what a step's own leave to the orchestrator's."""

from __future__ import annotations

from typing import Any

import pytest

from drystone import Secret
from drystone.errors import StackError
from drystone_docker.images import Image


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_image": "python 3.11"}, "base_image='python 3.11' is no name of an image"),
        ({"platform": "arm64"}, "platform='arm64' is no platform, like 'linux/amd64'"),
        ({"python": ""}, "python='' is no interpreter"),
        ({"dockerfile": ""}, "dockerfile='' is no file"),
        ({"requirements": "pandas>=2"}, "requirements=('pandas>=2.3',)"),
        ({"requirements": ("pandas>=2", "not a requirement")}, "requirements= has 'not a requirement'"),
        ({"requirements": 3}, "requirements=3 names no file"),
        ({"system_packages": "libgomp1"}, "it takes several names, as ('libgomp1',)"),
        ({"system_packages": ("lib gomp",)}, "system_packages= has 'lib gomp', which is no Debian package"),
        ({"system_packages": ("--allow-downgrades",)}, "which is no Debian package"),
        ({"environment": ["A"]}, "it takes variables"),
        ({"environment": {"1A": "x"}}, "has '1A', which is no name of a variable"),
        ({"environment": {"THREADS": 1}}, "has THREADS=1: write it as text, '1'"),
        ({"index_url": "packages.example.org"}, "is no URL of a package index"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_one_that_can(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(StackError) as caught:
        Image(**settings)
    assert said in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(StackError, match="2 problems") as caught:
        Image(platform="arm", system_packages=("A B",))
    assert "platform='arm'" in str(caught.value)
    assert "'A B'" in str(caught.value)


def test_credentials_in_an_index_url_are_a_secret() -> None:
    with pytest.raises(TypeError, match=r'index_url=Secret\("env:INDEX_URL"\)') as caught:
        Image(index_url="https://me:token@packages.example.org/simple")
    assert "token" not in str(caught.value)
    assert "packages.example.org" not in str(caught.value)
    assert Image(index_url=Secret("env:INDEX_URL")).index_url == Secret("env:INDEX_URL")


def test_lists_become_tuples_and_mappings_are_copied() -> None:
    variables = {"A": "1"}
    image = Image(requirements=["numpy"], system_packages=["git"], environment=variables)  # type: ignore[arg-type]
    variables["B"] = "2"
    assert (image.requirements, image.system_packages, image.environment) == (("numpy",), ("git",), {"A": "1"})


def test_what_a_step_leaves_open_is_the_orchestrators() -> None:
    whole = Image(base_image="python:3.12", requirements=("numpy",), platform="linux/amd64")
    assert Image(requirements=("scipy",)).over(whole) == Image(
        base_image="python:3.12", requirements=("scipy",), platform="linux/amd64"
    )


def test_a_steps_base_image_takes_the_place_of_the_orchestrators_dockerfile() -> None:
    whole = Image(dockerfile="images/Dockerfile", python="python3.12")
    assert Image(base_image="python:3.13").over(whole) == Image(base_image="python:3.13", python="python3.12")
    assert Image(system_packages=("git",)).over(whole).dockerfile == "images/Dockerfile"


def test_images_can_be_compared_and_kept_in_sets() -> None:
    one, same, other = (Image(environment={"A": text}) for text in ("1", "1", "2"))
    assert {one, same, other} == {one, other}


def test_a_set_has_one_order_whatever_the_process() -> None:
    image = Image(requirements={"scipy", "numpy", "attrs"}, system_packages={"libgomp1", "curl"})  # type: ignore[arg-type]
    assert image.requirements == ("attrs", "numpy", "scipy")
    assert image.system_packages == ("curl", "libgomp1")
