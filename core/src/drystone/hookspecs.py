"""Every hook that a plugin can fill.

*Offers* are plural nouns and return what a plugin brings. *Events* are a subject and what happened to it; they get a
frozen record and return nothing. A plugin is a module named by an entry point in group `drystone`; its functions marked
with `hookimpl` fill the hooks of the same names.
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from drystone.components import Stack, StackComponent
from drystone.materializers import Materializer
from drystone.runs import Run, StepRun

PROJECT = "drystone"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook it is named after."""

OFFERS = ("drystone_components", "drystone_materializers", "drystone_stacks")
EVENTS = (
    *("drystone_run_started", "drystone_run_finished"),
    *("drystone_step_started", "drystone_step_progressed", "drystone_step_finished"),
)
HOOKS = OFFERS + EVENTS


@hookspec
def drystone_components() -> Sequence[type[StackComponent]]:  # type: ignore[empty-body]
    """Offer component classes, so that they are found by kind and name.

    Called at most once per process, when components are first looked up or plugins are examined; in the driver and the
    command line, never in a worker. Import the classes inside the function if that costs time.

    Returns:
        Classes that can be instantiated. Their `kind` and `name` are what they are found by; two distributions that
        claim the same ones are an error.

    Example::

        from concurrent.futures import Executor, ThreadPoolExecutor

        import attrs

        from drystone import Orchestrator, RunContext, hookimpl

        @attrs.frozen(kw_only=True)
        class ThreadedOrchestrator(Orchestrator):
            workers: int = 4

            def executor(self, run: RunContext) -> Executor:
                return ThreadPoolExecutor(self.workers)

        @hookimpl
        def drystone_components():
            return [ThreadedOrchestrator]
    """


@hookspec
def drystone_materializers() -> Sequence[type[Materializer]]:  # type: ignore[empty-body]
    """Offer materializers, which say how values of further types are written and read.

    Called at most once per process, when the first value is stored or loaded or plugins are examined; in the driver,
    in the command line and in workers. Name types as strings where importing their library costs time.

    Returns:
        Classes. Their `types` come before what core would do with such values; two that share a `name` are an error.

    Example::

        from fractions import Fraction

        from drystone import Materializer, hookimpl

        class FractionMaterializer(Materializer):
            name = "example.fraction"
            types = ("fractions.Fraction",)

            def save(self, value, writer, artifact):
                writer.write("fraction.txt", str(value).encode())

            def load(self, reader):
                return Fraction(reader.read("fraction.txt").decode())

        @hookimpl
        def drystone_materializers():
            return [FractionMaterializer]
    """


@hookspec
def drystone_stacks() -> Sequence[Stack]:  # type: ignore[empty-body]
    """Offer whole stacks, so that a team shares them as a package.

    Called at most once per process, when stacks are first looked up or plugins are examined; in the driver and the
    command line, never in a worker. A stack of the same name in the project's own `stacks.py` goes before them.

    Returns:
        `Stack` objects. Paths in them are relative to the project that uses them.

    Example::

        from drystone import FsspecArtifactStore, Stack, hookimpl
        from drystone_local import LocalOrchestrator

        @hookimpl
        def drystone_stacks():
            store = FsspecArtifactStore(url="memory://team")
            return [Stack("team", orchestrator=LocalOrchestrator(), artifact_store=store)]
    """


@hookspec
def drystone_run_started(run: Run) -> None:
    """Hear that a run has started, from its record with status `running`.

    Called once per run, and once more when it is resumed; in the driver, after the start is committed and before the
    first step. Return nothing. What it raises is reported with the run and changes nothing.

    Example::

        from drystone import hookimpl

        @hookimpl
        def drystone_run_started(run):
            print(f"{run.name} started on {run.stack}")
    """


@hookspec
def drystone_run_finished(run: Run) -> None:
    """Hear that a run has ended, in whatever way; `status` of its record says how.

    Called once per run that ends while its driver lives, and once more when it was resumed; in the driver, after the
    end is committed. Return nothing. What it raises is reported with the run and changes nothing.

    Example::

        from drystone import hookimpl

        @hookimpl
        def drystone_run_finished(run):
            if run.status != "succeeded":
                print(f"{run.name} {run.status}: {run.error}")
    """


@hookspec
def drystone_step_started(step_run: StepRun) -> None:
    """Hear that a step has started, from its record with status `running`; `attempts` counts this one.

    Called once per attempt of a step that computes, never for a cached or skipped one; in the driver, after the start
    is committed. Return nothing. What it raises is reported with the run and changes nothing.

    Example::

        from drystone import hookimpl

        @hookimpl
        def drystone_step_started(step_run):
            print(f"{step_run.run}: {step_run.name}, attempt {step_run.attempts}")
    """


@hookspec
def drystone_step_progressed(step_run: StepRun) -> None:
    """Hear how far a map is: `counts` of its record says how many of its elements have which status.

    Called while the elements of a map run, ten times a second at most; in the driver, after what it tells is committed.
    Return nothing. What it raises is reported with the run and changes nothing.

    Example::

        from drystone import hookimpl

        @hookimpl
        def drystone_step_progressed(step_run):
            done = sum(step_run.counts.values()) - step_run.counts.get("pending", 0)
            print(f"{step_run.name}: {done} of {sum(step_run.counts.values())}")
    """


@hookspec
def drystone_step_finished(step_run: StepRun) -> None:
    """Hear that a step has ended; `status` of its record says how: succeeded, failed, cached, skipped or cancelled.

    Called once per step of a run; in the driver, after the end is committed. Return nothing. What it raises is reported
    with the run and changes nothing.

    Example::

        from drystone import hookimpl

        @hookimpl
        def drystone_step_finished(step_run):
            if step_run.status == "cached":
                print(f"{step_run.name}: taken from {step_run.cached_from}")
    """
