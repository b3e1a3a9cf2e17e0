"""Which files of a directory are a project's: what Git would take, without what belongs to one machine alone.

Git itself is asked where it can be; where it is missing, or does not hold the directory, its rules are read here.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import translate
from pathlib import Path

import attrs

from drystone.errors import PlanError

OWN_RULES = ".drystoneignore"
"""A file in the root with rules as in `.gitignore`: what they leave out stays here even if Git tracks it, and what they
take back with `!` comes along even if `.gitignore` leaves it out."""

NEVER = (
    *(".env*", ".git", ".hg", ".svn", ".drystone"),
    *("__pycache__", "*.pyc", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"),
    *(".tox", ".nox", "node_modules"),
)
"""Names, of files or directories, that never belong to it, whatever rules or Git say; nor do virtual environments."""

_NEVER = re.compile("|".join(map(translate, NEVER)))

MOST = 50_000
"""So many files can belong to a project. Of more, as below a home directory, only the first are looked at."""

FROM_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
"""Variables that Git sets for its hooks: they speak of one repository, and others are listed here too."""

Ignored = Callable[[str, bool], bool]
"""Whether a path, relative and with `/`, is left out; the other argument says whether it is a directory."""


@attrs.frozen
class Rule:
    """One line of a `.gitignore`."""

    pattern: re.Pattern[str]
    takes_back: bool
    directories_only: bool


@attrs.frozen
class Rules:
    """The lines of a `.gitignore`, for paths relative to where it lies."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def read(cls, file: Path) -> Rules:
        """The rules of a file; none if it is not there."""
        if not file.is_file():
            return cls()
        return cls.parse(os.fsdecode(file.read_bytes()))

    @classmethod
    def parse(cls, text: str) -> Rules:
        """The rules of a text, which says what `gitignore(5)` says."""
        lines = (
            _without_spaces(line.removesuffix("\r")) for line in _bytewise(text.removeprefix("\ufeff")).split("\n")
        )
        return cls(tuple(_rule(line) for line in lines if line.strip("/!") and not line.startswith("#")))

    def verdict(self, path: str, is_directory: bool) -> bool | None:
        """Whether they leave a path out (True), take it back (False) or say nothing; the last that fits counts."""
        text = _bytewise(path)
        for rule in reversed(self.rules):
            if (is_directory or not rule.directories_only) and rule.pattern.fullmatch(text):
                return not rule.takes_back
        return None

    def verdict_below(self, path: str) -> bool | None:
        """The same for a file, which goes out with any directory above it, and back with the nearest."""
        parts = path.split("/")
        above = [self.verdict("/".join(parts[:end]), True) for end in range(1, len(parts))]
        if True in above:
            return True
        return next((each for each in (self.verdict(path, False), *reversed(above)) if each is not None), None)


def _bytewise(text: str) -> str:
    """A text with a character for each of its bytes, which is what Git compares."""
    return text if text.isascii() else os.fsencode(text).decode("latin-1")


def _without_spaces(line: str) -> str:
    """A line without the blanks at its end, but for one behind a backslash."""
    bare = line.rstrip(" ")
    escaped = (len(bare) - len(bare.rstrip("\\"))) % 2
    return line[: len(bare) + 1] if escaped and len(bare) < len(line) else bare


def _rule(line: str) -> Rule:
    text = line.removeprefix("!")
    bare = text.removesuffix("/")
    floating = "" if "/" in bare else "(?:.*/)?"
    try:
        pattern = re.compile(floating + _expression(bare.removeprefix("/")), re.DOTALL | re.ASCII)
    except re.error:  # such as a range from z to a
        pattern = re.compile("(?!)")
    return Rule(pattern, takes_back=line.startswith("!"), directories_only=text.endswith("/"))


TOKENS = re.compile(
    r"""(?P<deep>  (?:^|(?<=/)) \*{2,} / )          # any number of directories, also none
      | (?P<all>   (?:^|(?<=/)) \*{2,} $ )          # everything below
      | (?P<many>  \*+ )
      | (?P<one>   \? )
      | (?P<set>   \[ [!^]? (?:\]|\\.|\[:[a-z]+:\]|[^]\\]) (?:\\.|\[:[a-z]+:\]|[^]\\])* \] )
      | (?P<wrong> \[ | \\$ )                       # Git takes it for a pattern that nothing fits
      | (?P<plain> \\?. )""",
    re.VERBOSE | re.DOTALL,
)
EXPRESSIONS = {"deep": "(?:.+/)?", "all": ".+", "many": "[^/]*", "one": "[^/]", "wrong": "(?!)"}
MEMBERS = re.compile(r"\[:(?P<named>[a-z]+):\]|(?P<first>\\.|.)-(?P<last>\\.|[^\\])|(?P<single>\\?.)", re.DOTALL)
NAMED = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def _expression(pattern: str) -> str:
    return "".join(_translated(token) for token in TOKENS.finditer(pattern))


