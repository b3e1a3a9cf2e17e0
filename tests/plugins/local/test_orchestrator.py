"""The local orchestrator runs each step at once, in the driver's process."""

import os
import threading
from concurrent.futures import wait

import pytest

from drystone import RunContext
from drystone.errors import StackError
from drystone_local import LocalOrchestrator

RUN = RunContext(run="training-1", pipeline="training", stack="default", steps=2)


def interrupted():
    raise KeyboardInterrupt


def test_a_step_is_done_when_it_is_submitted_and_ran_in_this_thread():
    with LocalOrchestrator().executor(RUN) as executor:
        future = executor.submit(lambda *values: (os.getpid(), threading.get_ident(), values), 1, 2)
        assert future.done()
        assert future.result() == (os.getpid(), threading.get_ident(), (1, 2))


def test_what_a_step_raises_is_in_its_future():
    with LocalOrchestrator().executor(RUN) as executor:
        future = executor.submit(int, "x")
        assert isinstance(future.exception(), ValueError)
        done, _ = wait([future, executor.submit(int, "1")])
        assert len(done) == 2


def test_an_interrupt_is_the_drivers():
    with LocalOrchestrator().executor(RUN) as executor, pytest.raises(KeyboardInterrupt):
        executor.submit(interrupted)


def test_after_the_run_nothing_is_taken():
    executor = LocalOrchestrator().executor(RUN)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(int)


def test_it_promises_nothing():
    assert LocalOrchestrator().capabilities == frozenset()


def test_it_is_called_local():
    assert (LocalOrchestrator.kind, LocalOrchestrator.name) == ("orchestrator", "local")


def test_an_isolation_it_does_not_know_is_refused():
    with pytest.raises(StackError) as caught:
        LocalOrchestrator(isolation="process")
    assert str(caught.value) == "LocalOrchestrator(isolation='process'): the only isolation it knows is 'inline'."
