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
    wheel: Installed | None = attrs.field(default=None, eq=False, repr=False)
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
            for each in _said(self.distribution)[1]
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in chosen)
        ]

    def local(self) -> Local:
        """Its files, where it did not come from an index."""
        if self.travels and self.folder is not None:
            return source_of(self.folder, self.name, self.version)
        return wheel_of(self)


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
    return Installed(name, _said(found)[0], origin, folder, found)


def _said(found: Distribution) -> tuple[str, tuple[Requirement, ...]]:
    """The version and the requirements of a distribution."""
    text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    return _parsed(text.partition("\n\n")[0])  # the rest can be long, and importlib would parse it


@functools.lru_cache(maxsize=1024)
def _parsed(header: str) -> tuple[str, tuple[Requirement, ...]]:
    fields = [line.partition(": ") for line in header.splitlines()]
    version = next((text for name, _, text in fields if name == "Version"), "")
    return version.strip(), tuple(Requirement(text) for name, _, text in fields if name == "Requires-Dist")


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
    digest = _digest_of_files(_tree(folder))
    return Local(name, digest, f"sources/{digest}/{name or folder.name}", folder, version=version)


def _digest_of_files(files: Iterable[tuple[str, Path]]) -> str:
    whole = hashlib.sha256()
    for name, file in files:
        whole.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:20]


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
    wheel = each.distribution.read_text("WHEEL")
    if wheel is None or each.distribution.files is None:
        raise StackError(
            f"{each.name} {each.version} came from no index, and cannot be copied into an image, as its installer left "
            f"no list of its files. Install it anew: pip install --force-reinstall --no-deps {each.name}."
        )
    tags = [line.partition(":")[2].strip().split("-") for line in wheel.splitlines() if line.startswith("Tag:")]
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    digest = _digest_of_files((name, file) for name, file in _members(each))
    path = f"wheels/{digest}/{_stem(each)}-{tag}.whl"
    return Local(each.name, digest, path, wheel=each)


def repacked(each: Installed) -> bytes:
    """A wheel of what a distribution has installed; of an editable one, of what it leads to."""
    members = {name: file.read_bytes() for name, file in _members(each)}
    record = f"{_stem(each)}.dist-info/RECORD"
    lines = [f"{name},{_digest(content)},{len(content)}\n" for name, content in members.items()]
    members[record] = f"{''.join(lines)}{record},,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _FIXED), content)
    return packed.getvalue()


def _stem(each: Installed) -> str:
    return f"{each.name.replace('-', '_')}-{each.version}"


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _members(each: Installed) -> list[tuple[str, Path]]:
    """The files of a wheel, by their names in it."""
    found = dict(_placed(each))
    if each.folder is not None:  # our own packages lie in src, and nothing else does
        found = {name: file for name, file in found.items() if ".dist-info/" in name} | dict(_tree(each.folder / "src"))
    return sorted(found.items())


def _placed(each: Installed) -> Iterator[tuple[str, Path]]:
    scripts = {
        point.name for point in each.distribution.entry_points if point.group in ("console_scripts", "gui_scripts")
    }
    for file in each.distribution.files or ():
        folder, *rest = file.parts
        here = Path(str(file.locate()))
        if folder.endswith(".dist-info"):
            if file.name not in (
                "RECORD",
                "INSTALLER",
                "REQUESTED",
                "direct_url.json",
                "uv_build.json",
                "uv_cache.json",
            ):
                yield f"{_stem(each)}.dist-info/{'/'.join(rest)}", here
        elif folder != "..":
            if file.suffix != ".pyc":
                yield file.as_posix(), here
        elif file.parent.name == "bin" and file.name not in scripts:
            yield f"{_stem(each)}.data/scripts/{file.name}", here
