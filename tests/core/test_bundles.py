"""The code of a project as one archive: what is in it, that it is the same everywhere, and how it is unpacked."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone import bundles
from drystone.blobs import blob_key, store_bytes
from drystone.bundles import LIMIT, pack, ship, unpack
from drystone.errors import ArtifactError, BlobLostError, DrystoneError, PlanError
from drystone.testing import MemoryArtifactStore
from drystone_local import LocalArtifactStore
from services.elsewhere import Elsewhere


@pytest.fixture(autouse=True)
def bare_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the tests attaches nothing of its own."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", [])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return written(tmp_path / "project", {"train.py": b"1", "src/flights/steps.py": b"2"})


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(str(tmp_path / "store"))


def written(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return root


def packed(root: Path) -> bytes:
    target = io.BytesIO()
    pack(root, target)
    return target.getvalue()


def names(root: Path) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(packed(root))) as archive:
        return archive.getnames()


def contents(folder: Path) -> dict[str, bytes]:
    files = (each for each in sorted(folder.rglob("*")) if each.is_file())
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in files}


def test_what_is_unpacked_is_what_was_shipped(root: Path, store: LocalArtifactStore, tmp_path: Path) -> None:
    path = unpack(ship(root, store), store, tmp_path / "code")
    assert len(path) == 1
    assert path[0].is_relative_to(tmp_path / "code")
    assert contents(path[0]) == contents(root)


parts = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=5
)
trees = st.dictionaries(st.lists(parts.map("f{}".format), min_size=1, max_size=3).map("/".join), st.binary(max_size=50))


def as_tree(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without files that are directories of others."""
    return {name: data for name, data in files.items() if not any(each.startswith(f"{name}/") for each in files)}


