"""The process between a driver and its workers: it outlives the driver just long enough to end everything it started.

It runs nothing of a pipeline, so it is never stuck. It forks a template (`templates.py`), which imports the modules of
the pipeline and forks workers on request, and it adopts and ends whatever a dead worker leaves behind.

    driver ─ watch ─ warden ─ template ─ workers        each a child of the one before
    driver ────────── work ──── template                asks for workers, tells when they end
    driver ───────────────────────────── worker         tasks, and what becomes of them
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import Any

from drystone_local.processes import LINUX, adopt_orphans, children, end_all, kill, reaped
from drystone_local.templates import serve

TICK = 1.0
"""Seconds between two looks at who the parent is, and at what was adopted."""

PATIENCE = 0.5
"""Seconds for helpers such as trackers of shared memory to clean up after what they served."""


def main(watch: int, work: int, **settings: Any) -> None:
    """Keep watch until the driver closes its end of `watch`, on purpose or by its death; then end everything.

    Args:
        watch: File descriptor of a socket whose other end only the driver holds.
        work: File descriptor of a socket for the template.
        settings: For the template.
    """
    driver = os.getppid()
    adopt_orphans()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    warden = Warden(watch, work, settings)
    while warden.keeps(watch) and os.getppid() == driver:  # a fork of the driver may hold the socket open
        warden.end_adopted()
    end_all(PATIENCE)
    os._exit(0)


class Warden:
    """Starts the template, a second time without the pipeline's modules if importing them ended it, and watches it."""

    def __init__(self, watch: int, work: int, settings: dict[str, Any]) -> None:
        self._watch, self._work, self._settings = watch, work, settings
        self._woken, wake = socket.socketpair()
        self._wake = wake
        self._adopted: dict[int, float] = {}
        self._woken.setblocking(False)
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._start()

    def _start(self) -> None:
        self._is_ready, ready = os.pipe()
        os.set_blocking(self._is_ready, False)
        self.template = os.fork()
        if self.template == 0:
            _forget_signals()
            for mine in (self._watch, self._is_ready):
                os.close(mine)
            self._woken.close()
            self._wake.close()
            serve(socket.socket(fileno=self._work), ready, **self._settings)
        os.close(ready)

    def keeps(self, watch: int) -> bool:
        """Wait a moment; whether there is still something to keep watch over."""
        readable, _, _ = select.select([watch, self._woken.fileno()], [], [], TICK)
        if watch in readable:
            return False
        if self._woken.fileno() in readable:
            self._woken.recv(4096)
        return self.template not in dict(reaped()) or self._starts_again()

    def _starts_again(self) -> bool:
        """Try without the modules of the pipeline, unless that was tried or it was not they that ended the template."""
        if os.read(self._is_ready, 1) or not self._settings["modules"]:
            return False
        self._settings["modules"] = []
        os.close(self._is_ready)
        self._start()
        return True

    def end_adopted(self) -> None:
        """Kill orphans of dead workers that do not end by themselves."""
        now = time.monotonic()
        adopted = set(children(os.getpid())) - {self.template} if LINUX else set()
        self._adopted = {each: self._adopted.get(each, now) for each in adopted}
        kill(each for each, since in self._adopted.items() if now - since > PATIENCE)


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
