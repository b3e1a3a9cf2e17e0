"""The pool: hands tasks to warm worker processes, and ends those that take too long, too much, or that nobody wants."""

from __future__ import annotations

import atexit
import functools
import json
import os
import selectors
import socket
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from drystone import RunContext
from drystone_local.backlogs import Backlog
from drystone_local.crews import Crew, Worker, settings
from drystone_local.limits import judged
from drystone_local.machines import Machine, environment
from drystone_local.processes import LINUX
from drystone_local.serving import ANSWER, ASK, LEFT, READY, RESULT, TASK
from drystone_local.tasks import Task, died, raised, unstarted, warn

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

ANSWERERS = 4
"""Threads that answer what steps ask for."""


class Pool(Executor):
    """Runs tasks in processes that are kept for the next one; the death of one fails its own task alone.

    A thread of its own talks with the workers and watches over limits; whoever submits a task hands it to a worker that
    is free without waiting for that thread.

    Args:
        run: Whose tasks they are.
        workers: How many processes at most.
        machine: What running steps may declare to need in sum; one that needs more than there is runs without others
            that declare something.
        fork: Whether workers are copies of a process that has imported the pipeline; else fresh interpreters.
    """

    def __init__(self, run: RunContext, workers: int, machine: Machine, *, fork: bool = LINUX) -> None:
        self._run, self.workers, self._machine, self._fork = run, workers, machine, fork
        self._lock = threading.Lock()
        self._backlog = Backlog(machine)
        self._crews: dict[int | None, Crew] = {}
        self._busy: set[Worker] = set()
        self._idle: dict[int | None, list[Worker]] = defaultdict(list)
        self._thread: threading.Thread | None = None
        self._is_shut_down = False
        self._pause: float | None = None
        self._chores: deque[Callable[[], object]] = deque()
        self._after: deque[Callable[[], object]] = deque()
        self._answerers = ThreadPoolExecutor(ANSWERERS, "drystone-answers")
        self._selector = selectors.DefaultSelector()
        self._woken, self._waking = socket.socketpair()
        for each in (self._woken, self._waking):
            each.setblocking(False)

    # What the driver calls

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function of a module, in a worker, on one JSON text; it is also passed `ask=`."""
        (text,) = args
        task = Task(f"{fn.__module__}:{fn.__qualname__}", text, self._machine, self._stop)
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._start()
            self._backlog.add(task)
            self._assign()
        return task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; once those that were taken are done, end every process."""
        with self._lock:
            self._is_shut_down = True
            waiting = [*self._backlog] if cancel_futures else []
        for task in waiting:
            Future.cancel(task)
        self._wake()
        if self._thread is None:
            self._disown()
        elif wait:
            self._thread.join()

    def end(self) -> None:
        """End everything now."""
        self.shutdown(wait=False, cancel_futures=True)
        for worker in [*self._busy]:
            if worker.task is not None:
                worker.task.cancel()
        self.shutdown()

    def _stop(self, task: Task) -> bool:
        """Kill the worker of a task that is running; whether it was."""
        with self._lock:
            worker = next((each for each in self._busy if each.task is task), None)
            if worker is None or not task.running():
                return False
            self._kill(worker, CancelledError())
            return True

    # Tasks and workers find each other; all of this with the lock held

    def _assign(self) -> None:
        """Give tasks to workers that are free, or that may still be hired."""
        while len(self._busy) < self.workers and (task := self._backlog.take()) is not None:
            try:
                worker = self._free(task.threads)
            except OSError as exc:  # there are too many processes or open files
                self._backlog.give_back(task)
                failure = functools.partial(task.settle, unstarted(task, str(exc)))
                self._soon(functools.partial(self._after.append, failure))
                continue
            worker.task = task
            self._busy.add(worker)
            if worker.is_ready:
                self._hand_over(worker)

    def _free(self, threads: int | None) -> Worker:
        """A worker without a task, in place of one whose libraries use another number of threads if need be."""
        if self._idle[threads]:
            return self._idle[threads].pop()
        others = [workers for workers in self._idle.values() if workers]
        if len(self._busy) + sum(map(len, others)) >= self.workers:
            self._soon(functools.partial(self._dismiss, others[0].pop()))
        if threads not in self._crews:
            self._crews[threads] = crew = Crew(threads, settings(self._run, self._fork), self._environment(threads))
            for channel in crew.sockets:
                self._soon(functools.partial(self._selector.register, channel, READ, crew))
        worker = self._crews[threads].hire()
        self._soon(functools.partial(self._selector.register, worker, READ, worker))
        return worker

    def _environment(self, threads: int | None) -> dict[str, str]:
        usual = max(1, self._machine.cpus // self.workers)
        return environment(threads or usual, declared=threads is not None)

    def _hand_over(self, worker: Worker) -> None:
        """Send a worker its task."""
        task = worker.task
        if task is None or not task.set_running_or_notify_cancel():
            self._release(worker)
            return
        worker.started = time.monotonic()
        if worker.send(TASK, task.message) or task.is_watched:
            self._wake()

    def _release(self, worker: Worker) -> None:
        """Take a worker off its task, for the next one."""
        if worker.task is not None:
            self._backlog.give_back(worker.task)
        worker.task = None
        self._busy.discard(worker)
        if worker.is_leaving:
            self._dismiss(worker)
        else:
            self._idle[worker.threads].append(worker)

    def _dismiss(self, worker: Worker) -> None:
        """Let a worker without a task end itself."""
        with suppress(KeyError, ValueError):  # it may have closed its end before
            self._selector.unregister(worker)
        worker.close()

    def _kill(self, worker: Worker, verdict: BaseException) -> None:
        worker.verdict = worker.verdict or verdict
        worker.kill()

    # The thread that talks with workers

    def _start(self) -> None:
        if self._thread is None:
            self._selector.register(self._woken, READ, None)
            self._thread = threading.Thread(target=self._serve, name="drystone-pool", daemon=True)
            self._thread.start()
            pools.add(self)

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):
            self._waking.send(b"1")

    def _soon(self, chore: Callable[[], object]) -> None:
        """Leave to the thread what only it may do."""
        self._chores.append(chore)
        self._wake()

    def _serve(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as exc:  # nobody may wait for ever because something went wrong here
            self._fail(exc)
            raise
        finally:
            self._close()

    def _turn(self) -> bool:
        """Wait until something happens, and deal with it; whether there is more to do."""
        events = self._selector.select(self._pause)
        with self._lock:
            while self._chores:
                self._chores.popleft()()
            for key, mask in events:
                self._deal_with(key.data, mask)
            self._pause = self._watch_over()
            self._assign()
            is_done = self._is_shut_down and not (self._busy or self._backlog)
        while self._after:
            self._after.popleft()()
        return not is_done

    def _deal_with(self, source: Worker | Crew | None, mask: int) -> None:
        if source is None:
            self._woken.recv(4096)
            for worker in self._busy:
                self._listen(worker)
        elif isinstance(source, Crew):
            self._hear_of(source)
        else:
            self._hear(source, mask)

    def _listen(self, worker: Worker) -> None:
        """Wait for a worker's messages, and to go on with what it is sent; no more once it has closed its end."""
        with suppress(KeyError, ValueError):  # it has closed its end
            if worker.is_open:
                self._selector.modify(worker, READ | WRITE if worker.is_behind else READ, worker)
            else:
                self._selector.unregister(worker)

    def _hear(self, worker: Worker, mask: int) -> None:
        if mask & WRITE and not worker.flush():
            worker.started = time.monotonic()
        if mask & READ:
            for kind, payload in worker.receive():
                self._take(worker, kind, payload)
        if mask & WRITE or not worker.is_open:
            self._listen(worker)

    def _take(self, worker: Worker, kind: bytes, payload: bytes) -> None:
        """Take in what a worker says."""
        task = worker.task
        if kind == READY:
            worker.is_ready = True
            self._hand_over(worker)
        elif task is None or worker.verdict is not None:
            return  # it is on its way out
        elif kind == ASK:
            self._answerers.submit(self._answer, worker, task, payload.decode())
        elif kind == LEFT:
            worker.is_leaving = True
            self._after.append(functools.partial(warn, task, json.loads(payload)))
        else:
            self._release(worker)
            outcome = payload.decode() if kind == RESULT else raised(payload.decode())
            self._after.append(functools.partial(task.settle, outcome))

    def _answer(self, worker: Worker, task: Task, question: str) -> None:
        """Answer a step, in a thread that may take its time."""
        try:
            answer = f"\n{self._run.answer(question)}"
        except Exception as exc:
            answer = f"{type(exc).__name__}\n{type(exc).__name__}: {exc}"
        with self._lock:
            if worker.task is task and worker.send(ANSWER, answer.encode()):
                self._wake()

    def _hear_of(self, crew: Crew) -> None:
        """Take in what is said about workers."""
        try:
            for worker, end in crew.receive():
                self._lose(worker, end)
        except EOFError:
            self._disband(crew)

    def _lose(self, worker: Worker, end: int | str) -> None:
        """A worker is dead, or never lived."""
        for kind, payload in worker.rest():
            self._take(worker, kind, payload)
        task = worker.task
        self._dismiss(worker)
        self._busy.discard(worker)
        with suppress(ValueError):
            self._idle[worker.threads].remove(worker)
        if task is not None:
            self._backlog.give_back(task)
            error = died(task, end) if isinstance(end, int) else unstarted(task, end)
            self._after.append(functools.partial(task.settle, worker.verdict or error))

    def _disband(self, crew: Crew) -> None:
        """A warden is dead, and with it everything below it."""
        if self._crews.get(crew.threads) is not crew:
            return
        del self._crews[crew.threads]
        for channel in crew.sockets:
            self._selector.unregister(channel)
        for worker in [*crew.workers.values(), *crew.starting]:
            worker.kill()
            self._lose(worker, "the one that starts and ends workers died")
        crew.close()

    def _watch_over(self) -> float | None:
        """Kill the workers of tasks that are over a limit; the seconds until the next look."""
        waits = []
        for worker in self._busy:
            task = worker.task
            if task is None or not task.is_watched or not task.running() or worker.verdict is not None:
                continue
            verdict, wait = judged(worker, task)
            if verdict is not None:
                self._kill(worker, verdict)
            elif wait is not None:
                waits.append(wait)
        return min(waits, default=None)

    # The end

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._is_shut_down = True
            tasks = [*(worker.task for worker in self._busy if worker.task), *self._backlog]
        for task in tasks:
            task.settle(error)

    def _close(self) -> None:
        """End every process, and close what belongs to the pool."""
        with self._lock:
            crews = [*self._crews.values()]
            for crew in crews:
                crew.disown()
        for crew in crews:
            crew.close()
        self._answerers.shutdown(wait=False, cancel_futures=True)
        self._disown()

    def _disown(self) -> None:
        """Close the pool's own files."""
        self._selector.close()
        self._woken.close()
        self._waking.close()
        pools.discard(self)

    def forget(self) -> None:
        """In a process that was forked from the driver: the pool is not its own, and must not be held open by it."""
        self._lock, self._is_shut_down, self._thread = threading.Lock(), True, None
        for crew in self._crews.values():
            crew.disown()
        self._disown()


pools: weakref.WeakSet[Pool] = weakref.WeakSet()
"""Those with processes, which must not be left to themselves when this one ends or forks."""


@atexit.register
def _end_pools() -> None:
    for pool in [*pools]:
        pool.end()


def _forget_pools() -> None:
    for pool in [*pools]:
        pool.forget()


os.register_at_fork(after_in_child=_forget_pools)
