"""The code a step reaches, and the key its results are stored under."""

from __future__ import annotations

import collections
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from drystone.closures import Node, Reach
from drystone.digests import digest_bytes, digest_value, fields_of, frame
from drystone.errors import EncodingError
from drystone.functions import Declared
from drystone.orchestrators import Environment
from drystone.origins import normal_name

MISSING = "not installed"
"""Stands for the version of what is not there."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@attrs.frozen
class Member:
    """One function, class, constant or file that a step's result depends on.

    Attributes:
        name: Canonical, as in `library.Scaler.fit`.
        digest: Of what it is and of the names of what it reaches.
        source: Its text, to compare with another; of a value, how it is shown, shortened.
    """

    name: str
    digest: str
    source: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Closure:
    """Everything in code that a step's result depends on.

    Attributes:
        digest: Over members, packages and Python; None if there are problems or edits.
        members: By name.
        packages: Version of each installed distribution that is used.
        python: The minor version.
        problems: Why there can be no key, each with the way out.
        edited: Names whose file was edited since it was loaded.
        ignored: Names that are left out on purpose, with everything below them.
        absent: Packages that it imports when it runs and that are not installed here.
    """

    digest: str | None
    members: Mapping[str, Member] = attrs.field(repr=False)
    packages: Mapping[str, str]
    python: str
    problems: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @functools.cached_property
    def code(self) -> str:
        """Digest of the code alone, wherever it runs."""
        return digest_value((sorted((member.name, member.digest) for member in self.members.values()), self.ignored))

    def within(self, environment: Environment) -> Closure:
        """The same code in another environment. What is not installed there has no version."""
        there = environment.packages
        packages = {name: there.get(normal_name(name), MISSING) for name in self.packages}
        packages.update(self._only(there))
        python = environment.python or self.python
        digest = None if self.digest is None else digest_value((self.code, packages, python))
        same = (packages, python) == (self.packages, self.python)
        return self if same else attrs.evolve(self, digest=digest, packages=packages, python=python)

    def _only(self, there: Mapping[str, str]) -> Mapping[str, str]:
        """What another environment alone has: distributions by the names of packages, or all, as any may be meant."""
        named = {name: there[normal_name(name)] for name in self.absent if normal_name(name) in there}
        return named if len(named) == len(self.absent) else there

    @property
    def missing(self) -> list[str]:
        """The distributions that it uses and that are not installed where it runs."""
        return [name for name, version in self.packages.items() if version == MISSING]

    def recorded(self) -> dict[str, Any]:
        """What the ledger keeps of it, and what compares it with another."""
        members = {name: member.digest for name, member in self.members.items()}
        return {"members": members, "python": self.python, "packages": self.packages}

    def text(self, digest: str) -> str | None:
        """The text of the member with this digest."""
        return next((member.source for member in self.members.values() if member.digest == digest), None)


class Fingerprints:
    """Takes the closures of one plan: files are read once, so that all steps are seen at the same moment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._reach = Reach()
        self._closures: dict[tuple[Any, ...], tuple[Declared[Any, Any], Closure]] = {}

    def changed(self) -> list[str]:
        """The files that were edited since they were read for this plan."""
        return self._reach.sources.changed()

    def closure(self, definition: Declared[Any, Any], classes: Iterable[type] = ()) -> Closure:
        """The closure of a step, its `depends_on` and `ignore` and the classes of its arguments included."""
        key = (id(definition.fn), id(definition.options.depends_on), id(definition.options.ignore), *classes)
        if key not in self._closures:
            self._closures[key] = definition, self._closure(definition, classes)
        return self._closures[key][1]

    def _closure(self, definition: Declared[Any, Any], classes: Iterable[type]) -> Closure:
        depends_on, ignore = definition.options.depends_on, definition.options.ignore
        roots = [self._reach.step(definition.fn)]
        place = f"{roots[0].name}.depends_on"
        roots += [self._reach.node(each, place) for each in (*depends_on, *classes) if not isinstance(each, str)]
        files = {pattern: list(self._files(pattern)) for pattern in depends_on if isinstance(pattern, str)}
        objects = [each for each in ignore if not isinstance(each, str)]
        names = [self._reach.node(each, f"a {type(each).__qualname__}").name for each in objects]
        ignored = sorted({*names, *(each for each in ignore if isinstance(each, str))})
        nodes = list(self._reached(roots, ignored, {id(each) for each in objects}))
        members = _members(nodes) | {member.name: member for found in files.values() for member in found}
        packages = dict(sorted({node.package for node in nodes if node.package is not None}))
        edited = tuple(sorted({node.name for node in nodes if node.edited}))
        problems = [
            *self._misdeclared(definition, files),
            *(node.problem for node in nodes if node.problem is not None),
        ]
        closure = Closure(
            digest=None,
            members=members,
            packages=packages,
            python=PYTHON,
            problems=tuple(problems),
            edited=edited,
            ignored=tuple(ignored),
            absent=tuple(sorted({node.name.partition(".")[0] for node in nodes if node.absent})),
        )
        known = not problems and not edited
        return attrs.evolve(closure, digest=digest_value((closure.code, packages, PYTHON))) if known else closure

    def _misdeclared(self, definition: Declared[Any, Any], files: Mapping[str, list[Member]]) -> Iterator[str]:
        for pattern in (pattern for pattern, found in files.items() if not found):
            yield (
                f"Step {definition.name!r} depends on {pattern!r}, but no file matches that below {self.root}. "
                "Patterns are relative to the project root."
            )
        for value in (value for value in definition.options.ignore if isinstance(value, _VALUES)):
            yield (
                f"Step {definition.name!r} ignores {value!r}, which says nothing of where it stands. Name the constant "
                'instead: ignore="module.NAME".'
            )

    def _files(self, pattern: str) -> Iterator[Member]:
        anchor = Path(pattern).anchor
        for path in sorted(Path(anchor or self.root).glob(pattern.removeprefix(anchor))):
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    name = file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else str(file)
                    yield Member(name, digest_bytes(file.read_bytes()))

    def _reached(self, roots: list[Node], ignored: Iterable[str], hidden: set[int]) -> Iterator[Node]:
        """Every node within reach once, in an order that depends on nothing but the code; an ignored one hides more.

        Args:
            roots: Where to begin.
            ignored: Names, with everything below them.
            hidden: The `id` of values that may have no name of their own.
        """
        above = tuple(f"{name}." for name in ignored)
        seen: set[int] = set()
        pending = list(reversed(roots))
        while pending:
            node = pending.pop()
            if id(node) not in seen and id(node.value) not in hidden and not f"{node.name}.".startswith(above):
                seen.add(id(node))
                yield node
                pending.extend(target for _, target in reversed(self._reach.edges(node)))


