"""Who a registry is told that we are, and who is told."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drystone import Secret
from drystone.errors import EngineUnreachableError, RegistryAccessError
from drystone_registry import ContainerRegistry
from services.fronts import in_front_of
from services.registries import TESTER, Account, OciRegistry

if TYPE_CHECKING:
    from docker import DockerClient

PASSWORD = Secret("env:REGISTRY_PASSWORD")
HELPER = """#!/bin/sh
read server
[ "$1 $server" = "get {server}" ] || {{ echo "credentials not found in native keychain"; exit 1; }}
echo '{{"ServerURL": "{server}", "Username": "{username}", "Secret": "{secret}"}}'
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes the program `docker-credential-x`."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def write(text: str) -> None:
        program = tmp_path / "docker-credential-x"
        program.write_text(text)
        program.chmod(0o755)

    return write


def configure(docker_config: Path, **settings: object) -> None:
    (docker_config / "config.json").write_text(json.dumps(settings))


def pair(account: Account) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{account.username}:{account.password}".encode()).decode()}


def test_without_credentials_a_locked_registry_says_how_to_get_in(
    locked_registry: OciRegistry, small_image: Callable[[str], str]
) -> None:
    registry = ContainerRegistry(f"{locked_registry.address}/team")
    said = rf"{locked_registry.address} wants credentials. Log in with `docker login {locked_registry.address}`"
    for ask in (
        lambda: registry.digest("a:b"),
        lambda: registry.tags("a"),
        lambda: registry.pull("a:b"),
        lambda: registry.push(small_image("one"), "a:b"),
    ):
        with pytest.raises(RegistryAccessError, match=said):
            ask()


