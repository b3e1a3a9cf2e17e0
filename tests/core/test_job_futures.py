"""Futures of launched jobs: however they end, somebody waits for them, and the driver never waits in vain."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import attrs
import pytest

from drystone import FsspecArtifactStore, Orchestrator
from drystone.errors import EngineError, StepTimeoutError, WorkerDiedError
from drystone.jobs import HELD, JobFuture, Jobs, end
from drystone.serialization import to_text, unstructure
from drystone.tasks import UNABLE, StepResult, StepTask

PATIENCE = 20.0


class FakeJob:
    """A job that runs until it is ended; or, with an exit code, has ended already."""

    def __init__(self, code=None, printed=()):
        self.code, self.printed = code, printed
        self.ended = threading.Event()
        self.attended = threading.Event()
        self.taken = []

    def logs(self):
        for piece in self.printed:
            yield piece
            self.taken.append(piece)

    def wait(self):
        self.attended.set()
        if self.code is None:
            assert self.ended.wait(PATIENCE)
            return -9
        return self.code

    def cancel(self):
        self.ended.set()


class Forgotten(FakeJob):
    def wait(self):
        self.attended.set()
        raise EngineError("It does not answer.")


class Stubborn(FakeJob):
    def cancel(self):
        raise ProcessLookupError("It is not there.")

    def wait(self):
        self.attended.set()
        return -9


@attrs.frozen(kw_only=True)
class Handing(Orchestrator):
    """Hands out jobs that were made before."""

    left: list = attrs.field(factory=list, eq=False)
    launched: list = attrs.field(factory=list, eq=False)

    @property
    def concurrency(self):
        return 1

    def launch(self, task_uri, command, resources, environment, secrets):
        self.launched.append(task_uri)
        return self.left.pop(0)


@pytest.fixture
def store(tmp_path):
    return FsspecArtifactStore(url=f"file://{tmp_path}/store")


@pytest.fixture
def task(tmp_path):
    return StepTask(
        id="a1",
        run="training-1",
        pipeline="training",
        step="train",
        attempt=1,
        code="works:train",
        closure=None,
        root="/",
        inputs={},
        outputs=(),
        parameters={},
        model_version=None,
        store="{}",
        allow_pickle=False,
        exclusive=True,
        pid=1,
        folder="tasks/training-1-0123abcd/train/1",
        log=f"{tmp_path}/live/train-1.log",
    )


@pytest.fixture
def started(store):
    """Starts tasks whose jobs these are; leaves when the test ends."""

    def run(task, *jobs):
        orchestrator = Handing(left=[*jobs])
        with Jobs(orchestrator, store, lambda _: None) as running:
            future = running.start(task, {}, {})
            jobs[0].attended.wait(PATIENCE)
            future.exception(PATIENCE)
        return future

    return run


def finished(store, task):
    store.write(f"{task.folder}/result.json", to_text(unstructure(StepResult(id=task.id))).encode())


def test_a_timeout_that_comes_before_its_job_ends_it_all_the_same():
    future, job = JobFuture(), FakeJob()
    future.time_out()
    future.attend(job)
    assert job.ended.is_set()


def test_a_job_that_takes_too_long_is_ended(started, task):
    job = FakeJob()
    future = started(attrs.evolve(task, timeout=0.01), job)
    assert isinstance(future.exception(), StepTimeoutError)


def test_what_waits_for_its_turn_is_not_launched_once_it_is_cancelled(store, task):
    first = FakeJob()
    orchestrator = Handing(left=[first])
    with Jobs(orchestrator, store, lambda _: None) as jobs:
        futures = [jobs.start(task, {}, {}) for _ in range(10)]
        assert first.attended.wait(PATIENCE)
        for future in futures:
            future.cancel()
    assert len(orchestrator.launched) == 1
    assert all(future.cancelled() for future in futures)


def test_a_job_that_was_taken_over_and_is_cancelled_is_not_launched_again(store, task):
    job = FakeJob()
    orchestrator = Handing(left=[FakeJob(0)])
    with Jobs(orchestrator, store, lambda _: None) as jobs:
        future = jobs.adopt(task, {}, {}, task, job)
        assert job.attended.wait(PATIENCE)
        future.cancel()
        with pytest.raises(CancelledError):
            future.result(PATIENCE)
    assert orchestrator.launched == []


def test_an_interrupted_driver_ends_also_jobs_that_it_knows_nothing_of_yet(store, task):
    job = FakeJob()
    with pytest.raises(KeyboardInterrupt), Jobs(Handing(left=[job]), store, lambda _: None) as jobs:  # noqa: PT012 - it is how it ends
        jobs.start(task, {}, {})
        assert job.attended.wait(PATIENCE)
        raise KeyboardInterrupt
    assert job.ended.is_set()


def test_a_job_that_cannot_be_ended_keeps_nobody_from_ending_the_others(caplog):
    stubborn, other = Stubborn(), FakeJob()
    end([stubborn, other])
    assert "A job could not be ended, and is waited for. It is not there." in caplog.text
    assert stubborn.attended.is_set()
    assert other.attended.is_set()


def test_a_job_whose_cancelling_fails_is_waited_for(store, task):
    future, job = JobFuture(), Stubborn()
    future.set_running_or_notify_cancel()
    future.cancel()
    future.attend(job)


def test_a_job_that_cannot_be_waited_for_does_not_run_beside_the_next_attempt(started, task):
    job = Forgotten()
    assert isinstance(started(task, job).exception(), EngineError)
    assert job.ended.is_set()


def test_a_result_that_was_half_written_is_none(started, store, task):
    store.write(f"{task.folder}/result.json", b'{"id": "a1", "sav')
    assert isinstance(started(task, FakeJob(-9)).exception(), WorkerDiedError)


def test_output_is_taken_to_its_end_where_it_cannot_be_kept(started, store, task, tmp_path):
    (tmp_path / "file").write_text("")
    job = FakeJob(0, [b"first\n", b"last\n"])
    finished(store, task)
    future = started(attrs.evolve(task, log=f"{tmp_path}/file/train-1.log"), job)
    assert future.exception() is None
    assert job.taken == job.printed


def test_a_line_that_does_not_end_is_shown_meanwhile(started, store, task, capsys):
    finished(store, task)
    started(task, FakeJob(0, [b"." * (HELD + 1), b"." * (HELD + 1), b"the end \xe2\x82"]))
    shown = capsys.readouterr().out.splitlines()
    assert [len(line) for line in shown[:2]] == [len("train | ") + HELD + 1] * 2
    assert shown[2] == "train | the end \N{REPLACEMENT CHARACTER}"


def test_who_dies_is_told_with_what_was_printed_last(started, task):
    lines = [f"line {n}\n".encode() for n in range(30)]
    told = str(started(task, FakeJob(7, lines)).exception())
    assert told.startswith("The job that ran step 'train' exited with code 7 before the step was done.")
    assert told.endswith("The last that it printed:" + "".join(f"\n  line {n}" for n in range(20, 30)))


def test_who_dies_without_a_word_is_told_as_well(started, task):
    assert str(started(task, FakeJob(7)).exception()).endswith("It printed nothing.")


def test_trouble_outside_the_step_is_not_blamed_on_it(started, task):
    told = str(started(task, FakeJob(UNABLE, [b"StoreUnreachableError: no way\n"])).exception())
    assert "failed outside the step" in told
    assert "os._exit" not in told
    assert told.endswith("\n  StoreUnreachableError: no way")
