"""Builds: a container of the base image installs what a recipe asks for, and is committed as the new image.

That needs nothing but the engine: neither BuildKit nor the `docker` command. What the build is given lies in a volume
of its container, which no layer, no configuration and no history of the image knows of.
"""

from __future__ import annotations

import io
import os
import shlex
import socket
import sys
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from drystone.errors import ImageBuildError
from drystone_docker.distributions import BUILD
from drystone_docker.engines import Engine
from drystone_docker.failures import translated
from drystone_docker.indexes import Access, expanded
from drystone_docker.recipes import Recipe

CACHE_VOLUME = "drystone-uv-cache"
"""The engine's volume that keeps what uv and pip have downloaded and built."""

ENVIRONMENT_LABEL = "org.drystone.environment"
"""What is installed in an image, as JSON."""

BUILDER_LABEL = "org.drystone.builder"
"""The machine and the process that build."""

BUILD_LABEL = "org.drystone.build"
"""The tag that a container builds, and for whom."""

VENV = "/opt/drystone"

SHOWN = 25
"""Lines of a failed build that its error shows."""

REASONS = {
    20: "its base image has no apt-get for system_packages. Use a Debian base image, or a dockerfile",
    21: "a system package could not be installed. system_packages takes the names that Debian has for them",
    30: "its base image has no {python}. Set base_image to one with Python, such as 'python:3.11-slim', or python to "
    "where it is",
    31: "its Python is too old: Drystone needs 3.11 or newer. Set base_image or python",
    32: "uv, which installs packages, could not be installed: the base image needs pip or venv or uv, and the index, "
    "which PIP_INDEX_URL or index_url name, has to be reached from a container",
    33: "no virtual environment can be made with its Python",
    40: "its packages could not be installed. Versions are those that the driver has, where requirements allow them: "
    "name another version in requirements to have that one",
    41: "what is installed in it could not be read",
}
"""What the exit codes of `build.sh` mean."""


def show(line: str) -> None:
    """A line of a build's output, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@attrs.frozen
class Build:
    """A container that makes an image of a recipe."""

    engine: Engine
    recipe: Recipe
    base: dict[str, Any]
    access: Access

    def run(self, name: str) -> str:
        """Build it and call it so; its id.

        Raises:
            ImageBuildError: Says which part failed, and shows the last lines. Nothing is left of it.
            EngineError: The engine refuses.
        """
        owner = f"{socket.gethostname()}/{name}"
        files, translating = _archive(self._files()), translated(self.engine.address, f"build the image {name}")
        with translating, _started_at_all():
            _remove(self.engine, f"{BUILD_LABEL}={owner}")
            sweep(self.engine)
            return self._built(owner, name, files)

    def _built(self, owner: str, name: str, files: bytes) -> str:
        with self._container(owner) as container:
            self.engine.api.put_archive(container, BUILD, files)
            output = self._output(container)
            self._check(self.engine.api.wait(container)["StatusCode"], output)
            return self._committed(container, name)

    @contextmanager
    def _container(self, owner: str) -> Iterator[str]:
        api = self.engine.api
        mounts = [
            {"Type": "volume", "Target": BUILD},
            {"Type": "volume", "Target": "/drystone-cache", "Source": CACHE_VOLUME},
        ]
        host = api.create_host_config(network_mode="host" if self.access.is_loopback else "default", mounts=mounts)
        container = api.create_container(
            self.base["Id"],
            ["/bin/sh", f"{BUILD}/build.sh"],
            entrypoint=[],
            user="0:0",
            working_dir="/",
            host_config=host,
            labels={BUILD_LABEL: owner, BUILDER_LABEL: f"{socket.gethostname()}:{os.getpid()}"},
            platform=self.recipe.image.platform,
        )["Id"]
        try:
            yield container
        finally:
            with suppress(Exception):
                api.remove_container(container, v=True, force=True)

    def _files(self) -> Iterator[tuple[str, bytes]]:
        here = Path(__file__)
        yield "build.sh", here.with_name("build.sh").read_bytes()
        yield "inventories.py", here.with_name("inventories.py").read_bytes()
        yield "settings.sh", (self.access.script() + "".join(self._settings())).encode()
        yield "packages.txt", "\n".join(self.recipe.image.system_packages or ()).encode()
        lines = [*self.recipe.indexes, *self.recipe.lines]
        yield "requirements.txt", "".join(f"{expanded(line)}\n" for line in lines).encode()
        yield "constraints.txt", "".join(f"{line}\n" for line in self.recipe.constraints).encode()
        yield "certificates.pem", self.access.certificates
        for local in self.recipe.locals:
            yield from local.files()

    def _settings(self) -> Iterator[str]:
        yield f"export DRYSTONE_PYTHON={shlex.quote(self.recipe.image.python or 'python3')}\n"
        for each in self.recipe.locals:
            if each.version:  # what hatch-vcs and setuptools-scm would ask Git for
                name = each.name.upper().replace("-", "_")
                yield f"export SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{name}={each.version}\n"

    def _output(self, container: str) -> list[str]:
        """Start it, show what it prints as it does, and return the last lines."""
        self.engine.api.start(container)
        kept: deque[str] = deque(maxlen=SHOWN)
        stream = self.engine.api.logs(container, stream=True, follow=True)
        try:
            for line in map(self.access.hidden, lines_of(stream)):
                kept.append(line)
                show(line)
        except BaseException:  # as of Ctrl-C
            with suppress(Exception):
                self.engine.api.kill(container)
                deque(stream, maxlen=0)  # to its end, which gives the connection back
            raise
        return [*kept]

    def _check(self, code: int, output: list[str]) -> None:
        if code:
            reason = REASONS.get(code, f"its build ended with exit code {code}")
            raise failed(reason.format(python=self.recipe.image.python or "python3"), output)

    def _committed(self, container: str, name: str) -> str:
        repository, _, tag = name.rpartition(":")
        named = {"container": container, "repo": repository, "tag": tag}
        api, configuration = self.engine.api, self._configuration(self._inventory(container))
        # As `api.commit` does, which has no patience with an image of some gigabytes.
        answer = api._post_json(api._url("/commit"), data=configuration, params=named, timeout=None)
        return str(api._result(answer, json=True)["Id"])

    def _inventory(self, container: str) -> str:
        stream, _ = self.engine.api.get_archive(container, f"{BUILD}/environment.json")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            content = archive.extractfile("environment.json")
            return content.read().decode() if content else ""

    def _configuration(self, inventory: str) -> dict[str, Any]:
        """The configuration of the base image, with the environment in front; else the container's would be taken."""
        said = self.base["Config"] or {}
        variables = dict(each.split("=", 1) for each in said.get("Env") or () if "=" in each)
        plain = self.recipe.image.environment or {}
        variables |= {name: text for name, text in plain.items() if isinstance(text, str)}
        path = variables.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables |= {"PATH": f"{VENV}/bin:{path}", "VIRTUAL_ENV": VENV}
        return {
            "Env": [f"{name}={text}" for name, text in variables.items()],
            "Cmd": said.get("Cmd") or ["python3"],
            "Entrypoint": said.get("Entrypoint") or [],
            "User": said.get("User") or "0",
            "WorkingDir": said.get("WorkingDir") or "/",
            "Labels": {ENVIRONMENT_LABEL: inventory, BUILD_LABEL: "", BUILDER_LABEL: ""},
        }


