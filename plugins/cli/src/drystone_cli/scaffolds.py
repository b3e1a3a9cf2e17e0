"""`drystone plugins new`: writes a package with a plugin, whose tests pass at once."""

from __future__ import annotations

import json
import keyword
import re
import shutil
from difflib import get_close_matches
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import attrs
import click

from drystone_cli import tables

OWN = "kind"
"""The directory of the templates for kinds that Drystone does not know."""

NOUNS = {"orchestrator": "Orchestrator", "artifact_store": "ArtifactStore", "materializer": "Materializer"}
"""How the classes of a kind end, for kinds with templates of their own."""

REST = {"container_registry": "ContainerRegistry", "scheduler": "Scheduler"}
"""Kinds of Drystone that have an interface and a contract, but no template."""

OFFICIAL = {"core", "local", "data", "cli", "example", "testing", "drystone"}
"""What packages of Drystone itself are called."""

TAKEN = {
    *("ABC", "Any", "Artifact", "BlobReader", "BlobWriter", "Callable", "ClassVar", "False", "Materializer", "None"),
    *("Sequence", "Stack", "StackComponent", "True"),
}
"""Names of Python and Drystone in the templates, which no class of a package can have."""

LONGEST = 24
"""Letters in a name, so that no line of a template gets too long."""


@attrs.frozen(kw_only=True)
class Scaffold:
    """A package to be written.

    Attributes:
        kind: Of its component, as the keyword of a stack.
        entry: The short name: of the entry point, and without `drystone-` of the distribution.
        description: One line.
    """

    kind: str
    entry: str
    description: str

    @property
    def distribution(self) -> str:
        """What is installed."""
        return f"drystone-{self.entry}"

    @property
    def package(self) -> str:
        """What is imported."""
        return self.distribution.replace("-", "_")

    @property
    def templates(self) -> str:
        """The directory of its templates."""
        return self.kind if self.kind in NOUNS else OWN

    @property
    def words(self) -> dict[str, str]:
        """What the templates are filled with."""
        stem, base = _title(self.entry), NOUNS.get(self.kind, _title(self.kind))
        major, minor, *_ = map(int, version("drystone-core").split(".")[:2])
        return {
            "distribution": self.distribution,
            "package": self.package,
            "entry": self.entry,
            "kind": self.kind,
            "stem": stem,
            "base": base,
            "name": stem + base,
            "snake": self.entry.replace("-", "_"),
            "description": self.description,
            "quoted": json.dumps(self.description, ensure_ascii=False),
            "versions": f">={major}.{minor},<{major + 1 if major else f'{major}.{minor + 1}'}",
        }

    @property
    def obstacle(self) -> str | None:
        """The class of it that cannot be called as it would be, if there is one."""
        made = {"materializer": self.words["stem"], OWN: self.words["base"]}.get(self.templates)
        return made if made in TAKEN else None

    def contents(self) -> dict[str, str]:
        """Every file of the package, by its path in it."""
        words, home = self.words, files("drystone_cli") / "templates"
        words["usage"] = _filled(home / self.templates / "usage.template", words).strip()
        folders = {
            "": home / "every",
            f"src/{self.package}/": home / self.templates / "src",
            "tests/": home / self.templates / "tests",
        }
        found = {
            f"{folder}{file.name.removesuffix('.template')}": _filled(file, words)
            for folder, source in folders.items()
            for file in source.iterdir()
            if file.name.endswith(".template")
        }
        return {**found, f"src/{self.package}/py.typed": ""}

    def write(self, directory: Path) -> None:
        """Write the package into a directory that must not be there yet; all of it, or nothing.

        Raises:
            FileExistsError: It is there.
        """
        contents = self.contents()
        directory.mkdir(parents=True)
        try:
            for name, text in contents.items():
                file = directory / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        except BaseException:
            shutil.rmtree(directory)
            raise


def _filled(template: Traversable, words: dict[str, str]) -> str:
    return Template(template.read_text(encoding="utf-8")).substitute(words)


def _title(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_]", name))


def _kind(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """A kind as stacks spell it; refuses what could be none."""
    kind = value.replace("-", "_")
    if kind in REST:
        raise click.BadParameter(
            f"There is no template for {kind!r}. Write {_title(kind)} after drystone.{REST[kind]}, and inherit "
            f"drystone.testing.{REST[kind]}Contract; a package around it is what `drystone plugins new` writes for "
            f"one of {', '.join(NOUNS)}."
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", kind) or keyword.iskeyword(kind) or len(kind) > LONGEST:
        raise click.BadParameter(
            f"{value!r} cannot be a kind: it is a keyword of stacks, in lower case, such as feature_store. Kinds with "
            f"templates of their own: {', '.join(NOUNS)}."
        )
    if kind not in NOUNS and (meant := get_close_matches(kind, [*NOUNS, *REST], n=1, cutoff=0.85)):
        raise click.BadParameter(
            f"{value!r} would be a kind of its own, and looks like {meant[0]!r}. Write that, or choose a name that "
            "nobody takes for it."
        )
    return kind


def _entry(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """A name as distributions are spelled, without `drystone-`; refuses what could be none, and ours."""
    entry = re.sub(r"[-_.]+", "-", value.lower()).removeprefix("drystone-")
    if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?", value) or not entry[:1].isalpha():
        raise click.BadParameter(
            f"{value!r} cannot be a name: it is letters, digits and hyphens, and begins with a letter, such as slurm; "
            "the package is then called drystone-slurm."
        )
    if entry in OFFICIAL:
        raise click.BadParameter(f"drystone-{entry} is a name of Drystone's own packages. Choose another name.")
    if len(entry) > LONGEST:
        raise click.BadParameter(f"{entry!r} has {len(entry)} letters. A name may have {LONGEST}.")
    return entry


def _line(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (not value.strip() or len(value.splitlines()) > 1):
        raise click.BadParameter("A description is one line, and not empty.")
    return value


@click.command()
@click.argument("kind", callback=_kind)
@click.argument("name", callback=_entry)
@click.option(
    "--directory", type=click.Path(path_type=Path), help="Where to write; by default the package's name, here."
)
@click.option("--description", callback=_line, help="What it is, in one line.")
@tables.json_option
def new(kind: str, name: str, directory: Path | None, description: str | None, as_json: bool) -> None:
    """Write a package with a plugin NAME, ready to be installed, whose tests pass at once.

    KIND is orchestrator, artifact_store or materializer; any other name makes a kind of its own, such as feature_store.
    """
    scaffold = Scaffold(
        kind=kind, entry=name, description=description or f"{name}: {kind.replace('_', ' ')} for Drystone."
    )
    if scaffold.obstacle:
        raise click.UsageError(f"A class would be called {scaffold.obstacle}, and that name is taken. Choose another.")
    home = directory or Path(scaffold.distribution)
    try:
        scaffold.write(home)
    except FileExistsError:
        raise click.UsageError(
            f"{home} is there already, and nothing in it was changed. Remove it, or give another --directory."
        ) from None
    record = {"directory": str(home), "distribution": scaffold.distribution, "package": scaffold.package}
    text = (
        f"{home}: the package {scaffold.distribution}, imported as {scaffold.package}.\n"
        f'Next:\n  cd {home}\n  pip install --editable ".[test]"    # in an environment of its own\n  pytest'
    )
    tables.answer(record, text, as_json=as_json)