_VALUES = (bool, int, float, bytes, tuple, type(None))
"""What one object may stand for in many places."""


def _members(nodes: list[Node]) -> dict[str, Member]:
    names: dict[int, str] = {}
    taken = collections.Counter[str]()
    for node in nodes:
        taken[node.name] += 1
        names[id(node)] = node.name if taken[node.name] == 1 else f"{node.name}#{taken[node.name]}"
    members = {}
    for node in (node for node in nodes if node.member):
        edges = sorted({(label, names.get(id(target), "ignored")) for label, target in node.edges})
        digest = digest_bytes(frame(b"member", node.content, repr(edges).encode()))
        members[names[id(node)]] = Member(names[id(node)], digest, node.source)
    return members


def step_key(
    closure: Closure,
    parameter_digests: Mapping[str, str],
    input_digests: Mapping[str, str],
    outputs: Any,
    salt: str = "",
    ignore_inputs: Iterable[str] = (),
) -> str:
    """The key under which the results of a step are stored.

    Args:
        closure: Of the step's code.
        parameter_digests: Digest of each parameter's value.
        input_digests: Digest of each artifact's content, by parameter.
        outputs: Names of the outputs with materializers and their versions: anything `digests.encode` takes.
        salt: The step's `cache_salt`.
        ignore_inputs: Parameters that do not count.

    Raises:
        EncodingError: The closure has no digest, so there is no key.
    """
    if closure.digest is None:
        raise EncodingError(
            "There is no key for code that cannot be read: "
            + "; ".join([*closure.problems, *(f"{name} was edited since it was loaded" for name in closure.edited)])
        )
    ignored = sorted(set(ignore_inputs))
    parameters = {name: digest for name, digest in parameter_digests.items() if name not in ignored}
    inputs = {name: digest for name, digest in input_digests.items() if name not in ignored}
    return digest_value(("step", closure.digest, parameters, inputs, outputs, salt, ignored))


def classes_of(value: Any) -> Iterator[type]:
    """The classes behind a plain argument and everything in it, built-in ones left out: their methods may be called."""
    kind = type(value)
    if kind.__module__ != "builtins":
        yield kind
    inside: Iterable[Any] = [getattr(value, name, None) for name, counts in (fields_of(kind) or {}).items() if counts]
    if isinstance(value, dict):
        inside = (*value.keys(), *value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        inside = value
    for item in inside:
        yield from classes_of(item)
