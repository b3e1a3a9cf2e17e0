"""What a run computed and what came from the cache, as assertions that say why."""

from __future__ import annotations

from collections.abc import Iterator

from drystone.errors import NotFoundError, suggestion
from drystone.runs import CACHED, FAILED, SUCCEEDED, Run, StepRun
from drystone.workspaces import Workspace


def ran(run: Run) -> set[str]:
    """The steps that were run, whether they succeeded or failed; of a map, where an element was."""
    return {name for name, step in run.steps.items() if _ran(step)}


def cached(run: Run) -> set[str]:
    """The steps whose stored results were used; of a map, where that is so of every element."""
    return {name for name, step in run.steps.items() if step.status == CACHED}


def assert_ran(run: Run, *steps: str) -> None:
    """These steps were run, none of them came from the cache; elements of maps are named `sq[0]`."""
    __tracebackhide__ = True
    _compare(run, "to run", [name for name in steps if not _ran(_step(run, name))])


def assert_cached(run: Run, *steps: str) -> None:
    """The stored results of these steps were used; elements of maps are named `sq[0]`."""
    __tracebackhide__ = True
    _compare(run, "to be cached", [name for name in steps if _step(run, name).status != CACHED])


def assert_only_ran(run: Run, *steps: str) -> None:
    """These steps were run, and no others; without names: nothing was."""
    __tracebackhide__ = True
    assert_ran(run, *steps)
    _compare(run, "not to run", sorted(ran(run) - _nodes(steps)))


def assert_only_cached(run: Run, *steps: str) -> None:
    """The stored results of these steps were used, and of no others; without names: of none."""
    __tracebackhide__ = True
    assert_cached(run, *steps)
    _compare(run, "not to be cached", sorted(cached(run) - _nodes(steps)))


def workspace_of(run: Run) -> Workspace | None:
    """The workspace that handed out a record; None if that was another process."""
    sources = (step._source for step in run.steps.values())
    return next((source for source in sources if isinstance(source, Workspace)), None)


def _nodes(steps: tuple[str, ...]) -> set[str]:
    """The steps of a graph that are named, be it by an element."""
    return {name.partition("[")[0] for name in steps}


def _ran(step: StepRun) -> bool:
    if step.counts:
        return any(step.counts.get(status) for status in (SUCCEEDED, FAILED))
    return step.attempts > 0 and step.status != CACHED


def _step(run: Run, name: str) -> StepRun:
    if name in run.steps:
        return run.steps[name]
    mapped = run.steps.get(name.partition("[")[0])
    elements = {each.name: each for each in mapped.elements} if mapped is not None else {}
    if name not in elements:
        hint = suggestion(name, elements or run.steps, "Its elements" if elements else "Its steps")
        raise NotFoundError(f"Run {run.name} has no step {name!r}.{hint}")
    return elements[name]


def _compare(run: Run, expected: str, wrong: list[str]) -> None:
    __tracebackhide__ = True
    if wrong:
        told = "\n".join(_told(run))
        raise AssertionError(f"{', '.join(wrong)} of {run.name} {'was' if len(wrong) == 1 else 'were'} expected "
                             f"{expected}.\n{told}")  # fmt: skip


def _told(run: Run) -> Iterator[str]:
    """Every step with its status and the reasons."""
    workspace = workspace_of(run)
    if workspace is not None:
        yield str(workspace.why(run))
    else:
        yield from (f"  {name}  {step.outcome} {step.reason}".rstrip() for name, step in run.steps.items())