@settings(max_examples=40)
@given(trees.map(as_tree))
def test_any_tree_comes_out_as_it_went_in_and_equal_trees_are_equal_archives(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = written(Path(folder, "a"), files), written(Path(folder, "b"), dict(reversed(files.items())))
        for root in (first, second):
            root.mkdir(exist_ok=True)
        for number, file in enumerate(each for each in second.rglob("*") if each.is_file()):
            os.utime(file, (number, number))
            file.chmod(0o600)
        store = MemoryArtifactStore(shelf=folder)
        digest = ship(first, store)
        assert ship(second, store) == digest
        assert contents(unpack(digest, store, Path(folder, "code"))[0]) == files


def test_an_archive_says_nothing_of_who_made_it_and_when(root: Path) -> None:
    (root / "run.sh").write_bytes(b"")
    (root / "run.sh").chmod(0o700)
    before = packed(root)
    with tarfile.open(fileobj=io.BytesIO(before)) as archive:
        members = archive.getmembers()
    assert {(each.uid, each.gid, each.uname, each.gname, each.mtime) for each in members} == {(0, 0, "", "", 0)}
    assert {each.name: oct(each.mode) for each in members if each.name.startswith("project")} == {
        "project/run.sh": "0o755",
        "project/src/flights/steps.py": "0o644",
        "project/train.py": "0o644",
    }


def test_what_may_be_executed_still_may(root: Path, store: LocalArtifactStore, tmp_path: Path) -> None:
    (root / "train.py").chmod(0o755)
    home = unpack(ship(root, store), store, tmp_path / "code")[0]
    assert os.access(home / "train.py", os.X_OK)
    assert not (home / "src/flights/steps.py").stat().st_mode & 0o111


def test_another_byte_makes_another_digest(root: Path, store: LocalArtifactStore) -> None:
    before = ship(root, store)
    (root / "train.py").write_bytes(b"3")
    assert ship(root, store) != before


def test_what_a_store_has_is_not_sent_again(root: Path, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = ship(root, elsewhere)
    monkeypatch.setattr(MemoryArtifactStore, "upload", None)  # to call it would be an error
    assert ship(root, elsewhere) == digest


def test_a_bundle_goes_through_a_store_elsewhere(root: Path, elsewhere: Elsewhere, tmp_path: Path) -> None:
    assert contents(unpack(ship(root, elsewhere), elsewhere, tmp_path / "code")[0]) == contents(root)


def test_what_is_unpacked_already_is_not_fetched_again(root: Path, elsewhere: Elsewhere, tmp_path: Path) -> None:
    digest = ship(root, elsewhere)
    first = unpack(digest, elsewhere, tmp_path / "code")
    elsewhere.delete(blob_key(digest))
    assert unpack(digest, elsewhere, tmp_path / "code") == first


def test_the_workspace_and_the_store_in_a_project_stay_where_they_are(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalArtifactStore(str(root / "kept"))
    monkeypatch.setenv("DRYSTONE_WORKSPACE", str(root / "space"))
    written(root, {"space/index.db": b"", ".drystone/x": b""})
    first = ship(root, store)
    assert ship(root, store) == first
    assert [each for each in names(root) if "space" in each or ".drystone" in each] == []


def test_a_store_around_the_project_leaves_nothing_out(root: Path, tmp_path: Path) -> None:
    store = LocalArtifactStore(str(tmp_path))
    assert contents(unpack(ship(root, store), store, tmp_path / "code")[0]) == contents(root)


# --- links and odd files ----------------------------------------------------------------------------------------------


def test_links_inside_stay_links_and_those_to_files_outside_become_files(
    root: Path, store: LocalArtifactStore, tmp_path: Path
) -> None:
    written(tmp_path, {"shared.py": b"shared", "big/data.csv": b"big", "secrets/.env": b"KEY=1"})
    (root / "src/absolute.py").symlink_to(root / "train.py")
    (root / "package").symlink_to("src/flights")
    (root / "shared.py").symlink_to("../shared.py")
    for name, target in {"big": "../big", "broken": "nowhere", "secret": "../secrets/.env", "loop": "loop"}.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe")
    home = unpack(ship(root, store), store, tmp_path / "code")[0]
    assert os.readlink(home / "src/absolute.py") == "../train.py"
    assert (home / "package/steps.py").read_bytes() == b"2"
    assert not (home / "shared.py").is_symlink()
    assert (home / "shared.py").read_bytes() == b"shared"
    assert (os.readlink(home / "broken"), (home / "broken").exists()) == ("nowhere", False)
    assert os.readlink(home / "loop") == "loop"
    assert sorted(each.name for each in home.iterdir()) == ["broken", "loop", "package", "shared.py", "src", "train.py"]


def test_files_that_vanish_meanwhile_are_left_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No file can be told to vanish between the two looks at it.
    monkeypatch.setattr(bundles, "belonging", lambda tree: ["gone.py", "train.py", "train.py/gone"])
    assert names(root) == ["bundle.json", "project/train.py"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="it takes a file that even root cannot read")
def test_every_file_that_cannot_be_read_is_named(root: Path) -> None:
    for name in ("one", "two"):
        (root / name).symlink_to("/proc/self/mem")
    with pytest.raises(PlanError) as raised:
        packed(root)
    assert str(raised.value) == (
        "2 problems:\n"
        f"  - {root}/one belongs to the code of the project and cannot be read: Input/output error.\n"
        f"  - {root}/two belongs to the code of the project and cannot be read: Input/output error."
    )


# --- size -------------------------------------------------------------------------------------------------------------


def sparse(file: Path, size: int) -> None:
    with file.open("wb") as opened:
        opened.truncate(size)


def test_too_much_is_refused_with_its_largest_files(root: Path) -> None:
    sparse(root / "src/model.bin", 31_000_000)
    sparse(root / "data.csv", 20_400_000)
    (root / "again.csv").symlink_to("data.csv")
    with pytest.raises(PlanError) as raised:
        packed(root)
    assert str(raised.value) == (
        f"The code of the project {root} has 51.4 MB, more than the 50.0 MB that travel to where steps run. Name what "
        "is no code in .gitignore, or in .drystoneignore if Git tracks it. Its largest files:\n"
        "  31.0 MB  src/model.bin\n  20.4 MB  data.csv\n  0.0 MB  src/flights/steps.py\n"
        "  0.0 MB  train.py\n  0.0 MB  again.csv"
    )
    (root / ".drystoneignore").write_text("*.csv\n")
    assert "project/src/model.bin" in names(root)


def test_ten_of_the_largest_files_are_enough(root: Path) -> None:
    for number in range(12):
        sparse(root / f"{number:02}.bin", 5_000_000 + number)
    with pytest.raises(PlanError) as raised:
        packed(root)
    assert [line.split()[-1] for line in str(raised.value).splitlines()[1:]] == [
        f"{each:02}.bin" for each in range(11, 1, -1)
    ]


def test_as_much_as_may_be_is_packed(root: Path) -> None:
    sparse(root / "data.bin", LIMIT - 2)
    assert "project/data.bin" in names(root)


# --- damage and malice ------------------------------------------------------------------------------------------------


def test_a_bundle_that_is_gone_is_lost(root: Path, tmp_path: Path) -> None:
    for store in (LocalArtifactStore(str(tmp_path / "store")), MemoryArtifactStore(shelf=str(tmp_path))):
        digest = ship(root, store)
        store.delete(blob_key(digest))
        with pytest.raises(BlobLostError, match=rf"blob {digest[:12]}…, is missing in the artifact store .* Run the"):
            unpack(digest, store, tmp_path / "code")


def test_a_damaged_bundle_is_not_unpacked_and_shipped_anew(root: Path, tmp_path: Path) -> None:
    for store in (LocalArtifactStore(str(tmp_path / "store")), MemoryArtifactStore(shelf=str(tmp_path))):
        digest = ship(root, store)
        whole = store.read_range(blob_key(digest), 0, None)
        store.write(blob_key(digest), whole[:-9] + bytes(9))
        with pytest.raises(BlobLostError, match="is damaged in"):
            unpack(digest, store, tmp_path / "code")
        assert not (tmp_path / "code").exists()
        assert ship(root, store) == digest
        assert store.read_range(blob_key(digest), 0, None) == whole


Member = tuple[str, bytes | str]
CONTENTS = ("bundle.json", b'{"format": 1, "path": ["project"]}')


def archived(*members: Member, kind: bytes = tarfile.SYMTYPE) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, value in members:
            entry = tarfile.TarInfo(name)
            if isinstance(value, str):
                entry.type, entry.linkname = kind, value
                archive.addfile(entry)
            else:
                entry.size = len(value)
                archive.addfile(entry, io.BytesIO(value))
    return target.getvalue()


HOSTILE: dict[str, bytes] = {
    "a name that climbs": archived(CONTENTS, ("../evil", b"")),
    "a name that climbs later": archived(CONTENTS, ("project/../../evil", b"")),
    "an absolute name": archived(CONTENTS, ("/tmp/drystone-evil", b"")),
    "a link that climbs": archived(CONTENTS, ("project/link", "../../evil")),
    "a link to all of it and more": archived(CONTENTS, ("project/link", "../..")),
    "an absolute link": archived(CONTENTS, ("project/link", "/etc/passwd")),
    "a link through a link": archived(CONTENTS, ("project/a", "."), ("project/b", "a/../../..")),
    "a link behind a link": archived(CONTENTS, ("project/a", "deep/er"), ("project/a/b", "../x")),
    "a file behind a link": archived(CONTENTS, ("project/a", "."), ("project/a/b", b"")),
    "a file twice": archived(CONTENTS, ("project/a", b"1"), ("project/a", b"2")),
    "a file for a directory": archived(CONTENTS, ("project/a/b", b"1"), ("project/a", b"2")),
    "a link for a file": archived(CONTENTS, ("project/a", b"1"), ("project/a", "b")),
    "a hard link": archived(CONTENTS, ("project/a", "/etc/passwd"), kind=tarfile.LNKTYPE),
    "a device": archived(CONTENTS, ("project/a", ""), kind=tarfile.CHRTYPE),
    "a path that climbs": archived(("bundle.json", b'{"path": ["../.."]}')),
    "no contents": archived(("project/a", b"")),
    "contents of another kind": archived(("bundle.json", b"[]")),
    "contents that are no JSON": archived(("bundle.json", b"{")),
    "no archive": b"nonsense",
    "nothing": b"",
    "half an archive": archived(CONTENTS, ("project/a", os.urandom(90_000)))[:50_000],
    "an archive of something else": gzip.compress(b"text"),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_bundle_is_refused_and_leaves_nothing(
    store: LocalArtifactStore, tmp_path: Path, data: bytes
) -> None:
    digest = store_bytes(store, data)
    with pytest.raises(
        ArtifactError, match=rf"The blob {digest[:12]}… is no bundle of code that can be unpacked: .+\."
    ):
        unpack(digest, store, tmp_path / "deep/code")
    assert list((tmp_path / "deep").rglob("*")) == [tmp_path / "deep/code"]
    assert not Path("/tmp/drystone-evil").exists()


@settings(max_examples=40)
@given(st.data())
def test_no_links_and_names_lead_out(data: st.DataObject) -> None:
    name = st.lists(st.sampled_from(["a", "b", "..", "."]), min_size=1, max_size=3).map("/".join)
    members = data.draw(st.lists(st.tuples(name, st.one_of(st.just(b"evil"), name)), max_size=5))
    with tempfile.TemporaryDirectory() as folder:
        store, to = MemoryArtifactStore(shelf=folder), Path(folder, "deep/er/code")
        digest = store_bytes(store, archived(CONTENTS, *members))
        try:
            home = unpack(digest, store, to)[0].parent
        except DrystoneError:
            home = to
        made = [each for each in Path(folder, "deep").rglob("*") if not each.is_relative_to(home)]
        assert {*made} <= {Path(folder, "deep/er"), to}
        real = os.path.realpath(home)  # a link to itself is harmless, and `resolve` raises at it before Python 3.13
        assert all(os.path.realpath(each).startswith(real) for each in home.rglob("*"))
        assert sorted(each.name for each in Path(folder).iterdir()) in (["deep"], [])


# --- what is imported from elsewhere ----------------------------------------------------------------------------------


def test_directories_of_pythonpath_and_those_below_the_root_stay_on_the_path(
    root: Path, store: LocalArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, {"lib/helping.py": b"x", "lib/.env": b"", "venv/lib/site-packages/numpy.py": b"", "zip": b""})
    entries = [tmp_path / "lib", root / "src", tmp_path / "venv/lib/site-packages", tmp_path / "zip", tmp_path / "none"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, entries)))
    path_here = ["", str(root), str(root / "src"), str(tmp_path / "elsewhere")]
    monkeypatch.setattr(sys, "path", path_here)  # which Python makes once, when a process starts
    path = unpack(ship(root, store), store, tmp_path / "code")
    home = path[0].parent
    assert [str(each.relative_to(home)) for each in path] == ["project", "project/src", "paths/0"]
    assert contents(path[2]) == {"helping.py": b"x"}


def distribution(folder: Path, name: str, build: str = "", **files: str) -> Path:
    """A distribution with a module of its name, and an entry point."""
    backend = build or 'requires = ["hatchling"]\nbuild-backend = "hatchling.build"'
    text = f'[build-system]\n{backend}\n[project]\nname = "{name}"\nversion = "1.2"\n'
    text += f'[project.entry-points.specimens]\n{name} = "{name}:VALUE"\n'
    written(folder, {"pyproject.toml": text.encode(), **{path: body.encode() for path, body in files.items()}})
    return folder


PROBE = """
import importlib, json, sys
from importlib.metadata import entry_points, version
print(json.dumps({
    "values": {name: importlib.import_module(name).VALUE for name in sys.argv[1:]},
    "points": sorted(each.name for each in entry_points(group="specimens") if each.load()),
    "versions": [version(name) for name in sys.argv[1:]],
}))
"""

SHIP = """
import sys
from pathlib import Path
from drystone.bundles import ship, unpack
from drystone_local import LocalArtifactStore
store = LocalArtifactStore(sys.argv[2])
print(*unpack(ship(Path(sys.argv[1]), store), store, Path(sys.argv[3])), sep="\\n")
"""


def test_editable_and_path_dependencies_can_be_imported_where_only_the_bundle_is(
    environment: Path, tmp_path: Path
) -> None:
    setuptools = 'requires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"'
    root = distribution(tmp_path / "project", "trains", **{"src/trains/__init__.py": "VALUE = 'root'"})
    linked = distribution(
        tmp_path / "linked", "linked", **{"src/linked/__init__.py": "VALUE = 'linked'", "src/.env": ""}
    )
    flat = distribution(tmp_path / "flat", "flat", setuptools, **{"flat/__init__.py": "VALUE = 'flat'", "notes": ""})
    copied = distribution(tmp_path / "copied", "copied", **{"copied/__init__.py": "VALUE = 'copied'"})
    uv = [Path(sys.executable).with_name("uv"), "--quiet", "pip", "install", "--python", environment / "python"]
    subprocess.run([*uv, "-e", root, "-e", linked, "-e", flat, copied], stdin=subprocess.DEVNULL, check=True)
    shipped = subprocess.run(
        [environment / "python", "-c", SHIP, root, tmp_path / "store", tmp_path / "code"],
        capture_output=True,
        text=True,
        check=True,
    )
    path = [Path(line) for line in shipped.stdout.splitlines()]
    home = path[0].parent
    assert [str(each.relative_to(home)) for each in path] == [
        "project",
        "project/src",
        "paths/0",
        "paths/1",
        "metadata",
    ]
    assert sorted(contents(home / "paths")) == ["0/linked/__init__.py", "1/copied/__init__.py", "1/flat/__init__.py"]
    assert not [each for each in contents(home) if "drystone" in each or str(tmp_path).encode() in contents(home)[each]]
    probed = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {[*map(str, path)]}\n{PROBE}",
            "trains",
            "linked",
            "flat",
            "copied",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(probed.stdout)
    assert answer["values"] == {"trains": "root", "linked": "linked", "flat": "flat", "copied": "copied"}
    assert answer["points"] == ["copied", "flat", "linked", "trains"]
    assert answer["versions"] == ["1.2"] * 4


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A site directory with files."""

    def make(**files: str) -> Path:
        folder = written(tmp_path / "venv/site-packages", {name: text.encode() for name, text in files.items()})
        monkeypatch.setattr(sys, "path", [str(folder)])  # an interpreter has its site directories from its start
        return folder

    return make


def test_links_of_older_tools_count_and_drystone_itself_stays_at_home(
    root: Path, tmp_path: Path, site: Callable[..., Path]
) -> None:
    written(
        tmp_path, {"old/old.py": b"", "old/old.egg-info/PKG-INFO": b"Name: old\nVersion: 3\n", "dry/drystone/x.py": b""}
    )
    site(
        **{
            "easy-install.pth": f"# a comment\nimport sys\n{tmp_path}/old\n{tmp_path}/dry\n{tmp_path}/gone\n./sub\n",
            "sub/x.py": "",
        }
    )
    sys.path.append(str(tmp_path / "old"))
    assert names(root) == [
        "bundle.json",
        "metadata/old-3.dist-info/METADATA",
        "paths/0/old.egg-info/PKG-INFO",
        "paths/0/old.py",
        "project/src/flights/steps.py",
        "project/train.py",
    ]


def test_what_was_built_at_a_path_that_is_gone_comes_from_an_index(root: Path, site: Callable[..., Path]) -> None:
    for name, direct in {
        "conda": '{"url": "file:///gone/work", "dir_info": {}}',
        "odd": "{",
        "vcs": '{"url": "git+https://x"}',
    }.items():
        site(
            **{
                f"{name}.py": "",
                f"{name}-1.dist-info/METADATA": f"Name: {name}\nVersion: 1\n",
                f"{name}-1.dist-info/direct_url.json": direct,
            }
        )
    assert names(root) == ["bundle.json", "project/src/flights/steps.py", "project/train.py"]
