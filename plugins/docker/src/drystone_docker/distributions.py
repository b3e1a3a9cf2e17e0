"""What the driver has installed: where it came from, what it leads to, and its files as they are put into an image."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs
from packaging.requirements import Requirement
from packaging.version import Version

from drystone.errors import StackError
from drystone_docker.requirements import normal

OFFICIAL = tuple(
    f"drystone-{name}" for name in ("core", "local", "data", "cli", "docker", "s3", "registry", "scheduler")
)
"""Drystone's own distributions, of which an image has those that the driver has."""

BUILD = "/drystone-build"
"""Where a build finds what it needs."""

INDEX, EDITABLE, BUILT = "index", "editable", "built"
"""Where an installed distribution came from: an index, a directory that is still used, or anything else."""

_JUNK = {"tests", "test", "docs", "build", "dist", "venv", "node_modules", "__pycache__"}
_FIXED = (1980, 1, 1, 0, 0, 0)


@attrs.frozen
class Local:
    """Files that are installed from the build's own folder: the source of a distribution, or a wheel.

    Attributes:
        name: Of the distribution, and of the folder or file.
        digest: Of the files' names and contents. It is in the path below, by which uv caches what it has built.
        path: Where the build finds it.
        files: Paths below `BUILD`, and what they are read from.
    """

    name: str
    digest: str
    path: str
    folder: Path | None = attrs.field(default=None, repr=False)
    wheel: Distribution | None = attrs.field(default=None, eq=False, repr=False)
    version: str = ""

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Paths below `BUILD`, and contents."""
        if self.wheel is not None:
            yield self.path, repacked(self.wheel)
        elif self.folder is not None and self.folder.is_file():
            yield self.path, self.folder.read_bytes()
        elif self.folder is not None:
            yield from ((f"{self.path}/{name}", file.read_bytes()) for name, file in _tree(self.folder))

    @property
    def line(self) -> str:
        """As a file of requirements has it."""
        return f"{self.name} @ file://{BUILD}/{self.path}" if self.name else f"file://{BUILD}/{self.path}"


@attrs.frozen
class Installed:
    """A distribution that the driver has."""

    name: str
    version: str
    origin: str
    folder: Path | None
    distribution: Distribution = attrs.field(eq=False, repr=False)

    @property
    def is_official(self) -> bool:
        """Whether it is Drystone's own."""
        return self.name in OFFICIAL

    @property
    def travels(self) -> bool:
        """Whether it is the team's own code, which comes with each run and is in no image."""
        return self.origin == EDITABLE and not self.is_official

    @property
    def pin(self) -> str:
        """Its version, as a requirement; builds of one version, as `2.1+cpu` and `2.1+cu121`, are not told apart."""
        return f"{self.name}=={Version(self.version).public}"

    def requires(self, extras: Iterable[str] = ()) -> list[Requirement]:
        """What it requires on the driver, with extras."""
        chosen = ["", *extras]
        return [
            each
            for each in _requires(self.distribution)
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in chosen)
        ]

    def local(self) -> Local:
        """Its files, where it did not come from an index."""
        if self.folder is None:
            return wheel_of(self)
        return source_of(self.folder, self.name, self.version)