def test_a_wrong_password_is_refused_and_told_to_nobody(
    locked_registry: OciRegistry, small_image: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2-is-wrong")
    registry = ContainerRegistry(locked_registry.address, username="tester", password=PASSWORD)
    for ask in (lambda: registry.digest("a:b"), lambda: registry.push(small_image("one"), "a:b")):
        with pytest.raises(RegistryAccessError, match="refuses the credentials of `username` and `password`") as raised:
            ask()
        assert "hunter2" not in "".join(map(str, (raised.value, raised.value.__cause__, registry)))


def test_what_docker_login_has_stored_is_used(
    locked_registry: OciRegistry, small_image: Callable[[str], str], docker_config: Path
) -> None:
    """Whether it wrote the host alone or a URL."""
    registry = ContainerRegistry(f"{locked_registry.address}/stored")
    for name in (locked_registry.address, f"https://{locked_registry.address}/v1/"):
        configure(docker_config, auths={name: pair(TESTER)})
        pushed = registry.push(small_image("one"), "flights:a")
        assert registry.digest("flights:a") == pushed.partition("@")[2]


@pytest.mark.parametrize("store", ["credsStore", "credHelpers"])
def test_a_credential_helper_is_asked(
    store: str, locked_registry: OciRegistry, helper: Callable[[str], None], docker_config: Path
) -> None:
    """The one for all registries, and the one for this registry."""
    server = locked_registry.address
    helper(HELPER.format(server=server, username=TESTER.username, secret=TESTER.password))
    configure(docker_config, **{store: "x" if store == "credsStore" else {server: "x"}})
    assert ContainerRegistry(server).digest("flights:never") is None


def test_what_a_helper_has_not_may_stand_in_the_file(
    locked_registry: OciRegistry, helper: Callable[[str], None], docker_config: Path
) -> None:
    helper(HELPER.format(server="elsewhere", username="", secret=""))
    configure(docker_config, credsStore="x", auths={locked_registry.address: pair(TESTER)})
    assert ContainerRegistry(locked_registry.address).digest("flights:never") is None


def test_a_helper_that_fails_says_how_to_see_why_and_nothing_it_printed(
    locked_registry: OciRegistry, helper: Callable[[str], None], docker_config: Path
) -> None:
    configure(docker_config, credHelpers={locked_registry.address: "x"})
    registry = ContainerRegistry(locked_registry.address)
    with pytest.raises(RegistryAccessError, match=r"docker-credential-x keeps .* no such program on PATH"):
        registry.digest("a:b")
    for script in ("echo hunter2 >&2; echo hunter2; exit 3", "echo hunter2", "echo '[\"hunter2\"]'"):
        helper(f"#!/bin/sh\n{script}\n")
        with pytest.raises(
            RegistryAccessError, match=r"See what it says: echo .* \| docker-credential-x get"
        ) as raised:
            registry.digest("a:b")
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("text", ["{", '{"auths": {"HOST": {"auth": "§"}}}'])
def test_a_broken_file_of_docker_is_named(text: str, locked_registry: OciRegistry, docker_config: Path) -> None:
    (docker_config / "config.json").write_text(text.replace("HOST", locked_registry.address))
    with pytest.raises(RegistryAccessError, match=str(docker_config / "config.json")):
        ContainerRegistry(locked_registry.address).digest("a:b")


def test_settings_go_before_what_docker_has_stored(
    locked_registry: OciRegistry, docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(docker_config, auths={locked_registry.address: pair(Account("tester", "wrong", ""))})
    monkeypatch.setenv("REGISTRY_PASSWORD", TESTER.password)
    registry = ContainerRegistry(locked_registry.address, username=TESTER.username, password=PASSWORD)
    assert registry.digest("flights:never") is None


def test_a_token_server_is_asked_for_what_the_registry_wants(
    oci_registry: OciRegistry, small_image: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password goes to the token server alone, the token to the registry."""
    monkeypatch.setenv("REGISTRY_PASSWORD", TESTER.password)
    with in_front_of(oci_registry.address, account=TESTER) as front:
        registry = ContainerRegistry(f"{front.address}/tokens", username=TESTER.username, password=PASSWORD)
        pushed = registry.push(small_image("one"), "flights:a")
        assert registry.digest("flights:a") == pushed.partition("@")[2]
        assert (registry.labels("flights:a") or {})["text"] == "one"
        assert registry.tags("flights") == ["a"]
        assert registry.pull(pushed) == small_image("one")
        assert [*registry.check()] == []
    assert {path.startswith("/token") for _, path, sent in front.asked if sent.startswith("Basic")} == {True}
    assert any("service=front" in path and "scope=repository%3Aall%3Apull%2Cpush" in path for _, path, _ in front.asked)


def test_a_token_server_refuses_a_wrong_password(oci_registry: OciRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "wrong")
    with in_front_of(oci_registry.address, account=TESTER) as front:
        registry = ContainerRegistry(front.address, username=TESTER.username, password=PASSWORD)
        with pytest.raises(RegistryAccessError, match="refuses the credentials of `username` and `password`"):
            registry.digest("a:b")
        with pytest.raises(RegistryAccessError, match="wants credentials"):
            ContainerRegistry(front.address).digest("a:b")


def test_an_identity_token_is_taken_by_the_token_server(
    oci_registry: OciRegistry, helper: Callable[[str], None], docker_config: Path
) -> None:
    """As cloud logins leave it, in the file or with a helper."""
    with in_front_of(oci_registry.address, account=TESTER) as front:
        registry = ContainerRegistry(front.address)
        configure(docker_config, auths={front.address: {"identitytoken": TESTER.password}})
        assert registry.digest("flights:never") is None
        helper(HELPER.format(server=front.address, username="<token>", secret=TESTER.password))
        configure(docker_config, credsStore="x")
        assert registry.digest("flights:never") is None


def test_a_redirect_to_elsewhere_is_followed_without_credentials(
    oci_registry: OciRegistry, small_image: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As registries do with the blobs that they keep in a bucket."""
    monkeypatch.setenv("REGISTRY_PASSWORD", TESTER.password)
    with in_front_of(oci_registry.address) as storage, in_front_of(oci_registry.address, account=TESTER) as front:

        def sent_away(method: str, path: str) -> tuple[int, dict[str, str], bytes] | None:
            away = method == "GET" and "/blobs/" in path
            return (307, {"Location": f"http://{storage.address}{path}"}, b"") if away else None

        front.answers = sent_away
        registry = ContainerRegistry(f"{front.address}/away", username=TESTER.username, password=PASSWORD)
        registry.push(small_image("one"), "flights:a")
        assert (registry.labels("flights:a") or {})["text"] == "one"
    assert [authorization for _, _, authorization in storage.asked] == [""]


def test_a_password_does_not_go_to_a_token_server_over_less_than_https(
    own_registry: Callable[..., OciRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    from drystone_registry.connections import Answer
    from drystone_registry.credentials import Credentials
    from drystone_registry.tokens import authorization, challenge

    wanted = challenge('Bearer realm="http://tokens.example.org/token",service="a"')
    assert wanted is not None
    known, asked = Credentials(source="a test", username="tester", password="hunter2"), []

    def send(*request: object, **options: object) -> Answer:
        asked.append(request)
        return Answer(200, {}, b'{"token": "t"}')

    with pytest.raises(RegistryAccessError, match="not spoken to by https"):
        authorization(wanted, known, send, "example.org", "https")
    assert asked == []
    assert authorization(wanted, known, send, "localhost:5000", "http") == "Bearer t"


@pytest.mark.parametrize(
    ("header", "scheme", "realm"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
            "bearer",
            "https://auth.docker.io/token",
        ),
        ('Basic realm="https://1.dkr.ecr.eu-central-1.amazonaws.com/",service="ecr.amazonaws.com"', "basic", None),
        ('Basic realm="a, b", Bearer realm="https://a/token"', "bearer", "https://a/token"),
        ("bearer realm=https://a/token", "bearer", "https://a/token"),
    ],
)
def test_what_registries_want_is_understood(header: str, scheme: str, realm: str | None) -> None:
    from drystone_registry.tokens import challenge

    found = challenge(header)
    assert found is not None
    assert found.scheme == scheme
    assert realm is None or found.parameters["realm"] == realm


def test_images_come_and_go_through_the_engine_that_is_given(
    oci_registry: OciRegistry,
    small_image: Callable[[str], str],
    docker_engine: DockerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = small_image("given")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")  # as where a context, or a setting, says which engine it is
    registry = ContainerRegistry(f"{oci_registry.address}/given")
    with pytest.raises(EngineUnreachableError):
        registry.push(image, "walls:1")
    reference = registry.push(image, "walls:1", engine=docker_engine.api)
    assert registry.pull(reference, engine=docker_engine.api) == image
