"""Every hook that a plugin can fill.

*Offers* are plural nouns and return what a plugin brings. *Events* are a subject and what happened to it; they get a
frozen record and return nothing. A plugin is a module named by an entry point in group `drystone`; its functions marked
with `hookimpl` fill the hooks of the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import pluggy

from drystone.artifacts import ArtifactVersion
from drystone.components import StackComponent
from drystone.stacks import Stack

if TYPE_CHECKING:  # plugins that offer no ledger do without what ledgers need
    from drystone.ledgers import Ledger
from drystone.materializers import Materializer
from drystone.models import StageMove
from drystone.runs import Run, StepRun

PROJECT = "drystone"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook it is named after."""

OFFERS = (
    *("drystone_components", "drystone_materializers", "drystone_stacks"),
    *("drystone_commands", "drystone_secret_resolvers", "drystone_ledgers"),
)
EVENTS = (
    *("drystone_run_started", "drystone_run_finished"),
    *("drystone_step_started", "drystone_step_progressed", "drystone_step_finished"),
    *("drystone_artifact_saved", "drystone_model_promoted"),
)
HOOKS = OFFERS + EVENTS


class Command(Protocol):
    """A command of the command line: a `click.Command`, which core does not know."""

    name: str | None


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
def drystone_commands() -> Sequence[Command]:  # type: ignore[empty-body]
    """Offer commands of the command line, beside `drystone run` and the others.

    Called at most once per process, when a command is asked for that the command line does not have itself, or plugins
    are examined; in the command line, never in the driver or a worker. An entry point of the command's name in group
    `drystone.commands`, which names the same module, lets `drystone --help` list it without loading any plugin.

    Returns:
        `click.Command` objects with names. Two of one name are an error.

    Example::

        import click

        from drystone import hookimpl

        @click.command("greet")
        @click.argument("name")
        def greet(name):
            '''Greet somebody.'''
            click.echo(f"Hello {name}.")

        @hookimpl
        def drystone_commands():
            return [greet]
    """


@hookspec
def drystone_secret_resolvers() -> Mapping[str, Callable[[str], str]]:  # type: ignore[empty-body]
    """Offer ways to find secrets: `Secret("vault:team/key")` is given to what is offered for `vault`, as `team/key`.

    Called at most once per process, when a secret is resolved whose scheme core does not know, or plugins are examined;
    in the driver, in the command line and in workers. Core knows `env`.

    Returns:
        A function per scheme: it takes what follows the colon and returns the secret's text, or raises `LookupError`
        with a sentence that says what is missing and where. Two plugins that claim one scheme are an error.

    Example::

        from pathlib import Path

        from drystone import hookimpl

        def read(name):
            return Path("/run/secrets", name).read_text().strip()

        @hookimpl
        def drystone_secret_resolvers():
            return {"run": read}
    """


@hookspec
def drystone_ledgers() -> Mapping[str, Callable[[str], Ledger]]:  # type: ignore[empty-body]
    """Offer ledgers for URLs: `Workspace("file:///srv/team")` is opened by what is offered for `file`.

    Called at most once per process, when a workspace is opened by a URL or plugins are examined; in the driver and the
    command line, never in a worker.

    Returns:
        A function per URL scheme: it takes the whole URL and returns a `drystone.ledgers.Ledger`, which passes
        `drystone.testing.LedgerContract`. Two plugins that claim one scheme are an error.

    Example::

        from drystone import hookimpl
        from drystone.testing import MemoryLedger

        ledgers = {}

        @hookimpl
        def drystone_ledgers():
            return {"scratch": lambda url: ledgers.setdefault(url, MemoryLedger(url))}
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


@hookspec
def drystone_artifact_saved(artifact_version: ArtifactVersion) -> None:
    """Hear that a new version of an artifact is stored and committed, by a step or by `save_artifact`.

    Called once per version, after its commit and, for the outputs of a step, before `drystone_step_finished`; in the
    driver, or in the process that called `save_artifact`. Never for what came from the cache. Return nothing. What it
    raises is reported with the run and changes nothing.

    Example::

        from drystone import hookimpl

        @hookimpl
        def drystone_artifact_saved(artifact_version):
            print(f"{artifact_version}: {artifact_version.size} bytes of {artifact_version.type}")
    """


@hookspec
def drystone_model_promoted(stage_move: StageMove) -> None:
    """Hear that a stage of a model has another holder: by `promote` or by `rollback`, as `action` says.

    Called once per move, after its commit; in the process that called `promote` or `rollback`, which is the driver if a
    pipeline's `on_success` did. Return nothing. What it raises is logged and changes nothing.

    Example::

        from drystone import hookimpl

        @hookimpl
        def drystone_model_promoted(stage_move):
            print(f"{stage_move.model} {stage_move.number} is {stage_move.stage} now, says {stage_move.author}")
    """
