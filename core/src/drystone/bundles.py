"""Bundles: the code of a project as one archive, which travels through the artifact store to where steps run."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.attachments import Attachments, attachments
from drystone.blobs import BlobWriter, blob_key, set_aside
from drystone.caches import file_digest
from drystone.errors import ArtifactError, BlobLostError, PlanError
from drystone.ignores import OWN_RULES, belonging, never
from drystone.projects import workspace_directory

LIMIT = 50_000_000
"""Bytes that the files of a bundle may have together, unpacked: more than that is data, not code."""

LISTED = 10
"""How many of the largest files an error lists."""

LEVEL = 1
"""Of gzip: the default takes twice as long for a fifth less."""

PROJECT, METADATA, CONTENTS = "project", "metadata", "bundle.json"
"""What stands in a bundle: the files of the root, what is known of distributions, and what belongs on `sys.path`."""


@attrs.frozen
class _File:
    """A file on its way into a bundle, and the directory that links must not lead out of."""

    path: Path
    tree: Path

    def followed(self) -> tuple[Path, str | None]:
        """The file that it leads to, and what it says as a link if it is one and stays one."""
        if not self.path.is_symlink():
            return self.path, None
        source = Path(os.path.realpath(self.path))  # which takes a loop as it is
        return source, os.path.relpath(source, self.path.parent) if source.is_relative_to(self.tree) else None

    @property
    def size(self) -> int:
        """Its bytes, as far as they travel."""
        with suppress(OSError):
            source, link = self.followed()
            status = source.stat()
            return status.st_size if stat.S_ISREG(status.st_mode) and link is None else 0
        return 0

    def is_in(self, folder: Path) -> bool:
        """Whether it lies in a folder, and is not what a tree in that folder is made of."""
        return self.path.is_relative_to(folder) and not self.tree.is_relative_to(folder)


def ship(root: Path, store: ArtifactStore) -> str:
    """Pack the code of a project and store it as a blob, unless the store has it; returns the digest.

    Raises:
        PlanError: It is too large, or something of it cannot be read.
        ArtifactStoreError: The store refuses it or cannot be reached.
    """
    writer = BlobWriter(store)
    kept = store.local_path("blobs")
    with writer.open("bundle") as target:
        pack(root, target, without=(kept.parent,) if kept else ())
    return writer.blobs[0].digest


def pack(root: Path, target: BinaryIO | io.RawIOBase, *, without: Iterable[Path] = ()) -> None:
    """Write the code of a project as an archive; equal files give equal bytes, whoever has them and since when.

    In it are the files of the root that belong to the project (`drystone.ignores`), and what the environment imports
    that no index has (`drystone.attachments`), without Drystone itself. A link stays a link if it leads to something
    below the same directory; one that leads out becomes the file that it leads to, and is left out if that is a
    directory. Empty directories, sockets and devices are left out.

    Args:
        root: The root of the project.
        target: A file to write to.
        without: Directories that are left out beside the workspace's, such as that of an artifact store.

    Raises:
        PlanError: The files are larger than `LIMIT` together, or some cannot be read; they are listed.
    """
    root = root.resolve()
    found = attachments(root)
    files, path = _gathered(root, found)
    away = [each.resolve() for each in (workspace_directory(root), *without)]
    files = {name: file for name, file in files.items() if not any(file.is_in(each) for each in away)}
    _check_size(root, files)
    texts = {f"{METADATA}/{name}": text for name, text in found.metadata.items()}
    texts[CONTENTS] = json.dumps({"format": 1, "path": path})
    with (
        gzip.GzipFile("", "wb", LEVEL, target, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _fill(archive, files, texts)


def _gathered(root: Path, found: Attachments) -> tuple[dict[str, _File], list[str]]:
    """The files of a bundle by their names in it, and its directories that belong on `sys.path`."""
    strays = {name: place for name, place in found.modules.items() if _above(name, place, root) is None}
    above = (_above(name, place, root) for name, place in found.modules.items())
    within = [each for each in found.directories if each.is_relative_to(root)]
    within += [each for each in above if each is not None]
    beyond = [each for each in found.directories if not each.is_relative_to(root)]
    trees = {PROJECT: root, **{f"paths/{number}": each for number, each in enumerate(beyond)}}
    last = f"paths/{len(beyond)}"
    files = {name: file for prefix, tree in trees.items() for name, file in _tree(prefix, tree)}
    files.update(each for name, place in strays.items() for each in _tree(f"{last}/{name}", place))
    inner = [str(PurePosixPath(PROJECT, each.relative_to(root).as_posix())) for each in within]
    outer = [*list(trees)[1:], *([last] if strays else ()), *([METADATA] if found.metadata else ())]
    return files, list(dict.fromkeys([PROJECT, *inner, *outer]))


def _above(name: str, place: Path, root: Path) -> Path | None:
    """The directory below the root that a module of this name can be imported from, if there is one."""
    parts = PurePosixPath(name).parts
    fits = place.is_relative_to(root) and place.parts[-len(parts) :] == parts
    above = place.parents[len(parts) - 1]
    return above if fits and above.is_relative_to(root) else None


def _tree(prefix: str, tree: Path) -> Iterator[tuple[str, _File]]:
    if tree.is_file():
        yield prefix, _File(tree, tree.parent)
    else:
        yield from ((f"{prefix}/{each}", _File(tree / each, tree)) for each in belonging(tree))


def _check_size(root: Path, files: Mapping[str, _File]) -> None:
    sizes = {str(file.path): file.size for file in files.values()}
    total = sum(sizes.values())
    if total <= LIMIT:
        return
    largest = sorted(sizes, key=lambda each: (-sizes[each], each))[:LISTED]
    lines = "".join(f"\n  {_megabytes(sizes[each])}  {_shown(Path(each), root)}" for each in largest)
    raise PlanError(
        f"The code of the project {root} has {_megabytes(total)}, more than the {_megabytes(LIMIT)} that travel to "
        f"where steps run. Name what is no code in .gitignore, or in {OWN_RULES} if Git tracks it. "
        f"Its largest files:{lines}"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _fill(archive: tarfile.TarFile, files: Mapping[str, _File], texts: Mapping[str, str]) -> None:
    problems = []
    for name in sorted({*files, *texts}):
        if name in texts:
            _add(archive, tarfile.TarInfo(name), texts[name].encode(errors="surrogateescape"))
            continue
        try:
            _add_file(archive, tarfile.TarInfo(name), files[name])
        except (FileNotFoundError, NotADirectoryError):  # deleted since it was listed
            continue
        except OSError as exc:
            problems.append(
                f"{files[name].path} belongs to the code of the project and cannot be read: {exc.strerror}."
            )
    if problems:
        raise PlanError(*problems)


def _add_file(archive: tarfile.TarFile, entry: tarfile.TarInfo, file: _File) -> None:
    source, link = file.followed()
    if link is not None:
        entry.type, entry.linkname = tarfile.SYMTYPE, link
        archive.addfile(entry)
        return
    mode = source.stat().st_mode
    if stat.S_ISREG(mode) and not never(source.name):
        entry.mode = 0o755 if mode & 0o100 else 0o644
        _add(archive, entry, source.read_bytes())


def _add(archive: tarfile.TarFile, entry: tarfile.TarInfo, data: bytes) -> None:
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def unpack(digest: str, store: ArtifactStore, to: Path) -> tuple[Path, ...]:
    """Unpack a bundle; returns the directories that belong on `sys.path`, the root of the project first.

    Each bundle gets a directory of its own in `to`, which appears there whole, so that several processes may unpack the
    same one; if it is there already, nothing is read from the store.

    Args:
        digest: What `ship` returned.
        store: The artifact store that has it.
        to: A directory, which is made if it is missing. Nobody else should be able to write there.

    Raises:
        BlobLostError: The store has it no longer, or damaged; nothing was unpacked.
        ArtifactError: It is no bundle, or one that would write elsewhere.
    """
    home = to.resolve() / digest[:16]
    if not home.is_dir():
        with _fetched(digest, store) as file:
            _unpack(file, home, digest)
    return tuple(home / each for each in json.loads((home / CONTENTS).read_bytes())["path"])


@contextmanager
def _fetched(digest: str, store: ArtifactStore) -> Iterator[Path]:
    """A local file with the bundle, whose content was checked."""
    key = blob_key(digest)
    with ExitStack() as stack:
        file = store.local_path(key)
        try:
            if file is None:
                file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drystone-")), "bundle")
                store.download(key, file)
            is_whole = file_digest(file) == digest
        except FileNotFoundError:
            raise _lost(digest, "missing", store) from None
        if not is_whole:
            set_aside(store, digest)
            raise _lost(digest, "damaged", store)
        yield file


def _lost(digest: str, how: str, store: ArtifactStore) -> BlobLostError:
    return BlobLostError(
        f"The code of the project, blob {digest[:12]}…, is {how} in the artifact store {store.identity}. "
        "Run the pipeline again, or resume the run: that stores the code anew."
    )


UNFIT = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError),
    *(LookupError, TypeError, ValueError),
)
"""What becomes of an archive that `pack` did not make."""


def _unpack(file: Path, home: Path, digest: str) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=home.parent, prefix=".unpacking-"))
    try:
        with tarfile.open(file, "r:gz") as archive:
            _extract(archive, scratch)
        path = json.loads((scratch / CONTENTS).read_bytes())["path"]
        for each in path:
            (scratch / _inside(each)).mkdir(parents=True, exist_ok=True)
    except UNFIT as exc:
        raise ArtifactError(f"The blob {digest[:12]}… is no bundle of code that can be unpacked: {exc}.") from exc
    else:
        _land(scratch, home)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _land(scratch: Path, home: Path) -> None:
    try:
        scratch.chmod(0o755)
        scratch.rename(home)
    except OSError:
        if not (home / CONTENTS).is_file():  # else another process was faster
            raise


def _extract(archive: tarfile.TarFile, to: Path) -> None:
    """Write the members of an archive: files first, so that none is written through a link."""
    links: dict[str, str] = {}
    for member in archive:
        name = _inside(member.name)
        if member.issym():
            links[name] = _leading_inside(name, member.linkname)
        elif member.isreg():
            _write(archive, member, to / name)
        else:
            raise tarfile.TarError(f"{name!r} is neither a file nor a link")
    for name, target in links.items():
        if any(str(each) in links for each in PurePosixPath(name).parents):
            raise tarfile.TarError(f"{name!r} lies behind a link")
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).symlink_to(target)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None  # it is a regular file
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o777 if member.mode & 0o100 else 0o666
    with source, open(target, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
        shutil.copyfileobj(source, file)


def _inside(name: str) -> str:
    """A name, if it leads to a place below the directory it is taken from."""
    if not name or os.path.normpath(name) != name or name.startswith("/") or name.split("/")[0] in (".", ".."):
        raise tarfile.TarError(f"{name!r} leads out of it")
    return name


def _leading_inside(name: str, target: str) -> str:
    """The target of a link; it may climb at its beginning only, where no link can be in the way."""
    if os.path.normpath(target) != target or target.startswith("/"):
        raise tarfile.TarError(f"the link {name!r} to {target!r} leads out of it")
    _inside(os.path.normpath(os.path.join(os.path.dirname(name), target)))
    return target
