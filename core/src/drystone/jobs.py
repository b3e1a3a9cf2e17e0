"""Jobs: attempts at steps that an orchestrator launches as commands; what they made comes back through the store."""

from __future__ import annotations

import codecs
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.errors import DrystoneError, StepTimeoutError, WorkerDiedError
from drystone.options import Resources
from drystone.orchestrators import Job, Orchestrator
from drystone.serialization import structure, to_text, unstructure
from drystone.tasks import RESULT, TASK, StepResult, StepTask

COMMAND = ("python", "-m", "drystone.workers")
"""What an orchestrator launches, with the uri of a task behind it."""

logger = logging.getLogger(__name__)


class JobFuture(Future[str]):
    """The future of one attempt; to cancel it is to end its job.

    Attributes:
        is_late: Whether it was ended because it took too long.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_late = self._is_unwanted = False
        self._lock = threading.Lock()
        self._job: Job | None = None

    def attend(self, job: Job) -> None:
        """This is the job, which may be unwanted already."""
        with self._lock:
            self._job = job
        if self._is_unwanted:
            job.cancel()

    def cancel(self) -> bool:
        """Cancel it; if its job runs, that is ended, and the future is done once it has been waited for."""
        if super().cancel():
            return True
        self._is_unwanted = not self.done()
        return self._is_unwanted and self._end()

    def time_out(self) -> None:
        """End the job because it takes too long."""
        self.is_late = True
        self._end()

    def _end(self) -> bool:
        with self._lock:
            job = self._job
        if job is not None:
            with suppress(DrystoneError):  # it is waited for all the same
                job.cancel()
        return True

    def cancelled(self) -> bool:
        """Whether it was cancelled, before it ran or while it ran."""
        return super().cancelled() or (self.done() and isinstance(self.exception(), CancelledError))

    def settle(self, attended: Callable[[], str]) -> None:
        """Be done with what seeing to the job brings."""
        if not self.set_running_or_notify_cancel():
            return
        try:
            result = attended()
        except BaseException as exc:
            self.set_exception(CancelledError() if self._is_unwanted else exc)
        else:
            self.set_result(result)


class Jobs:
    """The jobs of one run on one orchestrator: `with Jobs(…) as jobs`.

    Args:
        orchestrator: Launches them.
        store: Where their tasks are put and their results are found.
        kept: Stores what a task's job has printed; returns its digest.
    """

    def __init__(
        self, orchestrator: Orchestrator, store: ArtifactStore, kept: Callable[[StepTask], str | None]
    ) -> None:
        self._orchestrator = orchestrator
        self._store = store
        self._kept = kept
        self._pool = ThreadPoolExecutor(orchestrator.concurrency, "drystone-job")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pool.shutdown()

    def start(self, task: StepTask, environment: Mapping[str, str], secrets: Mapping[str, str]) -> Future[str]:
        """Launch the job of a task as soon as there is room for one more; the future brings the JSON of its result."""
        return self._seen_to(lambda future: self._attended(future, task, self._launched(task, environment, secrets)))

    def adopt(
        self, task: StepTask, environment: Mapping[str, str], secrets: Mapping[str, str], before: StepTask, job: Job
    ) -> Future[str]:
        """See to a job that another driver has launched for a task like this one; if that dies, launch another."""

        def attended(future: JobFuture) -> str:
            try:
                return self._attended(future, before, job)
            except WorkerDiedError:  # that driver may have ended it, if it was not dead after all
                return self._attended(future, task, self._launched(task, environment, secrets))

        return self._seen_to(attended)

    def _seen_to(self, attended: Callable[[JobFuture], str]) -> Future[str]:
        future = JobFuture()
        self._pool.submit(future.settle, lambda: attended(future))
        return future

    def _launched(self, task: StepTask, environment: Mapping[str, str], secrets: Mapping[str, str]) -> Job:
        self._store.write(f"{task.folder}/{TASK}", to_text(unstructure(task)).encode())
        uri = f"{self._store.identity}/{task.folder}/{TASK}"
        resources = Resources(**task.resources) if task.resources is not None else None
        return self._orchestrator.launch(uri, (*COMMAND, uri), resources, environment, secrets)

    def _attended(self, future: JobFuture, task: StepTask, job: Job) -> str:
        """Follow a job to its end, and bring its result.

        Raises:
            StepTimeoutError: It was ended because it took too long.
            MemoryLimitError: It was ended because it took too much memory.
            WorkerDiedError: It ended without a result.
        """
        follower = threading.Thread(target=_follow, args=(job, task), name="drystone-job-log")
        watch = threading.Timer(task.timeout or 0.0, future.time_out)
        follower.start()
        if task.timeout is not None:
            watch.start()
        try:
            future.attend(job)
            ended: DrystoneError = WorkerDiedError.of(f"The job that ran step {task.step!r}", job.wait())
        except DrystoneError as exc:
            ended = exc
        finally:
            watch.cancel()
            follower.join()
        result = result_of(self._store, task)
        if result is not None:
            return to_text(unstructure(attrs.evolve(result, log=self._kept(task))))
        raise _timed_out(task) if future.is_late else ended


def _timed_out(task: StepTask) -> StepTimeoutError:
    return StepTimeoutError(f"Step {task.step!r} took longer than its timeout of {task.timeout:g} s, and was ended.")


def result_of(store: ArtifactStore, task: StepTask) -> StepResult | None:
    """What the worker of an attempt has left, if it came to that."""
    try:
        result = structure(json.loads(store.read_range(f"{task.folder}/{RESULT}", 0, None)), StepResult)
    except FileNotFoundError:
        return None
    return result if result.id == task.id else None


def _follow(job: Job, task: StepTask) -> None:
    """Let everybody see what a job prints while it runs: those who follow its log, and the terminal."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    with suppress(DrystoneError):  # why it cannot be followed, waiting for it tells
        for piece in _appended(job.logs(), task.log):
            *lines, rest = (rest + decoder.decode(piece)).split("\n")
            _show(task.step, lines)
    _show(task.step, [rest] if rest else [])


