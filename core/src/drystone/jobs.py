"""Jobs: attempts at steps that an orchestrator launches as commands; what they made comes back through the store."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.errors import DrystoneError, StepFailedError, StepTimeoutError, WorkerDiedError, message_of
from drystone.logs import read_log_file
from drystone.options import Resources
from drystone.orchestrators import Job, Orchestrator
from drystone.serialization import structure, to_text, unstructure
from drystone.tasks import RESULT, TASK, UNABLE, StepResult, StepTask

COMMAND = ("python", "-m", "drystone.workers")
"""What an orchestrator launches, with the uri of a task behind it."""

TAIL, LINES = 4096, 10
"""Of what a job printed that ended without a result, an error shows so many lines at most, of so many last bytes."""

HELD = 1 << 13
"""Characters that are shown at once, whether or not their line has ended."""

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
        """This is the job, which may be unwanted or late already."""
        with self._lock:
            self._job = job
        if self._is_unwanted or self.is_late:
            self._end()

    def check(self) -> None:
        """Before a job is launched.

        Raises:
            CancelledError: Nobody wants it any more.
        """
        if self._is_unwanted:
            raise CancelledError

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
            _cancel(job)
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
        self._unsettled: set[JobFuture] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for future in list(self._unsettled):  # none, unless the driver was interrupted before it knew of one
            future.cancel()
        self._pool.shutdown()

    def start(self, task: StepTask, environment: Mapping[str, str], secrets: Mapping[str, str]) -> Future[str]:
        """Launch the job of a task as soon as there is room for one more; the future brings the JSON of its result."""
        return self._seen_to(lambda future: self._run(future, task, environment, secrets))

    def adopt(
        self, task: StepTask, environment: Mapping[str, str], secrets: Mapping[str, str], before: StepTask, job: Job
    ) -> Future[str]:
        """See to a job that another driver has launched for a task like this one; if that dies, launch another."""

        def attended(future: JobFuture) -> str:
            try:
                return self._attended(future, before, job)
            except WorkerDiedError:  # that driver may have ended it, if it was not dead after all
                return self._run(future, task, environment, secrets)

        return self._seen_to(attended)

    def _seen_to(self, attended: Callable[[JobFuture], str]) -> Future[str]:
        future = JobFuture()
        self._unsettled.add(future)
        future.add_done_callback(lambda _: self._unsettled.discard(future))
        self._pool.submit(future.settle, lambda: attended(future))
        return future

    def _run(
        self, future: JobFuture, task: StepTask, environment: Mapping[str, str], secrets: Mapping[str, str]
    ) -> str:
        future.check()
        return self._attended(future, task, self._launched(task, environment, secrets))

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
        ended: int | DrystoneError
        try:
            future.attend(job)
            ended = job.wait()
        except DrystoneError as exc:
            ended = exc
            if not isinstance(exc, StepFailedError):  # it may still run, and a further attempt may follow
                _cancel(job)
        finally:
            watch.cancel()
            follower.join()
        result = result_of(self._store, task)
        if result is not None:
            return to_text(unstructure(attrs.evolve(result, log=self._kept(task))))
        if future.is_late:
            raise _timed_out(task)
        raise _died(task, ended) if isinstance(ended, int) else ended


def _died(task: StepTask, code: int) -> WorkerDiedError:
    """That a job ended without a result, with the last that it printed: often nothing else tells why."""
    printed = read_log_file(task.log) if task.log is not None else b""
    lines = printed[-TAIL:].decode(errors="replace").rstrip().splitlines()[-LINES:]
    said = "".join(f"\n  {line}" for line in lines)
    if code == UNABLE:
        why = (
            f"The job for step {task.step!r} failed outside the step: it could not get the task, the secrets or the "
            "project's code, or not store the result."
        )
    else:
        why = str(WorkerDiedError.of(f"The job that ran step {task.step!r}", code))
    return WorkerDiedError(f"{why} The last that it printed:{said}" if said else f"{why} It printed nothing.")


def _timed_out(task: StepTask) -> StepTimeoutError:
    return StepTimeoutError(f"Step {task.step!r} took longer than its timeout of {task.timeout:g} s, and was ended.")


def result_of(store: ArtifactStore, task: StepTask) -> StepResult | None:
    """What the worker of an attempt has left, if it came to that; what is half-written does not count."""
    try:
        content = store.read_range(f"{task.folder}/{RESULT}", 0, None)
    except FileNotFoundError:
        return None
    with suppress(ValueError):
        result = structure(json.loads(content), StepResult)
        return result if result.id == task.id else None
    return None


def _follow(job: Job, task: StepTask) -> None:
    """Let everybody see what a job prints while it runs: those who follow its log, and the terminal."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    with _log(task.log) as file, suppress(DrystoneError):  # why it cannot be followed, waiting for it tells
        for piece in job.logs():  # read to the end in any case: a job whose output nobody takes stands still
            with suppress(OSError):  # the disk may be full for a moment
                file.write(piece)
            *lines, rest = (rest + decoder.decode(piece)).split("\n")
            if len(rest) > HELD:
                lines, rest = [*lines, rest], ""
            _show(task.step, lines)
    rest += decoder.decode(b"", final=True)
    _show(task.step, [rest] if rest else [])


def _log(path: str | None) -> io.FileIO:
    """The file that takes what a job prints, or nothing where there can be none."""
    if path is not None:
        with suppress(OSError):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).unlink(missing_ok=True)  # of a driver that died
            return open(path, "ab", buffering=0)
    return open(os.devnull, "wb", buffering=0)


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

    def taken(self, task: StepTask) -> tuple[StepTask, Job | StepResult] | None:
        """An earlier attempt at the same step that does what a task does, and its job; without one, its result.

        The jobs of others at this step are ended first, so that it never runs twice at a time.
        """
        found, siblings = None, f"{task.folder.rpartition('/')[0]}/"
        for each in reversed([each for each in self._folders if each.startswith(siblings)]):
            job = self._jobs.pop(f"{self._store.identity}/{each}/{TASK}", None)
            before = self._task(each)
            fits = found is None and before is not None and before.makes_what(task)
            left = self._useful(before, job) if before is not None and fits else None
            if before is not None and left is not None:
                found = before, left
            elif job is not None:
                end([job])
        return found

    def _useful(self, task: StepTask, job: Job | None) -> Job | StepResult | None:
        """The job of an attempt, or its result; nothing if it has failed."""
        result = result_of(self._store, task)
        return (job or result) if result is None or result.failure is None else None

    def _task(self, folder: str) -> StepTask | None:
        with suppress(FileNotFoundError, ValueError, DrystoneError):
            return structure(json.loads(self._store.read_range(f"{folder}/{TASK}", 0, None)), StepTask)
        return None

    def end(self) -> None:
        """End the jobs that nobody has taken."""
        jobs, self._jobs = self._jobs, {}
        end(jobs.values())


def _cancel(job: Job) -> None:
    """End a job; where that fails, the others are to be ended all the same, and it is waited for."""
    try:
        job.cancel()
    except Exception as exc:
        logger.warning("A job could not be ended, and is waited for. %s", message_of(exc))


def end(jobs: Iterable[Job]) -> None:
    """End jobs, and wait for that."""
    every = list(jobs)
    for job in every:
        _cancel(job)
    for job in every:
        with suppress(DrystoneError):  # however they end
            job.wait()
    if every:
        logger.warning("Ended %d jobs that an earlier driver had left behind: what they do is not needed.", len(every))
