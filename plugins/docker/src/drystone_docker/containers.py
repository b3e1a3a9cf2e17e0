"""Containers: each is the job of one attempt at a step."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Protocol

import attrs

from drystone.errors import DrystoneError, EngineUnreachableError, MemoryLimitError, WorkerDiedError
from drystone_docker.engines import Engine
from drystone_docker.failures import is_timeout, translated
from drystone_docker.streams import Attachment

logger = logging.getLogger(__name__)

SCRIPT = 'mkdir -p "$HOME" && cd "$HOME" && exec "$@" 2>&1'
"""What starts a command: in a directory that its user may write to, both streams in one, which keeps their order."""

KILLED = 128 + 9
"""The exit code of what was ended by SIGKILL, as the kernel does it to what takes too much memory."""

KEPT = "-failed"
"""What the name of a container ends with that is kept because its command failed."""

SETTLES = 1.0
"""Seconds after the end of a container in which the engine may still learn why it ended."""

ASKED_AGAIN = 60.0
"""Seconds after which an engine is asked once more whether a container runs, so that its absence is noticed."""

RECONNECTS = 60.0
"""Seconds for which an engine may be away, as when it is restarted, while a container is waited for."""


class Output(Protocol):
    """Where the output of a container comes from."""

    def pieces(self) -> Iterator[bytes]:
        """What is printed, as it is printed."""

    def close(self) -> None:
        """Give up the connection."""


@attrs.frozen
class FollowedLog:
    """The log of a container that somebody else has started, from its beginning."""

    engine: Engine
    id: str

    def pieces(self) -> Iterator[bytes]:
        """What it has printed, and what it prints."""
        with suppress(Exception):  # what is missing then, `wait` explains
            stream = self.engine.api.logs(self.id, stream=True, follow=True, stdout=True, stderr=True)
            try:
                yield from stream
            finally:
                stream.close()

    def close(self) -> None:
        """Nothing is open unless somebody reads."""


@attrs.define(eq=False)
class Container:
    """The job of one attempt at a step, in a container that is removed when it was waited for.

    Attributes:
        engine: Where it runs.
        id: The engine's name for it.
        name: A name for people.
        output: Where its output comes from.
        keeps_failed: Whether it is kept if its command fails.
    """

    engine: Engine
    id: str
    name: str
    output: Output
    keeps_failed: bool = False
    _is_unwanted: bool = False
    _begun: threading.Event = attrs.field(factory=threading.Event)
    _drained: threading.Event = attrs.field(factory=threading.Event)

    def logs(self) -> Iterator[bytes]:
        """What it prints, both streams in one, from the beginning and as it is printed; ends with the container."""
        self._begun.set()
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        try:
            yield from self.output.pieces()
        finally:
            self.output.close()
            self._drained.set()

    def wait(self) -> int:
        """Wait for its end and for all that it printed, and remove it; its exit code, or minus the signal.

        Raises:
            MemoryLimitError: It took more memory than it may.
            WorkerDiedError: It was removed, or never started.
            EngineUnreachableError: The engine does not answer any more.
        """
        try:
            state = self._ended()
            if self._begun.wait(0 if self._is_unwanted else SETTLES):
                self._drained.wait()
        finally:
            self.output.close()
        code = int(state["State"]["ExitCode"])
        self._let_go(code)
        self._check(state, code)
        return 128 - code if 128 < code <= 128 + 64 else code

    def cancel(self) -> None:
        """Kill everything in it at once, if it still runs."""
        self._is_unwanted = True
        _unless_gone(self.engine, "end a container", self.engine.api.kill, self.id)

    def _ended(self) -> dict[str, Any]:
        """What the engine says of it when it has ended."""
        gone = WorkerDiedError(
            f"The container {self.name} was removed while it ran, by somebody else than Drystone. `docker events "
            "--since 1h` on the engine's machine shows by whom and when."
        )
        lost = 0.0
        while True:
            try:
                with translated(self.engine.address, "wait for a container"):
                    self.engine.api.wait(self.id, timeout=ASKED_AGAIN)
                    return self._settled()
            except EngineUnreachableError as exc:
                if is_timeout(exc):
                    continue
                lost += SETTLES  # it may be restarted, and containers may survive that
                if lost > RECONNECTS:
                    raise
                threading.Event().wait(SETTLES)
            except DrystoneError as exc:
                if _is_absence(exc.__cause__):
                    raise gone from exc
                raise

    def _settled(self) -> dict[str, Any]:
        """What the engine says of its end, once it knows whether memory was the reason: that comes a little later."""
        for _ in range(20):
            state: dict[str, Any] = self.engine.api.inspect_container(self.id)
            is_clear = state["State"]["ExitCode"] != KILLED or state["State"]["OOMKilled"] or self._is_unwanted
            if is_clear or not state["HostConfig"]["Memory"]:
                break
            threading.Event().wait(SETTLES / 20)
        return state

    def _check(self, state: Mapping[str, Any], code: int) -> None:
        if state["State"]["Status"] == "created":
            raise WorkerDiedError(
                f"The container {self.name} was never started: {state['State']['Error'] or 'no reason'}."
            )
        if code == KILLED and state["State"]["OOMKilled"] and not self._is_unwanted:
            limit = state["HostConfig"]["Memory"]
            allowed = f"the {limit / (1 << 20):g} MiB that it may" if limit else "the machine has"
            raise MemoryLimitError(
                f"The container {self.name} took more memory than {allowed}, and was killed (exit code {KILLED}). Let "
                'the step have more: @step(resources=Resources(memory="8GiB")), or DockerOrchestrator(memory="8GiB") '
                "for all that say nothing."
            )

    def _let_go(self, code: int) -> None:
        """Remove it, with what it alone has; or keep it for whoever wants to see why it failed."""
        if code and self.keeps_failed and not self._is_unwanted:
            kept = f"{self.name}{KEPT}"
            _unless_gone(self.engine, "rename a container", self.engine.api.rename, self.id, kept)
            logger.warning(
                "The container %s is kept, since it failed: `docker logs %s` shows what it printed, `docker cp` copies "
                "its files, `docker rm -v %s` removes it.",
                *(kept, kept, kept),
            )
            return
        remove = partial(self.engine.api.remove_container, v=True, force=True)
        _unless_gone(self.engine, "remove a container", remove, self.id)


def _is_absence(exc: BaseException | None) -> bool:
    """Whether an engine answered that a container is not there, or not running."""
    return getattr(getattr(exc, "response", None), "status_code", 0) in (404, 409)


def _unless_gone(engine: Engine, doing: str, method: Callable[..., object], *given: Any) -> None:
    """Do something with a container, unless it is not there any more."""
    try:
        with translated(engine.address, doing):
            method(*given)
    except DrystoneError as exc:
        if not _is_absence(exc.__cause__):
            raise


def started(
    engine: Engine, name: str, command: Sequence[str], given: str, *, keeps_failed: bool, **settings: Any
) -> Container:
    """A container that runs a command.

    Args:
        engine: Where it runs.
        name: What it is to be called.
        command: What it runs.
        given: What it reads from its standard input; if that is nothing, it has none.
        keeps_failed: Whether it is kept if the command fails.
        settings: What else docker-py's `create_container` takes, `image` among it.
    """
    api = engine.api
    with translated(engine.address, "start a container"):
        id = api.create_container(
            name=name,
            entrypoint=["/bin/sh", "-c", SCRIPT, "drystone"],
            command=[*command],
            stdin_open=bool(given),
            healthcheck={"test": ["NONE"]},
            **settings,
        )["Id"]
        with ExitStack() as stack:
            stack.callback(
                _unless_gone, engine, "remove a container", partial(api.remove_container, v=True, force=True), id
            )
            streams = {"stdin": int(bool(given)), "stdout": 1, "stderr": 1, "stream": 1}
            attachment = Attachment(api.attach_socket(id, params=streams))
            stack.callback(attachment.close)
            api.start(id)
            if given:
                attachment.tell(given.encode())
            stack.pop_all()
    return Container(engine, id, name, attachment, keeps_failed)


def found(engine: Engine, labels: Mapping[str, str], keeps_failed: bool) -> list[tuple[Mapping[str, str], Container]]:
    """The containers with some labels, whoever started them, with all their labels; without those that are kept."""
    filters = {"label": [f"{name}={value}" if value else name for name, value in labels.items()]}
    with translated(engine.address, "list its containers"):
        there = engine.api.containers(all=True, filters=filters)
    named = [(each, each["Names"][0].lstrip("/") if each["Names"] else each["Id"][:12]) for each in there]
    return [
        (each["Labels"], Container(engine, each["Id"], name, FollowedLog(engine, each["Id"]), keeps_failed))
        for each, name in named
        if not name.endswith(KEPT)
    ]
