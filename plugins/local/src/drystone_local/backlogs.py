"""Tasks that wait for a worker, and which of them may be next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from drystone_local.machines import Machine
from drystone_local.tasks import NEEDS, Task


class Backlog:
    """Gives tasks out in the order they came, as far as the machine has what they declare to need.

    A task that declares something waits until enough is free, and lets pass only those that declare nothing; so none
    waits for ever.

    Args:
        machine: What running tasks may declare in sum.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._plain: deque[Task] = deque()
        self._demanding: deque[Task] = deque()
        self._used = dict.fromkeys(NEEDS, 0.0)

    def __bool__(self) -> bool:
        return bool(self._plain or self._demanding)

    def __iter__(self) -> Iterator[Task]:
        return iter([*self._plain, *self._demanding])

    def add(self, task: Task) -> None:
        """Let a task wait."""
        (self._demanding if task.is_demanding else self._plain).append(task)

    def take(self) -> Task | None:
        """The oldest task that may begin, and what it needs."""
        queues = [queue for queue in (self._plain, self._demanding) if self._has_fitting(queue)]
        if not queues:
            return None
        task = min(queues, key=lambda queue: queue[0].submitted).popleft()
        self._count(task, 1)
        return task

    def give_back(self, task: Task) -> None:
        """Free what a task needed."""
        self._count(task, -1)

    def _has_fitting(self, queue: deque[Task]) -> bool:
        while queue and queue[0].cancelled():
            queue.popleft().set_running_or_notify_cancel()
        return bool(queue) and (not queue[0].is_demanding or self._fits(queue[0]))

    def _fits(self, task: Task) -> bool:
        return all(self._used[name] + task.needs[name] <= getattr(self._machine, name) for name in NEEDS)

    def _count(self, task: Task, sign: int) -> None:
        for name in NEEDS if task.is_demanding else ():
            self._used[name] += sign * task.needs[name]
