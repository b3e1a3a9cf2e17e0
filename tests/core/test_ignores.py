"""Which files belong to a project: as Git has it, with and without Git, and what never does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone.errors import PlanError
from drystone.ignores import NEVER, Rules, belonging


def git(root: Path, *arguments: str, text: str = "") -> str:
    isolated = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    done = subprocess.run(command, env={**os.environ, **isolated}, input=text, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def write(root: Path, *names: str, **texts: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(texts.get("text", name))


@pytest.fixture
def without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    git(root, "init", "-q")
    return root


PATHS = (
    *("a", "b", "a.py", "b.pyc", "ab", "a-b", "a]b", "a b", "foo", "foo.txt", "Foo", "#a", "!a", "a\\b", "\u00e9"),
    *("a/b", "a/b/c", "a/c", "b/a", "b/a/c", "foo/bar", "foo/x/bar", "foo/x/y/bar", "x/foo/bar", "x/y/a.py"),
    *("dir/sub/file.txt", "dir/sub2/file.txt", "dir/file", ".hidden/a", "a/.hidden"),
)
PATTERNS = (
    *("a", "/a", "a/", "/a/", "a/b", "*/b", "*.py", "a*", "?", "[ab]", "[!a]", "[^a]", "[a-c]", "[]a]*", "[a", "a[]]b"),
    *("**", "**/", "/**", "**/a", "a/**", "a/**/c", "foo/**/bar", "**/foo/bar", "a**", "**a", "f*o", "***"),
    *("foo/*", "foo/*/bar", "foo/**/", "*/", "*/*", "x/**/a.py", "dir/sub*/", "dir/*/file.txt", "dir/**/*.txt", ".*"),
    *(
        "#a",
        "\\#a",
        "\\!a",
        "!",
        "/",
        "",
        "a ",
        "a\\ b",
        "a b ",
        "a\\\\b",
        "a\\",
        "[[:alpha:]]",
        "[[:upper:]]*",
        "[z-a]",
    ),
    *(
        "[a-]*",
        "[a\\]]*b",
        "\u00e9",
        "[!/]",
        "a[/]b",
        "*\r",
        "[[:nothing:]]",
        "[a[:digit:]]",
        "foo/bar/",
        "/*",
        "[*]",
        "\\*",
    ),
)


def ours(patterns: list[str]) -> set[str]:
    rules = Rules.parse("\n".join(patterns))
    ignored = set()
    for path in PATHS:
        parts = path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts))]
        if any(rules.verdict(each, True) for each in above) or rules.verdict(path, False):
            ignored.add(path)
    return ignored


def gits(root: Path, patterns: list[str]) -> set[str]:
    (root / ".gitignore").write_text("\n".join(patterns), newline="")
    asked = "\0".join(PATHS)
    answer = git(root, "check-ignore", "--no-index", "--stdin", "-z", text=asked)
    return {each for each in answer.split("\0") if each}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_what_it_means_to_git(repository: Path, pattern: str) -> None:
    assert ours([pattern]) == gits(repository, [pattern])
    assert ours(["*", f"!{pattern}"]) == gits(repository, ["*", f"!{pattern}"])


# What ** means behind a letter depends, in Git, on where it has its strings in memory.
pieces = st.text(st.sampled_from("ab*?/[]!-\\. cé"), min_size=1, max_size=8)
lines = st.one_of(
    pieces.filter(lambda text: not re.search(r"[^/]\*\*", text.removeprefix("!"))),
    st.sampled_from(PATTERNS),
    st.sampled_from(PATTERNS).map("!{}".format),
)


@settings(max_examples=150)
@given(st.lists(lines, min_size=1, max_size=4))
def test_any_patterns_mean_what_they_mean_to_git(repository: Path, patterns: list[str]) -> None:
    assert ours(patterns) == gits(repository, patterns)


def make_project(root: Path) -> None:
    write(root, "train.py", "src/flights/steps.py", "data/big.csv", "data/small.csv", "src/build/x", "notes.tmp")
    write(root, ".gitignore", text="/data/*\n!/data/small.csv\n*.tmp\n")
    write(root, "src/.gitignore", text="build/\n")


WANTED = [".gitignore", "data/small.csv", "src/.gitignore", "src/flights/steps.py", "train.py"]


def test_tracked_and_new_files_belong_to_it_and_ignored_and_deleted_ones_do_not(tmp_path: Path) -> None:
    make_project(tmp_path)
    write(tmp_path, "gone.py", "kept.tmp")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "gone.py", "kept.tmp", "train.py")
    (tmp_path / "gone.py").unlink()
    assert belonging(tmp_path) == sorted([*WANTED, "gone.py", "kept.tmp"])  # packing skips what is not there


@pytest.mark.usefixtures("without_git")
def test_without_git_the_same_rules_hold(tmp_path: Path) -> None:
    make_project(tmp_path)
    assert belonging(tmp_path) == WANTED


@pytest.mark.usefixtures("without_git")
def test_without_git_the_rules_of_the_repository_above_hold(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", text="*.tmp\n/part/secret\n")
    write(tmp_path, ".git/HEAD", "part/a.py", "part/b.tmp", "part/secret/c", "part/deep/secret/d")
    assert belonging(tmp_path / "part") == ["a.py", "deep/secret/d"]


@pytest.mark.parametrize("has_git", [True, False])
def test_a_project_that_the_repository_around_it_ignores_has_all_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_git: bool
) -> None:
    write(tmp_path, ".gitignore", text="*\n")
    git(tmp_path, "init", "-q")
    write(tmp_path, "project/a.py", "project/b.log")
    write(tmp_path, "project/.gitignore", text="*.log\n")
    if not has_git:
        monkeypatch.setenv("PATH", "")
    assert belonging(tmp_path / "project") == [".gitignore", "a.py"]


@pytest.mark.parametrize("has_git", [True, False])
def test_what_belongs_to_one_machine_alone_stays_there_even_if_it_is_tracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_git: bool
) -> None:
    write(tmp_path, "a.py", "environment.py", "lib/egg-info/x")
    write(tmp_path, *(f"{each.replace('*', 'x')}" for each in NEVER if each != ".git"))
    write(tmp_path, ".env", "deep/.env.local", "deep/.envrc", "deep/__pycache__/a.py", "deep/node_modules/m/index.js")
    write(tmp_path, "myenv/pyvenv.cfg", "myenv/lib/python3.11/site-packages/x.py", "deep/.drystone/index.db")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", ".")
    if not has_git:
        monkeypatch.setenv("PATH", "")
    assert belonging(tmp_path) == ["a.py", "environment.py", "lib/egg-info/x"]


@pytest.mark.parametrize("has_git", [True, False])
def test_drystoneignore_leaves_out_what_git_tracks_and_takes_back_what_it_ignores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_git: bool
) -> None:
    write(
        tmp_path,
        "a.py",
        "data/x.csv",
        "data/y.csv",
        "src/_version.py",
        "out/1",
        "out/deep/2",
        "venv/pyvenv.cfg",
        ".env",
    )
    write(tmp_path, ".gitignore", text="_version.py\nout/\nvenv/\n")
    write(tmp_path, ".drystoneignore", text="/data/\n!_version.py\n!/out/\n!venv/\n!.env\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "data")
    if not has_git:
        monkeypatch.setenv("PATH", "")
    wanted = [".drystoneignore", ".gitignore", "a.py", "out/1", "out/deep/2", "src/_version.py"]
    assert belonging(tmp_path) == wanted


def test_submodules_and_nested_repositories_come_along_with_their_own_rules(tmp_path: Path) -> None:
    library, project = tmp_path / "library", tmp_path / "project"
    for root in (library, project, project / "nested"):
        root.mkdir()
        git(root, "init", "-q")
    write(library, "lib.py")
    git(library, "add", ".")
    git(library, "commit", "-qm", "x")
    git(project, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "vendored")
    write(project / "vendored", "new.py")
    write(project, "nested/a.py", "nested/a.log", "main.py")
    write(project, "nested/.gitignore", text="*.log\n")
    wanted = [".gitmodules", "main.py", "nested/.gitignore", "nested/a.py", "vendored/lib.py", "vendored/new.py"]
    assert belonging(project) == wanted


def test_the_hooks_of_another_repository_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.py")
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    assert belonging(tmp_path) == ["a.py"]


def test_a_broken_repository_is_read_without_git(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "b.log")
    write(tmp_path, ".gitignore", text="*.log")
    write(tmp_path, ".git/HEAD", text="nonsense")
    assert belonging(tmp_path) == [".gitignore", "a.py"]


@pytest.mark.parametrize("has_git", [True, False])
def test_links_are_listed_and_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_git: bool) -> None:
    write(tmp_path, "real/a.py")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "loop").symlink_to(".")
    git(tmp_path, "init", "-q")
    if not has_git:
        monkeypatch.setenv("PATH", "")
    assert belonging(tmp_path) == ["link", "loop", "real/a.py"]


def test_what_git_tracks_below_a_directory_that_became_a_link_is_not_looked_for_there(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(root, "data/a.csv")
    git(root, "init", "-q")
    git(root, "add", ".")
    shutil.move(root / "data", tmp_path / "data")
    (root / "data").symlink_to(tmp_path / "data")
    assert belonging(root) == ["data"]


@pytest.mark.parametrize("has_git", [True, False])
def test_names_of_any_bytes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_git: bool) -> None:
    names = [
        os.fsdecode(each) for each in (b"\xe9.py", "é.py".encode(), b"new\nline.py", b' "quoted" .py', b"-dash.py")
    ]
    write(tmp_path, *names, text="x")
    git(tmp_path, "init", "-q")
    if not has_git:
        monkeypatch.setenv("PATH", "")
    assert belonging(tmp_path) == sorted(names)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.usefixtures("without_git")
def test_a_directory_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, "closed/a.py")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(PlanError, match=r"closed of the project cannot be read: Permission denied\."):
            belonging(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.parametrize("has_git", [True, False])
def test_too_many_files_are_refused_before_all_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_git: bool
) -> None:
    monkeypatch.setattr("drystone.ignores.MOST", 10)
    if has_git:
        git(tmp_path, "init", "-q")
    write(tmp_path, "env/pyvenv.cfg", *(f"env/lib/{n}.py" for n in range(20)), *(f"src/{n}.py" for n in range(5)))
    assert len(belonging(tmp_path)) == 5
    write(tmp_path, *(f"data/{n}.csv" for n in range(20)))
    with pytest.raises(PlanError, match=r"More than 10 files .* data/ \(\d+\).* \.gitignore"):
        belonging(tmp_path)
