"""Orchestrators: where steps run, and what they are told of runs and steps to decide it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import attrs

from drystone.components import StackComponent
from drystone.errors import StackError
from drystone.options import Resources


def _unanswered(message: str) -> str:
    raise StackError("Nobody answers what steps ask for here: no driver serves this run.")


@attrs.frozen(kw_only=True)
class RunContext:
    """What an orchestrator is told of the run it serves.

    Attributes:
        run: Its name; `pipeline` and `stack` are those of its pipeline and stack.
        steps: How many steps it has.
        modules: The modules that its steps are defined in, which workers may import ahead.
        root: The project's root.
        answer: Answers what a running step asks of the workspace, one JSON text for another; from any thread.
    """

    run: str
    pipeline: str
    stack: str
    steps: int
    modules: tuple[str, ...] = ()
    root: Path = attrs.field(factory=Path)
    answer: Callable[[str], str] = attrs.field(default=_unanswered, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class StepNeeds:
    """What is known of a step before a run, for the orchestrator to decide where it runs.

    Attributes:
        name: What the step is called in its pipeline, as `train` or `train_2`.
        alone: Whether no other step of its pipeline can run beside it.
        importable: Whether another process could import it.
        timeout: Seconds after which it is to be ended, or None.
        resources: What it needs of the machine, or None.
    """

    name: str
    alone: bool
    importable: bool
    timeout: float | None = None
    resources: Resources | None = None


@attrs.frozen(kw_only=True)
class Environment:
    """What a step's code finds where it runs, as far as results depend on it.

    Attributes:
        python: The minor version, as `3.11`.
        packages: The version of each installed distribution, by its name in lower case with `-`, as `scikit-learn`.
        unknown: Why that cannot be told yet, as in "its image is not built yet"; empty where it can.
    """

    python: str = ""
    packages: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    unknown: str = ""


class Job(Protocol):
    """A command that an orchestrator has launched. Its methods are called from several threads."""

    def logs(self) -> Iterator[bytes]:
        """What it prints, both streams in one, from the beginning and as it is printed; ends with the job.

        Called once.
        """

    def wait(self) -> int:
        """Wait for its end and for all that it printed, and free what it held; its exit code, or minus the signal.

        Called once. What it started and has left running is ended, too: it would keep `logs` from ending.

        Raises:
            MemoryLimitError: It was ended because it took more memory than it may.
            WorkerDiedError: Something else ended it, which the exit code would not tell.
        """

    def cancel(self) -> None:
        """End it at once, with everything that it started, if it still runs; `wait` returns then."""


THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


def thread_variables(threads: int) -> dict[str, str]:
    """The environment variables by which libraries learn, when they are loaded, how many threads they may use."""
    return dict.fromkeys(THREADS, str(threads))


PARALLEL, TIMEOUT, RESOURCES, CANCEL, ISOLATION = "parallel", "timeout", "resources", "cancel", "isolation"
"""What an orchestrator may say that it is capable of."""


def _unneeded(self: Orchestrator, run: RunContext) -> Executor:
    raise StackError(f"The orchestrator {type(self).__name__} launches commands, and has no executor.")


@attrs.frozen(kw_only=True)
class Orchestrator(StackComponent, ABC):
    """Says where steps run; never what runs or in which order.

    There are two ways in, and an orchestrator takes one of them: `executor`, for what runs Python functions, or
    `launch`, for what runs commands.
    """

    kind: ClassVar[str] = "orchestrator"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.launch is not Orchestrator.launch and getattr(cls.executor, "__isabstractmethod__", False):
            cls.executor = _unneeded  # type: ignore[method-assign]

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do, of the five above. A pipeline that needs more is refused before it starts.

        By default `parallel`; with `launch` also `timeout`, `cancel` and `isolation`, which the driver sees to.
        """
        return frozenset({PARALLEL, TIMEOUT, CANCEL, ISOLATION} if self.launches else {PARALLEL})

    @property
    def store_capabilities(self) -> frozenset[str]:
        """What it needs of the stack's artifact store, such as `shared` where steps run on other machines."""
        return frozenset()

    @property
    def launches(self) -> bool:
        """Whether `launch` is its way in."""
        return type(self).launch is not Orchestrator.launch

    @property
    def concurrency(self) -> int:
        """How many jobs run at once at most, where `launch` is its way in."""
        return 8

    def within(self, components: Mapping[str, StackComponent]) -> Self:
        """This orchestrator, knowing the other components of the stack that is used; after `at`."""
        return self

    @abstractmethod
    def executor(self, run: RunContext) -> Executor:
        """A `concurrent.futures.Executor` for one run.

        The driver submits one module-level function and one JSON string per step, reads the JSON string it returns,
        and shuts the executor down when the run is over. It asks for one when the first step needs it.

        Whoever runs the function may pass it `ask=`, a function that takes a JSON text to `run.answer` and brings the
        answer back. The JSON object has `timeout` (seconds) and `resources` (`cpus`, `memory` in bytes, `gpus`), each
        null where the step says nothing. A future whose worker had to be ended raises `StepTimeoutError`,
        `MemoryLimitError` or `WorkerDiedError`; `cancel` on a running one ends its step where the orchestrator has the
        capability `cancel`.
        """

    def launch(
        self,
        task_uri: str,
        command: Sequence[str],
        resources: Resources | None,
        environment: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> Job:
        """Start the command that runs one attempt at a step, and return at once; may be called from several threads.

        The driver puts the task into the artifact store before, and finds the result there afterwards; it sees to
        retries and timeouts, and to what steps ask.

        Args:
            task_uri: Where the task is, which tells this attempt from all others; also the command's last argument.
            command: What to run, in an environment that has Drystone and the plugins of the stack; the first member is
                `python`, to be replaced where that is called otherwise.
            resources: What the step declares to need.
            environment: Variables that the command needs. `DRYSTONE_RUN`, `DRYSTONE_PIPELINE`, `DRYSTONE_STEP` and
                `DRYSTONE_ATTEMPT` also say what this is, to name and label things by.
            secrets: Texts by reference, for the command alone: give them to it as one line of JSON, on its standard
                input with `DRYSTONE_SECRETS=-` in its environment, or in a file that only it can read and
                `DRYSTONE_SECRETS` names. If there are none, neither is needed.

        Raises:
            DrystoneError: It cannot be started. The attempt fails with it.
        """
        raise StackError(f"The orchestrator {type(self).__name__} launches no commands.")

    def jobs(self, prefix: str) -> Mapping[str, Job]:
        """The jobs that a driver has left behind which died, by task uri, of those uris that begin so.

        Also those that have ended and were not waited for. Asked when a run is resumed; each of them is then waited
        for, or cancelled and waited for.
        """
        return {}

    def environment(self, step: StepNeeds) -> Environment | None:
        """What a step's code finds where it runs; None if that is what the driver has. Its answer is in cache keys.

        Plans ask for it, too, so nothing may be built or fetched for it that takes long.
        """
        return None

    def provide(self, steps: Iterable[StepNeeds]) -> None:
        """Make what these steps need to run, such as images, before a run; afterwards their `environment` is known.

        Raises:
            DrystoneError: It cannot be made.
        """

    def runs_inline(self, needs: StepNeeds) -> bool:
        """Whether the driver runs this step itself, in its own process, while no other is running there."""
        return False
