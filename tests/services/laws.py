"""The laws of a workspace, checked on a whole one, and what is done before that after an accident.

    python -m services.laws

opens the workspace of the working directory like any command, takes the drivers that are left running for dead, goes on
with what they left, and checks everything. It prints of each run what had become of it, its parameters and its output.
"""

from __future__ import annotations

import json
from collections import Counter

from drystone import Workspace
from drystone.locks import LeaseLock


def check(workspace: Workspace) -> None:
    """Check the laws I1 to I6 as far as they can be seen in a workspace at rest."""
    assert workspace.verify() == [], "I1, I4, I8: commits, index and bytes are whole"
    runs = workspace.runs(limit=None)
    for pipeline in {run.pipeline for run in runs}:
        assert_dense([run.number for run in runs if run.pipeline == pipeline], pipeline)
    check_versions(workspace)
    check_models(workspace)


def check_versions(workspace: Workspace) -> None:
    """I2, I4 and I6 of artifacts: numbers are dense, all can be loaded, no output of a run is there twice."""
    versions = workspace.artifacts(limit=None)
    for name in {version.name for version in versions}:
        assert_dense([version.version for version in versions if version.name == name], name)
    made = Counter((version.name, version.produced_by) for version in versions if version.produced_by)
    assert set(made.values()) <= {1}, f"I6: {[key for key, count in made.items() if count > 1]}"
    for version in versions:
        version.load()


def check_models(workspace: Workspace) -> None:
    """I2, I3 and I6 of models: numbers are dense, a run makes one version at most, a stage has one holder always."""
    for model in workspace.models(limit=None):
        versions = workspace.model_versions(model.name, limit=None)
        assert_dense([version.number for version in versions], model.name)
        runs = [run for version in versions for run in version.runs]
        assert len(runs) == len(set(runs)), f"I6: {runs}"
        holders: dict[str, int | None] = {}
        for move in workspace.stage_history(model.name):
            assert holders.get(move.stage) == move.previous, f"I3: {move}"
            holders[move.stage] = move.number
        held = {stage: version.number for version in versions for stage in version.stages}
        assert held == holders, "I3"


def assert_dense(numbers: list[int], of: str) -> None:
    """I2: 1, 2, 3 … without a gap and none twice."""
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), f"I2: {of}: {sorted(numbers)}"


def expire(workspace: Workspace, *names: str) -> None:
    """Let the leases of some running drivers, by default of all, be over, as if their time had passed."""
    with workspace.reading() as records:
        running = [run for run in records.index.running() if not names or run["name"] in names]
        locks = [workspace.lock(run["lock"]) for run in running]
    for lock in locks:
        assert isinstance(lock, LeaseLock)
        lock.ledger.lease(lock.name, lock.name, 0)


def main() -> None:
    """Complete what was left, and check everything."""
    workspace = Workspace.current()
    expire(workspace)
    workspace.mark_crashed()
    runs = workspace.runs(limit=None)
    assert {run.status for run in runs} <= {"succeeded", "failed", "crashed"}, "all drivers are gone"
    for run in runs:
        if run.status != "succeeded":
            workspace.resume(run.name)
    check(workspace)
    found = workspace.runs(limit=None)
    assert {run.status for run in found} <= {"succeeded"}, "I5: a re-run completes"
    before = {run.name: run.status for run in runs}
    print(json.dumps({run.name: [before[run.name], dict(run.parameters), run.output.load()] for run in found}))


if __name__ == "__main__":
    main()
