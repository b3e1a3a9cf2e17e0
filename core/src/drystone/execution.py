"""The driver: what calling a pipeline starts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drystone.decisions import check_version_name
from drystone.errors import WorkspaceError
from drystone.events import Event, RunClaimed, RunStarted
from drystone.journals import declared
from drystone.pipelines import Pipeline
from drystone.planning import Planner
from drystone.preparation import Prepared, prepare, restored_options
from drystone.projects import find_pipeline, project_root, target_of
from drystone.replays import Announce, replayed, restored_parameters
from drystone.runs import COMPLETE, CRASHED, RUNNING, SUCCEEDED, Plan, Replay, Run
from drystone.signatures import host_name
from drystone.traversal import GROUP, Walk
from drystone.workspaces import LeaseLock, RunLock, View, Workspace


class Driver:
    """Runs and plans pipelines; implements `drystone.pipelines.Runner`."""

    def run(self, pipeline: Pipeline[Any, Any], parameters: Mapping[str, Any]) -> Run:
        """Run a pipeline on its stack and return the record.

        Raises:
            RunFailedError: It did not succeed.
            PlanError: It cannot run; nothing was started.
        """
        prepared = prepare(pipeline, parameters)
        _settle(prepared)
        with prepared.workspace.patient(GROUP), prepared.workspace.lock() as lock:
            return Walk(prepared, _announced(prepared, lock), epoch=1, done={}).finish()

    def plan(self, pipeline: Pipeline[Any, Any], parameters: Mapping[str, Any]) -> Plan:
        """What `run` would do."""
        prepared = prepare(pipeline, parameters, copies=False, provides=False)
        return Planner(prepared.hits).plan(prepared.stack.name, prepared.where)

    def resume(self, workspace: Workspace, run: str) -> Run:
        """Go on with a run that crashed, failed or was cancelled: what is done and still valid is kept.

        Raises:
            WorkspaceError: It is still running, has succeeded, or its code cannot be imported.
        """
        workspace.mark_crashed()
        record = workspace.run(run)
        if record.status in (RUNNING, SUCCEEDED):
            raise WorkspaceError(f"Run {run} is {record.status}; only a crashed, failed or cancelled run is resumed.")
        if record.target is None:
            raise WorkspaceError(
                f"Run {run} cannot be resumed: its pipeline is defined inside a function or a session, so it cannot be "
                "imported. Call the pipeline again; what it finished comes from the cache."
            )
        root = Path(record.root or project_root())
        found = find_pipeline(record.target, root)
        pipeline = found.with_options(**restored_options(run, record.options), stack=record.stack)
        crashed = [name for name, step in record.steps.items() if step.status == CRASHED]
        parameters = restored_parameters(workspace, record)
        prepared = prepare(pipeline, parameters, workspace=workspace, root=root, apart=crashed, at=record.started_at)
        _settle(prepared)
        with workspace.patient(GROUP), workspace.lock() as lock:
            epoch = _claimed(workspace, run, lock)
            done = {name: step for name, step in record.steps.items() if step.status in COMPLETE}
            return Walk(prepared, run, epoch, done).finish()

    def replay(self, workspace: Workspace, run: str, step: str, *, debug: bool, announce: Announce | None) -> Replay:
        """Run a step again on its recorded inputs, in this process, and record nothing.

        Raises:
            ReplayError: It cannot be called as it was.
        """
        return replayed(workspace, run, step, debug=debug, announce=announce)


def _settle(prepared: Prepared) -> None:
    """Look ahead where stored bytes are only believed in, so that what is lost is made anew before it is read."""
    if prepared.hits.holdings.believes:
        Planner(prepared.hits).settle()


def _announced(prepared: Prepared, lock: RunLock | LeaseLock) -> str:
    """Commit the start of a run; returns its name."""
    graph, role = prepared.graph, prepared.role
    commit, dirty = _git_state(prepared.root)
    name = ""

    def decide(view: View) -> list[Event]:
        nonlocal name
        if role is not None and role.candidate:
            check_version_name(view, role.model.name, role.version_name)
        number = view.next_number("run", graph.pipeline)
        name = f"{graph.pipeline}-{number}"
        started = RunStarted(
            run=name,
            number=number,
            pipeline=graph.pipeline,
            stack=prepared.stack.name,
            components=prepared.stack.inventory(),
            parameters=prepared.parameters,
            references=prepared.references,
            options=prepared.asked,
            target=target_of(prepared.pipeline),
            root=str(prepared.root),
            tags=dict(prepared.pipeline.options.tags),
            model=role.model.name if role is not None else None,
            commit=commit,
            dirty=dirty,
            host=host_name(),
            pid=os.getpid(),
            lock=lock.name,
            steps=(*graph.nodes,),
            upstream=graph.upstream,
        )
        return [started, *declared(view, role)]

    prepared.workspace.commit(decide)
    return name


def _claimed(workspace: Workspace, run: str, lock: RunLock | LeaseLock) -> int:
    """Take a dead run over; of several drivers one wins. Returns the new epoch."""
    epoch = 0

    def decide(view: View) -> list[Event]:
        nonlocal epoch
        if any(each["name"] == run for each in view.running()):
            raise WorkspaceError(f"Run {run} is running: another driver has resumed it.")
        epoch = view.epoch(run) + 1
        return [RunClaimed(run=run, epoch=epoch, host=host_name(), pid=os.getpid(), lock=lock.name)]

    workspace.commit(decide)
    return epoch


def _git_state(root: Path) -> tuple[str | None, bool]:
    """The commit of the project and whether tracked files differ from it."""
    if not any((parent / ".git").exists() for parent in (root, *root.parents)):
        return None, False
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return None, False
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid")), None)
    return (None if commit == "(initial)" else commit), any(not line.startswith("#") for line in lines)
