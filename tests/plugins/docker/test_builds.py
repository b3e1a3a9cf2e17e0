"""Images on a real engine: what is built, what is in it, what is not, and what is said of a build that fails."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drystone import Environment, Secret
from drystone.errors import ImageBuildError, ImageNotFoundError, RegistryUnreachableError
from drystone_docker.builds import BUILD_LABEL, BUILDER_LABEL, sweep
from drystone_docker.engines import close, engine
from drystone_docker.images import Image
from drystone_docker.provisions import Images
from drystone_registry import ContainerRegistry

if TYPE_CHECKING:
    from docker import DockerClient

PASSWORD = "pw-9f86d081884c7d65"


@pytest.fixture(scope="module")
def repository(docker_engine: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the images of these tests are called; none of them is left."""
    name = f"drystone-images-test/{tmp_path_factory.mktemp('project').parent.name}-{time.time_ns():x}"
    yield name
    for each in docker_engine.images.list(name):
        docker_engine.images.remove(each.id, force=True)


@pytest.fixture
def images(docker_engine: DockerClient, tmp_path: Path, repository: str) -> Iterator[Images]:
    """The images of an empty project. Nothing but images is left on the engine."""
    yield Images(engine(None), tmp_path, repository=repository)
    assert not any(repository in each["Labels"][BUILD_LABEL] for each in building(docker_engine))
    close()


@pytest.fixture(scope="module")
def plain(base_image: str) -> Image:
    """An image that has nothing but Drystone."""
    return Image(base_image=base_image, environment={"THREADS": "3 of 'em"})


@pytest.fixture
def built(images: Images, plain: Image) -> str:
    """The id of the plain image, which the first test builds."""
    images.provide(plain)
    return images.on_engine(plain)


@pytest.fixture
def run(docker_engine: DockerClient) -> Callable[..., str]:
    """Runs a command in an image, and returns what it prints."""

    def run(image: str, *command: str, **settings: Any) -> str:
        output: bytes = docker_engine.containers.run(image, list(command), remove=True, **settings)
        return output.decode().strip()

    return run