def failed(reason: str, output: Iterable[str]) -> ImageBuildError:
    """What went wrong, and the last that the build said."""
    text = "\n".join(f"  {line}" for line in output)
    lower = text.lower()
    if "no space left on device" in lower:
        reason = "the engine's disk is full. `docker system df` tells what takes it, `docker image prune` frees some"
    elif "exec format error" in lower:
        reason = (
            "its base image is made for another processor than the engine's. Set platform, or base_image to one that "
            "is made for it"
        )
    shown = f" The last it said:\n{text}" if text else ""
    return ImageBuildError(f"The image could not be built: {reason}.{shown}")


@contextmanager
def _started_at_all() -> Iterator[None]:
    """Say of a base image that the engine cannot start that the image cannot be built.

    Raises:
        ImageBuildError: It has no shell, or is for another processor, or the engine's disk is full.
    """
    from docker.errors import APIError  # noqa: PLC0415 - when an engine is used, and never before

    try:
        yield
    except APIError as exc:
        said = str(exc.explanation or exc)
        if any(each in said.lower() for each in ("no space left", "exec format error", "/bin/sh")):
            raise failed("the container engine cannot run /bin/sh of its base image", [said]) from exc
        raise


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines as soon as they are whole."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        yield from (line.decode(errors="replace").rpartition("\r")[2] for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def _archive(files: Iterable[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _remove(engine: Engine, label: str) -> None:
    """Remove what a driver that was killed has left of this build."""
    for each in engine.api.containers(all=True, filters={"label": label}):
        with suppress(Exception):
            engine.api.remove_container(each["Id"], v=True, force=True)


def sweep(engine: Engine) -> None:
    """Remove what other drivers of this machine that were killed have left: the credentials of indexes are in it."""
    for each in engine.api.containers(all=True, filters={"label": BUILDER_LABEL}):
        host, _, process = each["Labels"][BUILDER_LABEL].rpartition(":")
        if host == socket.gethostname() and not _is_alive(int(process)):
            with suppress(Exception):
                engine.api.remove_container(each["Id"], v=True, force=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