def _appended(pieces: Iterable[bytes], log: str | None) -> Iterator[bytes]:
    """Pieces, each written to a file before it is passed on, as long as that can be."""
    if log is None:
        yield from pieces
        return
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    Path(log).unlink(missing_ok=True)  # of a driver that died
    with open(log, "ab", buffering=0) as file:
        for piece in pieces:
            with suppress(OSError):  # the disk may be full for a moment
                file.write(piece)
            yield piece


def _show(step: str, lines: Iterable[str]) -> None:
    """Print lines with the step that they are from, since others print meanwhile."""
    with suppress(OSError, ValueError):  # nobody may read it any more
        for line in lines:
            sys.stdout.write(f"{step} | {line}\n")
        sys.stdout.flush()


class Leftovers:
    """What an earlier driver of a run has left, which died: tasks with their results, and jobs that may still run.

    Args:
        store: Where the tasks are.
        folder: The run's, with a `/` behind it.
        orchestrators: Which may know of jobs.
    """

    def __init__(self, store: ArtifactStore, folder: str, orchestrators: Iterable[Orchestrator]) -> None:
        self._store = store
        keys = sorted(key.removesuffix(f"/{TASK}") for key, _ in store.list(folder) if key.endswith(f"/{TASK}"))
        self._folders = [key for key in keys if key.count("/") == folder.count("/") + 1]
        prefix = f"{store.identity}/{folder}"
        self._jobs = {uri: job for each in orchestrators for uri, job in each.jobs(prefix).items()}

    def taken(self, task: StepTask) -> tuple[StepTask, Job | None] | None:
        """An earlier attempt at the same step that does what a task does, and its job, if it has one.

        The jobs of others at this step are ended first, so that it never runs twice at a time.
        """
        found, siblings = None, f"{task.folder.rpartition('/')[0]}/"
        for each in reversed([each for each in self._folders if each.startswith(siblings)]):
            job = self._jobs.pop(f"{self._store.identity}/{each}/{TASK}", None)
            before = self._task(each)
            if found is None and before is not None and before.makes_what(task) and (job or self._is_done(before)):
                found = before, job
            elif job is not None:
                end([job])
        return found

    def _is_done(self, task: StepTask) -> bool:
        result = result_of(self._store, task)
        return result is not None and result.failure is None

    def _task(self, folder: str) -> StepTask | None:
        with suppress(FileNotFoundError, ValueError, DrystoneError):
            return structure(json.loads(self._store.read_range(f"{folder}/{TASK}", 0, None)), StepTask)
        return None

    def end(self) -> None:
        """End the jobs that nobody has taken."""
        jobs, self._jobs = self._jobs, {}
        end(jobs.values())


def end(jobs: Iterable[Job]) -> None:
    """End jobs, and wait for that."""
    every = list(jobs)
    for job in every:
        job.cancel()
    for job in every:
        with suppress(DrystoneError):  # however they end
            job.wait()
    if every:
        logger.warning("Ended %d jobs that an earlier driver had left behind: what they do is not needed.", len(every))
