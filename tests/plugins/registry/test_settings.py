"""Which addresses and credentials a registry takes, and what they mean."""

from __future__ import annotations

import pytest

from drystone import Secret
from drystone.errors import StackError
from drystone_registry import ContainerRegistry
from drystone_registry.settings import api_host, login_name


@pytest.mark.parametrize(
    ("uri", "api", "login"),
    [
        ("localhost:5000/team", "localhost:5000", "localhost:5000"),
        ("ghcr.io/team/", "ghcr.io", "ghcr.io"),
        ("docker.io/team", "registry-1.docker.io", "https://index.docker.io/v1/"),
        ("index.docker.io/team", "registry-1.docker.io", "https://index.docker.io/v1/"),
        *[
            (f"1.dkr.ecr.eu-central-1.amazonaws.com{path}", *["1.dkr.ecr.eu-central-1.amazonaws.com"] * 2)
            for path in ("", "/a")
        ],
        ("[::1]:5000", "[::1]:5000", "[::1]:5000"),
    ],
)
def test_an_address_says_where_to_ask_and_what_docker_calls_it(uri: str, api: str, login: str) -> None:
    registry = ContainerRegistry(uri)
    assert (api_host(registry.uri), login_name(registry.uri)) == (api, login)
    assert registry.reference("flights:a") == f"{uri.rstrip('/')}/flights:a"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("http://localhost:5000/team", r"no scheme. Write 'localhost:5000/team'; plain_http=True"),
        ("tester:hunter@localhost:5000", "takes no credentials"),
        ("team", "Write docker.io/team if"),
        ("docker.io", "below an account. Write docker.io/team"),
        ("ghcr.io/Team", "in lower case"),
        ("ghcr.io/../team", "in lower case"),
        ("", "it takes a host"),
        ("ghcr.io/team:tag", "it takes a host"),
    ],
)
def test_other_addresses_are_refused_with_the_way_out(uri: str, told: str) -> None:
    with pytest.raises(StackError, match=told) as raised:
        ContainerRegistry(uri)
    assert "hunter" not in str(raised.value)


def test_a_password_is_a_secret_and_has_a_username() -> None:
    with pytest.raises(TypeError, match=r'password=Secret\("env:REGISTRY_PASSWORD"\)') as raised:
        ContainerRegistry("ghcr.io/team", username="a", password="hunter2")  # type: ignore[arg-type]
    assert "hunter2" not in str(raised.value)
    for given in ({"username": "a"}, {"password": Secret("env:A")}):
        with pytest.raises(StackError, match="together, or neither"):
            ContainerRegistry("ghcr.io/team", **given)  # type: ignore[arg-type]


def test_it_is_offered_as_oci() -> None:
    from drystone_registry.plugin import drystone_components

    assert [(each.kind, each.name) for each in drystone_components()] == [("container_registry", "oci")]


def test_a_push_wants_a_tag() -> None:
    with pytest.raises(ValueError, match="Give it a tag"):
        ContainerRegistry("ghcr.io/team").push("sha256:" + "0" * 64, "flights@sha256:" + "0" * 64)
