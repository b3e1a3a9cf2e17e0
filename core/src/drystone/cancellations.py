"""Cancelling a run from elsewhere: its driver looks for requests, and whether the run still is its own."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from drystone.decisions import check_driven
from drystone.errors import RunLostError, WorkspaceError
from drystone.workspaces import Workspace

LOOK = 0.2
"""Seconds between two looks at what needs to be seen to; for a request as often, unless the workspace is shared."""


class Watch:
    """Looks for a request to cancel one run, in a thread of its own: `with Watch(…) as watch`.

    Args:
        workspace: Where that would stand.
        run: The run.
        epoch: How often it was started and claimed.
        wake: Called when there is a request, for a driver that waits.
        tend: Called at each look, for what needs to be seen to while steps run.

    Attributes:
        requested_by: Who wants the run to be cancelled; None while nobody does.
        lost: Why the run is not this driver's any more; None while it is.
        interruptible: Whether the thread that made this is inside a step, which a request has to interrupt.
    """

    def __init__(
        self,
        workspace: Workspace,
        run: str,
        epoch: int,
        wake: Callable[[], None],
        tend: Callable[[], None] = lambda: None,
    ) -> None:
        self.requested_by: str | None = None
        self.lost: RunLostError | None = None
        self.interruptible = False
        self._workspace = workspace
        self._run = run
        self._epoch = epoch
        self._wake = wake
        self._tend = tend
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="drystone-cancel", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        asked_at = time.monotonic()
        while not self._done.wait(LOOK):
            self._tend()
            is_time = time.monotonic() - asked_at >= self._workspace.pace - LOOK / 2
            if self.requested_by or self.lost or not is_time:  # it may know, and wait for steps that nobody can end
                continue
            asked_at = time.monotonic()
            with suppress(WorkspaceError):  # a disk that is full for a moment
                self._ask()
                if self.requested_by or self.lost:
                    self._interrupt()

    def _ask(self) -> None:
        with self._workspace.reading() as records:
            try:
                check_driven(records.index, self._run, self._epoch)
            except RunLostError as exc:
                self.lost = exc
            self.requested_by = (records.index.get("run", self._run) or {}).get("cancelled_by")

    def check(self) -> None:
        """Stop the driver if it has to stop.

        Raises:
            RunLostError: The run is not its own any more.
            KeyboardInterrupt: Somebody wants it to be cancelled.
        """
        if self.lost is not None:
            raise self.lost
        if self.requested_by is not None:
            raise KeyboardInterrupt

    def _interrupt(self) -> None:
        """Wake the driver; where it computes itself, as Ctrl-C would, unless the program handles that on its own."""
        self._wake()
        main = threading.main_thread()
        if self.interruptible and signal.getsignal(signal.SIGINT) is signal.default_int_handler and main.ident:
            signal.pthread_kill(main.ident, signal.SIGINT)