def test_an_image_is_built_once_and_then_known_at_once(
    images: Images,
    plain: Image,
    docker_engine: DockerClient,
    tmp_path: Path,
    repository: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if images.environment(plain).unknown:
        assert images.environment(plain) == Environment(unknown="its image is not built yet")
    again = Images(engine(None), tmp_path, repository=repository)
    with ThreadPoolExecutor() as pool:  # as two runs that start together
        list(pool.map(lambda each: each.provide(plain), (images, again)))
    assert capfd.readouterr().err.count("Building the image") <= 1
    start = time.process_time()
    again.provide(plain)
    assert time.process_time() - start < 0.5
    assert again.on_engine(plain) == images.on_engine(plain)
    assert len(docker_engine.images.list(again.name(plain))) == 1


def test_an_image_says_what_is_installed_in_it(
    images: Images, plain: Image, built: str, run: Callable[..., str]
) -> None:
    found = images.environment(plain)
    assert found.python == run(built, "python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    assert found.packages["attrs"] == version("attrs")
    assert found.packages["drystone-core"] == version("drystone-core")
    assert "typing-extensions" in found.packages  # in lower case, with -
    assert "pytest" not in found.packages
    there = "from importlib.metadata import distributions as d; print(len({e.name.lower() for e in d()}))"
    assert len(found.packages) == int(run(built, "python", "-c", there))


def test_anybody_may_use_what_an_image_has(built: str, run: Callable[..., str]) -> None:
    code = (
        "import os, sys, drystone.workers, drystone_s3, drystone_local, importlib.util as u\n"
        "print(sys.prefix, os.environ['THREADS'], os.path.exists(u.cache_from_source(drystone.workers.__file__)))"
    )
    assert run(built, "python", "-c", code, user="12345:54321") == "/opt/drystone 3 of 'em True"
    assert run(built, "sh", "-c", "find /opt/drystone ! -perm -o+r ! -type l | head", user="12345:54321") == ""
    assert run(built, "drystone", "--version", user="12345:54321")


def test_an_image_is_one_layer_on_its_base_image(built: str, docker_engine: DockerClient, base_image: str) -> None:
    image, base = docker_engine.api.inspect_image(built), docker_engine.api.inspect_image(base_image)
    assert len(image["RootFS"]["Layers"]) == len(base["RootFS"]["Layers"]) + 1
    for part in ("User", "Entrypoint", "WorkingDir", "Volumes"):
        assert (image["Config"][part] or "") in (base["Config"][part] or "", "0", "/"), part


def last_layer(exported: bytes) -> list[str]:
    """The names of what an exported image has in its last layer."""
    with tarfile.open(fileobj=io.BytesIO(exported)) as whole:
        (manifest,) = json.load(whole.extractfile("manifest.json"))  # type: ignore[arg-type]
        with tarfile.open(fileobj=whole.extractfile(manifest["Layers"][-1])) as layer:
            return layer.getnames()


class PrivateIndex:
    """A package index that wants credentials, and has one package. It notes what it sees of the build meanwhile."""

    def __init__(self, engine: DockerClient) -> None:
        self.seen: list[str] = []
        index = self
        credentials = "Basic " + base64.b64encode(f"team:{PASSWORD}".encode()).decode()
        wheel = parcel()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.seen.append(json.dumps([engine.api.inspect_container(each["Id"]) for each in building(engine)]))
                if self.headers["Authorization"] != credentials:
                    return self.answer(401, b"")
                page = b'<a href="../../parcel-1.0-py3-none-any.whl">parcel-1.0-py3-none-any.whl</a>'
                if self.path == "/simple/parcel/":
                    return self.answer(200, page, "text/html")
                return self.answer(200, wheel) if self.path.endswith(".whl") else self.answer(404, b"")

            def answer(self, status: int, content: bytes, kind: str = "application/octet-stream") -> None:
                self.send_response(status)
                for name, text in (("Content-Type", kind), ("Content-Length", str(len(content)))):
                    self.send_header(name, text)
                if status == 401:
                    self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()
                self.wfile.write(content if self.command == "GET" else b"")

            do_HEAD = do_GET  # noqa: N815 - as http.server looks for it

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def url(self, password: str = PASSWORD) -> str:
        return f"http://team:{password}@127.0.0.1:{self._server.server_port}/simple"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def building(engine: DockerClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.api.containers(all=True, filters={"label": BUILD_LABEL})
    return found


def parcel() -> bytes:
    packed = io.BytesIO()
    info = "parcel-1.0.dist-info"
    with zipfile.ZipFile(packed, "w") as wheel:
        wheel.writestr("parcel.py", "NUMBER = 42\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"parcel.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return packed.getvalue()


@pytest.fixture
def private_index(docker_engine: DockerClient) -> Iterator[PrivateIndex]:
    index = PrivateIndex(docker_engine)
    yield index
    index.close()


def test_an_image_has_what_its_settings_name_and_their_credentials_are_nowhere(
    images: Images,
    base_image: str,
    tmp_path: Path,
    private_index: PrivateIndex,
    monkeypatch: pytest.MonkeyPatch,
    docker_engine: DockerClient,
    run: Callable[..., str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRIVATE_INDEX", private_index.url())
    monkeypatch.setenv("TOKEN", PASSWORD)
    (tmp_path / "greeting.txt").write_text("hello")
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nCOPY greeting.txt /greeting.txt\nENV GREETING=1\n")
    image = Image(
        dockerfile="Dockerfile",
        requirements=("parcel",),
        system_packages=("hello",),
        index_url=Secret("env:PRIVATE_INDEX"),
        environment={"TOKEN": Secret("env:TOKEN")},
    )
    images.provide(image)
    id_ = images.on_engine(image)
    assert run(id_, "python", "-c", "import parcel, drystone; print(parcel.NUMBER)") == "42"
    assert run(id_, "sh", "-c", "cat /greeting.txt; echo $GREETING; hello; ls /var/lib/apt/lists") == (
        "hello1\nHello, world!"
    )
    assert images.environment(image).packages["parcel"] == "1.0"
    said = capfd.readouterr()
    assert PASSWORD not in said.out + said.err
    seen = "".join(private_index.seen)
    assert images.name(image) in seen  # the build's container was looked at while it ran
    assert PASSWORD not in seen
    assert PASSWORD not in json.dumps([docker_engine.api.inspect_image(id_), docker_engine.api.history(id_)])
    exported = b"".join(docker_engine.images.get(id_).save())
    assert PASSWORD.encode() not in exported
    names = last_layer(exported)
    assert not any(name.startswith(("drystone-build/", "drystone-cache/", "root/", "tmp/")) for name in names)
    assert not any(name.endswith(("bin/uv", "direct_url.json")) for name in names)


def test_a_refused_index_is_told_without_its_credentials(
    images: Images, base_image: str, private_index: PrivateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVATE_INDEX", private_index.url("another-password"))
    image = Image(base_image=base_image, requirements=("parcel",), index_url=Secret("env:PRIVATE_INDEX"))
    with pytest.raises(ImageBuildError, match="its packages could not be installed") as caught:
        images.provide(image)
    assert "another-password" not in str(caught.value)
    assert "401" in str(caught.value)


def test_a_requirement_that_does_not_resolve_is_told_in_the_installers_words(
    images: Images, base_image: str, capfd: pytest.CaptureFixture[str]
) -> None:
    image = Image(base_image=base_image, requirements=("attrs==1.0.0.99",))
    with pytest.raises(ImageBuildError, match="its packages could not be installed") as caught:
        images.provide(image)
    assert "attrs==1.0.0.99" in str(caught.value)
    assert "attrs==1.0.0.99" in capfd.readouterr().err  # it was shown as well
    assert images.environment(image) == Environment(unknown="its image is not built yet")
    with pytest.raises(ImageNotFoundError, match="is not built yet"):
        images.on_engine(image)


def test_a_base_image_that_is_nowhere_is_told_with_the_ways_out(images: Images) -> None:
    image = Image(base_image="localhost:1/nowhere/python:3.11")
    assert images.environment(image) == Environment(unknown="its base image is not on the container engine yet")
    with pytest.raises(ImageNotFoundError, match=r"localhost:1/nowhere/python:3\.11.*Set base_image") as caught:
        images.provide(image)
    assert "docker login" in str(caught.value)
    assert images.problems(image) == [str(caught.value)]


def test_a_base_image_for_another_processor_is_not_taken_for_the_right_one(images: Images, base_image: str) -> None:
    image = Image(base_image=base_image, platform="linux/s390x")
    with pytest.raises(ImageNotFoundError, match=r"for linux/s390x \(it has it for linux/"):
        images.provide(image)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"python": "python9"}, "its base image has no python9. Set base_image"),
        ({"python": "false"}, "its Python is too old: Drystone needs 3.11"),
        ({"system_packages": ("no-such-package-at-all",)}, "a system package could not be installed"),
    ],
)
def test_a_part_that_fails_is_named(images: Images, base_image: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ImageBuildError, match=said):
        images.provide(Image(base_image=base_image, **settings))


def bare_image(engine: DockerClient, name: str, *files: tuple[str, bytes]) -> str:
    """An image that has these files and nothing else."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in files:
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    engine.api.import_image_from_data(packed.getvalue(), repository=name, tag="1")
    return f"{name}:1"


def test_a_base_image_without_a_shell_or_of_another_processor_is_told(
    images: Images, docker_engine: DockerClient, repository: str
) -> None:
    empty = bare_image(docker_engine, f"{repository}-empty", ("etc/nothing", b""))
    foreign = bare_image(docker_engine, f"{repository}-foreign", ("bin/sh", b"\x7fELF" + b"\0" * 60))
    try:
        with pytest.raises(ImageBuildError, match="cannot run /bin/sh of its base image"):
            images.provide(Image(base_image=empty))
        with pytest.raises(ImageBuildError, match="made for another processor"):
            images.provide(Image(base_image=foreign))
    finally:
        for each in (empty, foreign):
            docker_engine.images.remove(each, force=True)


def test_an_interrupted_build_leaves_nothing(
    images: Images, plain: Image, docker_engine: DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drystone_docker import builds

    image = Image(environment={"NEVER": "BUILT"}).over(plain)
    name, seen = images.name(image), []

    def interrupt(line: str) -> None:
        mine = [each["Id"] for each in building(docker_engine) if name in each["Labels"][BUILD_LABEL]]
        seen.extend(docker_engine.api.inspect_container(mine[0])["Mounts"])
        raise KeyboardInterrupt

    monkeypatch.setattr(builds, "show", interrupt)
    with pytest.raises(KeyboardInterrupt):
        images.provide(image)
    assert {each["Destination"] for each in seen} == {"/drystone-build", "/drystone-cache"}
    left = {each.name for each in docker_engine.volumes.list()}
    assert left & {each["Name"] for each in seen} == {"drystone-uv-cache"}


def test_what_a_killed_driver_was_building_goes_with_the_next_build(
    docker_engine: DockerClient, base_image: str
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [
        docker_engine.containers.create(base_image, "true", labels={BUILDER_LABEL: f"{socket.gethostname()}:{process}"})
        for process in (gone.pid, os.getpid())
    ]
    try:
        sweep(engine(None))
        there = {each["Id"] for each in docker_engine.api.containers(all=True, filters={"label": BUILDER_LABEL})}
        assert [each.id in there for each in left] == [False, True]
    finally:
        left[1].remove()
        close()


def test_a_registry_that_is_away_stops_nobody_whose_engine_has_the_image(
    built: str, images: Images, plain: Image, tmp_path: Path, repository: str, caplog: pytest.LogCaptureFixture
) -> None:
    away = ContainerRegistry("127.0.0.1:1/team")
    shared = Images(engine(None), tmp_path, away, repository=repository)
    shared.provide(plain)
    assert "127.0.0.1:1" in caplog.text
    assert "so the run goes on" in caplog.text
    assert shared.on_engine(plain) == built
    with pytest.raises(RegistryUnreachableError):
        shared.provide(Image(base_image=plain.base_image, requirements=("packaging",)))


def test_a_dockerfile_that_fails_is_told_with_its_instruction(images: Images, base_image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nENV GREETING=1\nRUN echo so it goes; false\n")
    with pytest.raises(ImageBuildError, match="at its instruction 'RUN echo so it goes; false'") as caught:
        images.provide(Image(dockerfile="Dockerfile"))
    assert "\n  so it goes\n" in str(caught.value)


def test_a_dockerfile_that_is_refused_is_told_in_the_engines_words(
    images: Images, base_image: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nRUNN true\n")
    with pytest.raises(ImageBuildError, match=r"Dockerfile was refused(.|\n)*RUNN"):
        images.provide(Image(dockerfile="Dockerfile"))


class Giving:
    """Stands for a registry that has every image, and counts how often one is pulled."""

    def __init__(self, id_: str) -> None:
        self.id, self.pulls = id_, 0

    def digest(self, name: str) -> str:
        return "sha256:" + "0" * 64

    def pull(self, name: str, *, engine: Any) -> str:
        self.pulls += 1
        return self.id


def test_steps_that_start_at_once_pull_their_image_once(
    docker_engine: DockerClient, base_image: str, tmp_path: Path, repository: str
) -> None:
    registry = Giving(docker_engine.api.inspect_image(base_image)["Id"])
    images = Images(engine(None), tmp_path, registry, repository)  # type: ignore[arg-type]
    image = Image(base_image=base_image, environment={"PULLED": "ONCE"})
    with ThreadPoolExecutor(8) as threads:
        assert {*threads.map(images.on_engine, [image] * 8)} == {registry.id}
    docker_engine.api.remove_image(images.name(image), noprune=True)
    close()
    assert registry.pulls == 1