def _translated(token: re.Match[str]) -> str:
    text = token[0]
    if token.lastgroup == "plain":
        return re.escape(text[-1])
    if token.lastgroup != "set":
        return EXPRESSIONS[str(token.lastgroup)]
    inverse = text[1] in "!^"
    members = "".join(_member(each) for each in MEMBERS.finditer(text[1 + inverse : -1]))
    return f"(?!/)[{'^' if inverse else ''}{members}]"


def _member(found: re.Match[str]) -> str:
    if found["named"]:
        return NAMED.get(found["named"], "")
    if found["single"]:
        return re.escape(found["single"][-1])
    return f"{re.escape(found['first'][-1])}-{re.escape(found['last'][-1])}"


def never(name: str) -> bool:
    """Whether a file or directory of this name never belongs to a project."""
    return _NEVER.match(name) is not None


def belonging(root: Path) -> list[str]:
    """The files of a directory that belong to a project, as sorted relative paths with `/`.

    Those are the files that Git tracks or would offer to track, by all its rules; without Git, by every `.gitignore` of
    the directory and of the repository above it. `.drystoneignore` is heard after them, `NEVER` and virtual
    environments are left out in any case. Links are listed and not followed.

    Raises:
        PlanError: A directory cannot be read, or there are more than `MOST` files.
    """
    rules, excluded = Rules.read(root / OWN_RULES), _excluding(root)
    found = _listed(root)
    verdicts = {path: rules.verdict_below(path) for path in found} if rules.rules else {}
    files = {path for path in found if not verdicts.get(path)}
    if any(rule.takes_back for rule in rules.rules):
        files.update(path for path in _walked(root, excluded) if rules.verdict_below(path) is False)
    return sorted(path for path in files if not excluded(path, False))


def _excluding(root: Path) -> Ignored:
    """What never belongs to it, asked once for each directory."""

    @functools.cache
    def outside(directory: str) -> bool:
        folder = root / directory
        return folder.is_symlink() or (folder / "pyvenv.cfg").exists() or excluded(directory, False)

    def excluded(path: str, is_directory: bool) -> bool:
        above, _, name = path.rpartition("/")
        return never(name) or (above != "" and outside(above)) or (is_directory and outside(path))

    return excluded


def _listed(root: Path) -> set[str]:
    """What Git tracks or would track, nested repositories included, without what never belongs to it."""
    names = _asked(root)
    if names == [] and not (root / ".git").exists():
        names = None  # the repository that this lies in ignores all of it, so it is not that of this project
    excluded, ignored = _excluding(root), _by_gitignores(root)
    walked = _walked(root, lambda path, is_directory: excluded(path, is_directory) or ignored(path, is_directory))
    files: set[str] = set()
    for name in walked if names is None else names:
        nested = root / name
        if excluded(name, False):
            continue
        if nested.is_dir() and not nested.is_symlink():
            files |= {f"{name.rstrip('/')}/{each}" for each in _listed(nested)}
        else:
            files.add(name)
        if len(files) > MOST:
            raise _too_many(root, files)
    return files


def _too_many(root: Path, files: set[str]) -> PlanError:
    counts = Counter(path.split("/")[0] for path in files if "/" in path)
    where = ", ".join(f"{name}/ ({count:,})" for name, count in counts.most_common(5))
    return PlanError(
        f"More than {MOST:,} files belong to the code of the project {root}, which has to travel to where steps run; "
        f"the first that were found are in {where or 'its root'}. Name what is no code in .gitignore, or move the "
        "project into a directory of its own."
    )


def _asked(root: Path) -> list[str] | None:
    """What Git lists; None if it is missing, or says that this is no repository to be read."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    environment = {name: value for name, value in os.environ.items() if name not in FROM_HOOKS}
    try:
        answer = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return [name for name in os.fsdecode(answer.stdout).split("\0") if name]


def _by_gitignores(root: Path) -> Ignored:
    """The rules of every `.gitignore` below a directory, and of those above it in the same repository."""
    read = functools.cache(lambda folder: Rules.read(Path(folder, ".gitignore")))
    top = next((each for each in (root, *root.parents) if (each / ".git").exists()), root)

    def ignored(path: Path, is_directory: bool, top: Path) -> bool:
        for folder in path.parents:
            verdict = read(str(folder)).verdict(path.relative_to(folder).as_posix(), is_directory)
            if verdict is not None or folder == top:
                return bool(verdict)
        return False

    between = [each for each in (root, *root.parents) if top in each.parents]
    if any(ignored(each, True, top) for each in between):  # then the repository is not that of this project
        top = root
    return lambda path, is_directory: ignored(root / path, is_directory, top)


def _walked(root: Path, ignored: Ignored, below: str = "") -> Iterator[str]:
    """Files and links below a directory; one that is left out is not entered."""
    try:
        entries = list(os.scandir(root / below))
    except FileNotFoundError:
        return
    except OSError as exc:
        raise PlanError(f"The directory {root / below} of the project cannot be read: {exc.strerror}.") from exc
    for entry in entries:
        path, is_directory = f"{below}{entry.name}", entry.is_dir(follow_symlinks=False)
        if not ignored(path, is_directory) and entry.name != ".git":
            yield from _walked(root, ignored, f"{path}/") if is_directory else (path,)
