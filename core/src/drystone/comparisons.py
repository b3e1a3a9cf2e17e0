"""Comparisons: what the code of a step, or a whole run, has differently from another."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from drystone.annotations import abbreviated
from drystone.artifacts import ArtifactVersion
from drystone.contrasts import contrasts
from drystone.documents import Document
from drystone.index import Index
from drystone.pipelines import StepOptions
from drystone.records import Records
from drystone.runs import Cause, Run, StepRun, few, span

TOLD = ("cache", "cache_salt", "ignore_inputs", "retries", "timeout", "resources", "on", "uses")
"""Options of a step that are recorded with a run, to be compared with those of another."""

_DEFAULT = StepOptions()


def told(options: StepOptions) -> dict[str, str]:
    """The options among `TOLD` that are not what they are by default, as text."""
    names = [name for name in TOLD if getattr(options, name) != getattr(_DEFAULT, name)]
    return {name: abbreviated(getattr(options, name)) for name in names}


# Code

Text = Callable[[str], str | None]
"""The source that belongs to the digest of a member, if it is known."""


def recorded_text(index: Index) -> Text:
    """Sources as they are on record."""

    def text(digest: str) -> str | None:
        known = index.get("source", digest)
        return known["text"] if known else None

    return text


def code_changes(before: Document, now: Document, old: Text, new: Text) -> Iterator[Cause]:
    """What differs between two closures, each as `code.recorded` has it: members, packages, Python."""
    members = before["members"]
    for name, digest in now["members"].items():
        if name not in members:
            yield Cause("code", f"code of {name} is new", name=name)
        elif members[name] != digest:
            yield _diffed(name, old(members[name]) or "", new(digest) or "")
    for name in sorted(members.keys() - now["members"].keys()):
        yield Cause("code", f"code of {name} is no longer used", name=name)
    if before["python"] != now["python"]:
        yield Cause("python", f"Python {before['python']} → {now['python']}", name="Python")
    for name, (was, is_now) in changed(before["packages"], now["packages"]):
        yield Cause("package", f"package {name} {was or 'not used'} → {is_now or 'not used'}", name=name)


def _diffed(name: str, old: str, new: str) -> Cause:
    if old == new or not old or not new:
        return Cause("code", f"code of {name} changed", name=name)
    if "\n" not in old.strip() and "\n" not in new.strip():
        return Cause("code", f"{name} changed: {old.strip()} → {new.strip()}", name=name)
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "before", "now", lineterm="", n=1)
    return Cause("code", f"code of {name} changed", "\n".join(lines), name=name)


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Names whose values differ, in order; a value that is missing is None."""
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            yield name, (before.get(name), now.get(name))


# Runs


@attrs.frozen
class Difference:
    """One thing that two runs have differently.

    Attributes:
        kind: Of runs `pipeline`, `target`, `stack`, `setting` (of a component of the stack), `commit`,
            `model version`, `executed`, `tag`; of steps `code`, `package`, `python`, `input`, `output`, `error`; of
            both `status`, `parameter`, `option`, `metadata`, and `duration` (in seconds, if it differs by more than a
            tenth and by more than 0.1).
        name: Which parameter, option, function, package, input, output; empty if there is but one.
        before: What it is in the first run, or None: an artifact version as text, other things as they are.
        after: What it is in the second.
        steps: The steps that it belongs to; none if it is the run's own.
        diff: A unified diff, where code changed.
        same_content: Of an input or output: whether only the version differs, and the content does not.
        text: One sentence.
    """

    kind: str
    name: str = ""
    before: Any = attrs.field(default=None, kw_only=True)
    after: Any = attrs.field(default=None, kw_only=True)
    steps: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    diff: str | None = attrs.field(default=None, kw_only=True, repr=False)
    same_content: bool = attrs.field(default=False, kw_only=True)
    text: str = attrs.field(kw_only=True)

    @text.default
    def _sentence(self) -> str:
        values = [span(each) if self.kind == "duration" else _shown(each) for each in (self.before, self.after)]
        content = ", same content" if self.same_content else ""
        return f"{' '.join(filter(None, dict.fromkeys((self.kind, self.name))))} {' → '.join(values)}{content}"

    def lines(self) -> Iterator[str]:
        """The difference as text, with its diff indented below."""
        yield self.text
        yield from (f"  {line}" for line in (self.diff or "").splitlines())


