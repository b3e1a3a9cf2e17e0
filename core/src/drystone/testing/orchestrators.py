"""What every orchestrator does."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import pytest

from drystone.artifact_stores import CREATE, MAPPING, SHARED, ArtifactStore
from drystone.components import setting_to_json
from drystone.filesystems import FsspecArtifactStore
from drystone.orchestrators import CANCEL, ISOLATION, PARALLEL, RESOURCES, TIMEOUT, Orchestrator
from drystone.stacks import Stack
from drystone.testing import specimens
from drystone.testing.benches import BRIEFLY, Bench, expected, starts, taken_by
from drystone.testing.failing_runs import FailingRuns
from drystone.testing.marks import ended_before
from drystone.testing.specimens import ALL, BEHAVIOURS, FAILS, RETRIED, SHAPES, SUCCEEDS, VICTIMS, node_name, shapes
from drystone.testing.surroundings import Surroundings
from drystone.values import dumps, from_json, to_json
from drystone.workspaces import Workspace

CASES = [(shape, how) for shape in (*SHAPES, ALL) for how in (BEHAVIOURS if shape == ALL else (SUCCEEDS, FAILS))]
"""Graphs, and what a step of each does."""


class OrchestratorContract(FailingRuns, Surroundings, ABC):
    """What every orchestrator does.

    Inherit it, and say in one fixture how the orchestrator is made::

        class TestThreadedOrchestrator(OrchestratorContract):
            @pytest.fixture
            def orchestrator(self):
                return ThreadedOrchestrator(workers=4)

    Real pipelines run on it, in a fresh project. What it declares in `capabilities` is tried, what it does not declare
    has to be refused. An orchestrator that declares `parallel` must run two steps at once.

    Further fixtures:
        artifact_store: A store that its workers reach; by default files on this machine.
        secret_orchestrator: One with a secret among its settings, and the secret's text; by default nothing is tested
            of that.

    Class attributes:
        shares_files: Whether steps have the files of this machine, where they leave marks for each other. False for
            those that run in containers or elsewhere; then less is tested.
        patience: Seconds after which what has not happened will not happen; more where it takes long to start a step.
        large: Bytes of a large result.
        libraries: Modules that importing the orchestrator's package must leave alone, because they take long.
    """

    shares_files: ClassVar[bool] = True
    patience: ClassVar[float] = 20.0
    libraries: ClassVar[tuple[str, ...]] = ("boto3", "botocore", "docker", "kubernetes", "numpy", "pandas")

    @pytest.fixture
    @abstractmethod
    def orchestrator(self) -> Orchestrator:
        """The orchestrator under test."""

    @pytest.fixture
    def artifact_store(self, tmp_path: Path) -> ArtifactStore:
        """A store that the orchestrator's workers reach; by default files on this machine."""
        return FsspecArtifactStore(url=f"file://{tmp_path}/store")

    @pytest.fixture
    def secret_orchestrator(self) -> tuple[Orchestrator, str]:
        """An orchestrator with a secret among its settings, and its text; by default nothing is tested of it."""
        pytest.skip("The author gives no `secret_orchestrator`.")

    @pytest.fixture
    def bench(
        self,
        orchestrator: Orchestrator,
        artifact_store: ArtifactStore,
        drystone_workspace: Workspace,
        tmp_path: Path,
    ) -> Bench:
        """A stack with the orchestrator, in a fresh project."""
        stack = Stack("contract", orchestrator=orchestrator, artifact_store=artifact_store)
        return Bench(stack, drystone_workspace, str(tmp_path) if self.shares_files else "", self.patience)

    # Results

    @pytest.mark.parametrize(("shape", "behaviour"), CASES)
    def test_it_ends_as_plain_python_does(self, bench: Bench, shape: str, behaviour: str) -> None:
        """Whatever the shape of the graph, and whatever one of its steps does: statuses and values are right."""
        outcome = bench.run(specimens.shaped, shape, behaviour, bench.folder)
        values = outcome.values
        for each in shapes(shape):
            for node, right in expected(each, behaviour).items():
                name = node_name(each, node)
                found = outcome.statuses[name], values.get(name)
                assert found == right, (
                    f"In the shape {each!r}, where step {VICTIMS[each]!r} {behaviour}, step {node!r} "
                    f"{found[0]} with {found[1]!r}; it must have {right[0]} with {right[1]!r}. {outcome.error or ''}"
                )

    @pytest.mark.parametrize("behaviour", [SUCCEEDS, RETRIED])
    def test_each_step_runs_once_and_after_what_it_needs(self, bench: Bench, behaviour: str) -> None:
        """Once per attempt, and no step begins before all that it takes has ended."""
        bench.run(specimens.shaped, ALL, behaviour, bench.marked)
        noted = bench.marks()
        for shape, nodes in SHAPES.items():
            right = starts(shape, behaviour)
            begun = {name: noted.count(f"begin {name}") for name in right}
            assert begun == right, f"In the shape {shape!r}, steps were started {begun} times instead of {right}."
            for node, text in nodes.items():
                for before in taken_by(text):
                    first, last = (node_name(shape, each) for each in (before, node))
                    assert ended_before(noted, first, last), (
                        f"In the shape {shape!r}, {node!r} began before {before!r}, which it takes, had ended."
                    )

    def test_steps_run_beside_each_other_if_it_says_so(self, bench: Bench) -> None:
        """With the capability `parallel`, two steps meet; without it, one ends before the other begins."""
        is_parallel = bench.can(PARALLEL)
        outcome = bench.run(specimens.meeting, bench.marked, self.patience if is_parallel else BRIEFLY)
        met = all(outcome.outputs.values())
        assert met == is_parallel, (
            "It declares 'parallel', but runs one step after the other."
            if is_parallel
            else "It runs steps beside each other, but does not declare 'parallel'."
        )

    def test_a_second_run_is_not_the_first(self, bench: Bench) -> None:
        """Other parameters give other results, on the same instance."""
        answers = [bench.run(specimens.doubled, value).run.output.load() for value in (3, 4)]
        assert answers == [12, 16], "A later run was answered with what an earlier one made."

    def test_two_runs_at_once_do_not_mix(self, bench: Bench) -> None:
        """With the capability `parallel`, one instance serves two runs at the same time."""
        bench.needs(PARALLEL)
        first, second = bench.at_once(
            lambda: bench.run(specimens.meeting, bench.marked, self.patience, "left", "right"),
            lambda: bench.run(specimens.shaped, "diamond"),
        )
        assert first.outputs == {"left": True, "right": True}, "A run was disturbed by another one on the instance."
        right = {node_name("diamond", node): value for node, (_, value) in expected("diamond", SUCCEEDS).items()}
        assert second.values == right, "A run was disturbed by another one on the instance."

    # What it says of itself

    def test_its_capabilities_are_known_and_it_has_a_name(self, orchestrator: Orchestrator) -> None:
        """It declares nothing that Drystone does not know, of itself and of the artifact store it needs."""
        assert orchestrator.kind == "orchestrator", "The kind of an orchestrator is 'orchestrator'."
        assert orchestrator.name, "It has no name to be found by."
        known, of_stores = {PARALLEL, TIMEOUT, RESOURCES, CANCEL, ISOLATION}, {CREATE, SHARED, MAPPING}
        assert orchestrator.capabilities <= known, f"Capabilities of an orchestrator are {sorted(known)}."
        assert orchestrator.store_capabilities <= of_stores, f"Capabilities of a store are {sorted(of_stores)}."

    def test_it_can_be_copied(self, orchestrator: Orchestrator) -> None:
        """Through pickle, and through JSON as stacks in files and tasks have it."""
        pickled = pickle.loads(pickle.dumps(orchestrator))
        assert pickled == orchestrator, "Pickled and loaded, it is another one; are all settings fields of the class?"
        restored = from_json(json.loads(dumps(to_json(orchestrator))))
        assert restored == orchestrator, "Written as JSON and read, it is another one; are all settings plain values?"

    def test_nothing_is_wrong_with_one_that_works(self, orchestrator: Orchestrator) -> None:
        """`check` finds nothing."""
        assert [*orchestrator.check()] == [], "check() must yield nothing where nothing is wrong."

    def test_a_secret_is_not_shown(self, secret_orchestrator: tuple[Orchestrator, str]) -> None:
        """Neither in the repr, nor in descriptions, nor in JSON."""
        orchestrator, secret = secret_orchestrator
        for shown in (repr(orchestrator), str(setting_to_json(orchestrator)), dumps(to_json(orchestrator))):
            assert secret not in shown, "A secret's text is shown; use a field of type Secret."

    def test_importing_it_is_light(self, orchestrator: Orchestrator) -> None:
        """Importing its package imports no library that takes long: that waits until it is used."""
        package = type(orchestrator).__module__.partition(".")[0]
        code = f"import sys, {package}; print([name for name in {self.libraries!r} if name in sys.modules])"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode or done.stdout.strip() == "[]", f"import {package} imports {done.stdout}"