@functools.cache
def installed(name: str) -> Installed | None:
    """What the driver has installed of this normalised name."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    said = json.loads(found.read_text("direct_url.json") or "{}")
    is_editable = bool(said.get("dir_info", {}).get("editable"))
    folder = Path(unquote(urlsplit(said["url"]).path)) if is_editable else None
    origin = EDITABLE if is_editable else BUILT if said else INDEX
    return Installed(name, found.version, origin, folder, found)


def of(requirement: Requirement) -> Installed | None:
    """What the driver has installed of what a requirement names."""
    return installed(normal(requirement.name))


def closure(requirements: Iterable[Requirement]) -> list[Installed]:
    """What the driver has installed of all that requirements lead to, by name."""
    found: dict[str, Installed] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = [*requirements]
    while pending:
        each = pending.pop()
        key = normal(each.name), frozenset(each.extras)
        here = of(each)
        if here is None or key in seen:
            continue
        seen.add(key)
        found[here.name] = here
        pending += here.requires(each.extras)
    return [found[name] for name in sorted(found)]


@functools.cache
def _requires(found: Distribution) -> tuple[Requirement, ...]:
    return tuple(map(Requirement, found.requires or ()))


def source_of(folder: Path, name: str = "", version: str = "") -> Local:
    """A directory, or an archive, that an image's build makes a wheel of.

    Raises:
        StackError: Nothing can be built from it.
    """
    if folder.is_file():
        digest = hashlib.sha256(folder.read_bytes()).hexdigest()[:20]
        return Local(name, digest, f"wheels/{digest}/{folder.name}", folder)
    if not any((folder / each).is_file() for each in ("pyproject.toml", "setup.py")):
        raise StackError(f"{name or folder} is installed from {folder}, and there is no pyproject.toml any more.")
    whole = hashlib.sha256()
    for path, file in _tree(folder):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        whole.update(f"{path}\0{content}\n".encode())
    digest = whole.hexdigest()[:20]
    return Local(name, digest, f"sources/{digest}/{name or folder.name}", folder, version=version)


def _tree(folder: Path) -> list[tuple[str, Path]]:
    """The files of a source tree, in order, without what is made from them and what tests them."""

    def walk(here: Path) -> Iterator[Path]:
        for each in here.iterdir():
            if each.name.startswith(".") or each.name in _JUNK or each.name.endswith((".egg-info", ".pyc")):
                continue
            if each.is_file():
                yield each
            elif each.is_dir() and not (each / "pyvenv.cfg").exists():
                yield from walk(each)

    return sorted((file.relative_to(folder).as_posix(), file) for file in walk(folder))


def wheel_of(each: Installed) -> Local:
    """The files of an installed distribution as a wheel.

    Raises:
        StackError: It was not installed from a wheel.
    """
    record, wheel = each.distribution.read_text("RECORD"), each.distribution.read_text("WHEEL")
    if record is None or wheel is None:
        raise StackError(
            f"{each.name} {each.version} came from no index, and cannot be copied into an image, as its installer left "
            f"no list of its files. Install it anew: pip install --force-reinstall --no-deps {each.name}."
        )
    digest = hashlib.sha256(record.encode()).hexdigest()[:20]
    tags = [line.partition(":")[2].strip().split("-") for line in wheel.splitlines() if line.startswith("Tag:")]
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    file = f"{each.name.replace('-', '_')}-{each.version}-{tag}.whl"
    return Local(each.name, digest, f"wheels/{digest}/{file}", wheel=each.distribution, version=each.version)


def repacked(found: Distribution) -> bytes:
    """The wheel that a distribution was installed from, made of what it installed."""
    stem = f"{normal(found.name).replace('-', '_')}-{found.version}"
    members = dict(_members(found, stem))
    record = "".join(f"{name},{_digest(content)},{len(content)}\n" for name, content in members.items())
    members[f"{stem}.dist-info/RECORD"] = f"{record}{stem}.dist-info/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _FIXED), content)
    return packed.getvalue()


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _members(found: Distribution, stem: str) -> Iterator[tuple[str, bytes]]:
    scripts = {each.name for each in found.entry_points if each.group in ("console_scripts", "gui_scripts")}
    for file in sorted(found.files or (), key=str):
        folder, *_ = file.parts
        if "__pycache__" in file.parts or file.suffix == ".pyc":
            continue
        if folder.endswith(".dist-info"):
            if file.name not in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
                yield f"{stem}.dist-info/{'/'.join(file.parts[1:])}", Path(file.locate()).read_bytes()
        elif folder != "..":
            yield file.as_posix(), Path(file.locate()).read_bytes()
        elif file.parent.name == "bin" and file.name not in scripts:
            yield f"{stem}.data/scripts/{file.name}", Path(file.locate()).read_bytes()
