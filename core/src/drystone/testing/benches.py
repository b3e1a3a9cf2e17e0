"""Benches: where contracts run pipelines of `specimens`, and what they expect of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from drystone.cancellations import Watch
from drystone.errors import DrystoneError, RunCancelledError, RunFailedError
from drystone.orchestrators import ISOLATION, PARALLEL, Orchestrator
from drystone.pipelines import Pipeline
from drystone.runs import FAILED, RUNNING, SKIPPED, SUCCEEDED, Run
from drystone.stacks import Stack
from drystone.testing.marks import awaited, mark, marks
from drystone.testing.specimens import BEHAVIOURS, RETRIED, SHAPES, SUCCEEDS, VICTIMS, node_name
from drystone.workspaces import Workspace

BRIEFLY = 1.0
"""Seconds to wait for what must not happen."""


@attrs.frozen
class Outcome:
    """How a run ended: its record, and what it raised, if anything."""

    run: Run
    error: RunFailedError | None = None

    @property
    def cause(self) -> BaseException | None:
        """What made it fail."""
        return self.error.__cause__ if self.error is not None else None

    @property
    def statuses(self) -> dict[str, str]:
        """The statuses of its steps."""
        return {name: step.status for name, step in self.run.steps.items()}

    @property
    def outputs(self) -> dict[str, Any]:
        """What its body returned."""
        return {name: version.load() for name, version in self.run.outputs.items()}

    @property
    def values(self) -> dict[str, Any]:
        """What its steps made; of several outputs a dict."""
        made = {
            name: {output: version.load() for output, version in step.outputs.items()}
            for name, step in self.run.steps.items()
        }
        return {name: values.get("output", values) for name, values in made.items() if values}


@attrs.frozen
class Bench:
    """Runs pipelines on the orchestrator under test.

    Attributes:
        folder: Where steps leave marks; empty where they run without the files of this machine.
        patience: Seconds after which what has not happened will not happen.
    """

    stack: Stack
    workspace: Workspace
    folder: str
    patience: float

    @property
    def orchestrator(self) -> Orchestrator:
        """What is under test."""
        return self.stack.orchestrator

    def can(self, capability: str) -> bool:
        """Whether the orchestrator declares a capability."""
        return capability in self.orchestrator.capabilities

    @property
    def is_exclusive(self) -> bool:
        """Whether each step has its process to itself, as the capabilities say."""
        return self.can(ISOLATION) or not self.can(PARALLEL)

    def needs(self, capability: str) -> None:
        """Skip a test of what the orchestrator says it cannot do."""
        if not self.can(capability):
            pytest.skip(f"The orchestrator does not declare {capability!r}.")

    @property
    def marked(self) -> str:
        """Where steps leave marks; skips the test where they cannot."""
        if not self.folder:
            pytest.skip("The steps do not have the files of this machine.")
        return self.folder

    def marks(self) -> list[str]:
        """What steps have noted."""
        return marks(self.marked)

    def let_go(self) -> None:
        """Let a step go on that waits for that."""
        mark(self.folder, "go")

    def run(self, pipeline: Pipeline[..., Any], /, *given: Any, **options: Any) -> Outcome:
        """Run a pipeline, however it ends; a run that does not end is cancelled, and the test fails."""
        __tracebackhide__ = True
        overdue = threading.Event()

        def give_up() -> None:
            overdue.set()
            self.cancel()

        watchdog = threading.Timer(2 * self.patience + 10, give_up)
        watchdog.start()
        try:
            return Outcome(pipeline.with_options(stack=self.stack, **options)(*given))
        except RunCancelledError as exc:
            if overdue.is_set():
                pytest.fail("The run did not end: the future of a task was never completed, or a step not ended.")
            return Outcome(exc.run, exc)  # type: ignore[arg-type]
        except RunFailedError as exc:
            return Outcome(exc.run, exc)  # type: ignore[arg-type]
        finally:
            watchdog.cancel()

    def cancel(self) -> None:
        """Ask for what runs to be cancelled."""
        for run in self.workspace.runs():
            if run.status == RUNNING:
                with suppress(DrystoneError):
                    self.workspace.cancel(run)

    def cancelled_when(self, text: str, *, then: Callable[[], object] = lambda: None) -> threading.Thread:
        """Cancel what runs once a step has noted something, and do something when its driver knows of it."""
        folder = self.marked

        def cancel() -> None:
            if awaited(folder, text, self.patience):
                self.cancel()
                self._until_noticed()
            then()

        thread = threading.Thread(target=cancel)
        thread.start()
        return thread

    def _until_noticed(self) -> None:
        """Wait until the driver's watch has seen the request."""
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline and any(each.requested_by is None for each in _watches()):
            threading.Event().wait(0.01)

    def at_once(self, *calls: Callable[[], Outcome]) -> list[Outcome]:
        """Run several pipelines at the same time."""
        with ThreadPoolExecutor(len(calls)) as pool:
            return [each.result() for each in [pool.submit(call) for call in calls]]


def _watches() -> list[Watch]:
    """Those of the runs that this process drives, by their threads."""
    owners = [getattr(getattr(each, "_target", None), "__self__", None) for each in threading.enumerate()]
    return [each for each in owners if isinstance(each, Watch)]


def expected(shape: str, behaviour: str) -> dict[str, tuple[str, Any]]:
    """Status and value of each node of a shape, by plain Python."""
    found: dict[str, tuple[str, Any]] = {}
    for node, text in SHAPES[shape].items():
        way, *taken = text.split()
        before = [found[each] for each in taken_by(text)]
        if any(status != SUCCEEDED for status, _ in before) or "?n" in taken:
            found[node] = SKIPPED, None
        elif node == VICTIMS[shape] and behaviour not in (SUCCEEDS, RETRIED):
            found[node] = FAILED, None
        else:
            values = [_taken(each, found) for each in taken if each[0] != "?"]
            found[node] = SUCCEEDED, _made(way, ord(node) + 3 * sum(values))
    return found


def taken_by(text: str) -> list[str]:
    """The nodes that one takes or depends on."""
    return [each.strip("?").partition(".")[0] for each in text.split()[1:]]


def _taken(reference: str, found: dict[str, tuple[str, Any]]) -> int:
    name, _, output = reference.partition(".")
    value = found[name][1]
    total: int = value[output] if output else sum(value) if isinstance(value, list) else value
    return total


def _made(way: str, plain: int) -> Any:
    ways = {"work": plain, "map": [plain, 2 * plain, 3 * plain], "pair": {"left": plain, "right": -plain}}
    return {**ways, "yes": True, "no": False}[way]


def starts(shape: str, behaviour: str) -> dict[str, int]:
    """How often each step, or element of a map, of a shape is started."""
    counts: dict[str, int] = {}
    for node, (status, _) in expected(shape, behaviour).items():
        name, often = node_name(shape, node), BEHAVIOURS[behaviour] if node == VICTIMS[shape] else 1
        is_map = SHAPES[shape][node].startswith("map")
        started = {f"{name}1": 1, f"{name}2": often, f"{name}3": 1} if is_map else {name: often}
        counts |= started if status != SKIPPED else {}
    return counts


def processes() -> dict[int, str]:
    """The processes that this one has started and not ended, with their command lines; none where that is unknown."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid():
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
    return found