def _shown(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else abbreviated(value)


@attrs.frozen(kw_only=True)
class RunDiff:
    """Everything that two runs have differently: of the runs first, then of code, then step by step."""

    before: str
    after: str
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        if not self.differences:
            return f"{self.before} and {self.after} do not differ."
        sections = defaultdict[tuple[str, ...], list[Difference]](list)
        for each in self.differences:
            sections[each.steps].append(each)
        lines = [f"{self.before} → {self.after}"]
        for steps, found in sections.items():
            lines.append(f"  {few(steps) or 'run'}")
            lines += [f"      {line}" for each in found for line in each.lines()]
        return "\n".join(lines)


def run_diff(records: Records, before: Run, after: Run) -> RunDiff:
    """What two runs have differently."""
    old, new = ({step["name"]: step for step in records.index.steps(run.name)} for run in (before, after))
    code = defaultdict[str, list[Difference]](list)
    for each in _of_code(records.index, old, new):
        code[each.steps[0] if len(each.steps) == 1 else ""].append(each)
    found = [*_of_runs(before, after), *code[""]]
    for name in dict.fromkeys([*before.steps, *after.steps]):
        found += code[name]
        found += _of_step(name, before.steps.get(name), after.steps.get(name), old.get(name, {}), new.get(name, {}))
    return RunDiff(before=before.name, after=after.name, differences=tuple(found))


_FACTS: Mapping[str, Callable[[Run], Any]] = {
    "pipeline": lambda run: run.pipeline,
    "target": lambda run: run.target,
    "stack": lambda run: run.stack,
    "status": lambda run: run.status,
    "commit": lambda run: run.code.commit and f"{run.code.commit}{' and changed files' * run.code.dirty}",
    "model version": lambda run: run.model_version and str(run.model_version),
    "executed": lambda run: run.executed,
}
_NAMED = {"parameters": "parameter", "options": "option", "tags": "tag", "metadata": "metadata"}


def _of_runs(before: Run, after: Run) -> Iterator[Difference]:
    for kind, fact in _FACTS.items():
        if fact(before) != fact(after):
            yield Difference(kind, before=fact(before), after=fact(after))
    if before.components and after.components:
        for each in contrasts(before.components, after.components):
            yield Difference("setting", each.path, before=each.before, after=each.after)
    for field, kind in _NAMED.items():
        for name, (old, new) in changed(getattr(before, field), getattr(after, field)):
            yield Difference(kind, name, before=old, after=new)
    yield from _of_time(before.seconds, after.seconds, ())


def _of_time(old: float | None, new: float | None, steps: tuple[str, ...]) -> Iterator[Difference]:
    if old is not None and new is not None and abs(new - old) > 0.1 * max(1, old, new):
        yield Difference("duration", before=round(old, 3), after=round(new, 3), steps=steps)


def _of_code(index: Index, old: Mapping[str, Document], new: Mapping[str, Document]) -> Iterator[Difference]:
    """What changed in the code of steps that both have, each change once."""
    pairs = defaultdict[tuple[str, str], list[str]](list)
    for name in new:
        before, after = old.get(name, {}).get("closure"), new[name].get("closure")
        if before and after and before != after:
            pairs[before, after].append(name)
    steps = defaultdict[Cause, list[str]](list)
    for pair, names in pairs.items():
        before, after = (index.get("code", digest) for digest in pair)
        text = recorded_text(index)
        for cause in code_changes(before, after, text, text) if before and after else ():
            steps[cause] += names
    for cause, names in steps.items():
        yield Difference(cause.kind, cause.name, text=cause.text, diff=cause.diff, steps=tuple(names))


def _of_step(
    name: str, before: StepRun | None, after: StepRun | None, old: Document, new: Document
) -> Iterator[Difference]:
    """What a step has differently in two runs, its code aside."""
    was, is_now = before and before.status, after and after.status
    if was != is_now:
        yield Difference("status", before=was, after=is_now, steps=(name,))
    if before is None or after is None:
        return
    given = [each.get("parameters", {}) | each.get("values", {}) for each in (old, new)]  # exact, where that is known
    for key, _ in changed(*given):
        shown = before.parameters.get(key), after.parameters.get(key)
        yield Difference("parameter", key, before=shown[0], after=shown[1], steps=(name,))
    for field in ("options", "metadata"):
        for key, values in changed(getattr(before, field), getattr(after, field)):
            yield Difference(_NAMED[field], key, before=values[0], after=values[1], steps=(name,))
    yield from _of_versions("input", name, before.inputs, after.inputs)
    yield from _of_versions("output", name, before.outputs, after.outputs)
    errors = _last_line(before.error), _last_line(after.error)
    if errors[0] != errors[1]:
        yield Difference("error", before=errors[0], after=errors[1], steps=(name,))
    if before.cached_from is None and after.cached_from is None:
        yield from _of_time(before.seconds, after.seconds, (name,))


def _of_versions(
    kind: str, step: str, before: Mapping[str, ArtifactVersion], after: Mapping[str, ArtifactVersion]
) -> Iterator[Difference]:
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if str(old) != str(new):
            same = old is not None and new is not None and old.digest == new.digest
            shown = [None if each is None else str(each) for each in (old, new)]
            yield Difference(kind, key, before=shown[0], after=shown[1], steps=(step,), same_content=same)


def _last_line(error: str | None) -> str | None:
    """What an error comes down to: the last line of its traceback."""
    return error.rstrip().rpartition("\n")[2] if error else None
