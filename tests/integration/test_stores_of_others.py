"""What is stored elsewhere: read from whoever has it, believed in until it is read, copied where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from drystone import FsspecArtifactStore, Model, Run, Stack, Workspace, pipeline, step
from drystone.artifact_stores import SHARED
from drystone.blobs import blob_key
from drystone.errors import BlobLostError, NotFoundError, PlanError, StackError, StageError, StoreUnreachableError
from drystone.testing import MemoryArtifactStore, faulty, memory_stack
from drystone_local import LocalArtifactStore

asked: list[str] = []
"""What was asked of stores of the class below: a word for each call."""


@attrs.frozen(kw_only=True)
class RemoteArtifactStore(MemoryArtifactStore):
    """A store that other machines share, as far as anybody can tell, and that counts its round trips."""

    @property
    def capabilities(self) -> frozenset[str]:
        return super().capabilities | {SHARED}

    def size(self, key: str) -> int | None:
        asked.append("size")
        return super().size(key)

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        asked.append("read")
        return super().read_range(key, start, length)

    def download(self, key: str, local_path: Path) -> None:
        asked.append("read")
        super().download(key, local_path)

    def write(self, key: str, data: bytes) -> None:
        asked.append("write")
        super().write(key, data)


@step
def first(n: int) -> list[int]:
    return list(range(n))


@step
def second(xs: list[int]) -> list[int]:
    return [x + 1 for x in xs]


@step
def third(xs: list[int], plus: int = 0) -> int:
    return sum(xs) + plus


@pipeline
def chain(n: int = 3, plus: int = 0) -> int:
    return third(second(first(n)), plus)


@pipeline
def consumer(xs: list[int]) -> int:
    return third(xs)


@pipeline(model=Model("m"))
def training() -> list[int]:
    return first(7)


@pytest.fixture
def remote(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack whose artifact store is remote."""
    store = RemoteArtifactStore(shelf=request.node.name)
    yield memory_stack("remote", artifact_store=store)
    store.clear()


@pytest.fixture
def away(project: Path) -> Stack:
    """A stack whose artifact store is another directory of this machine."""
    return memory_stack("away", artifact_store=LocalArtifactStore(str(project / "away")))


def run(stack: Stack, name: str = "chain", **parameters: object) -> Run:
    found = {"chain": chain, "consumer": consumer, "training": training}[name]
    return found.with_options(stack=stack)(**parameters)


def planned(stack: Stack, **parameters: int) -> list[str]:
    """The steps of the chain that would run."""
    plan = chain.with_options(stack=stack).plan(**parameters)
    return [name for name, each in plan.steps.items() if each.runs]


def keys(run: Run, step: str) -> list[str]:
    return [blob_key(blob.digest) for each in run.steps[step].outputs.values() for blob in each.manifest.blobs]


def lose(stack: Stack, run: Run, step: str) -> None:
    for key in keys(run, step):
        stack.artifact_store.delete(key)


# Belief


def test_a_cached_run_asks_a_remote_store_for_nothing(workspace: Workspace, remote: Stack) -> None:
    run(remote)
    asked.clear()
    assert run(remote).executed == 0
    assert asked == []


def test_only_what_is_about_to_be_read_is_looked_for(workspace: Workspace, remote: Stack) -> None:
    run(remote)
    asked.clear()
    assert planned(remote, plus=1) == ["third"]
    assert asked == ["size"], "the one blob that third reads"


def test_what_is_lost_is_made_anew_before_somebody_reads_it(workspace: Workspace, remote: Stack) -> None:
    lose(remote, run(remote), "second")
    plan = chain.with_options(stack=remote).plan(plus=1)
    assert (plan.steps["second"].status, plan.steps["second"].causes[0].kind) == ("run", "blob")
    again = run(remote, plus=1)
    assert {name: each.status for name, each in again.steps.items()} == {
        "first": "cached",
        "second": "succeeded",
        "third": "succeeded",
    }


def test_a_loss_that_shows_what_else_is_read_is_followed(workspace: Workspace, remote: Stack) -> None:
    begun = run(remote)
    for name in ("first", "second"):
        lose(remote, begun, name)
    again = run(remote, plus=1)
    assert (again.executed, again.output.load()) == (3, 7)


@pytest.mark.parametrize("way", ["load", "verify"])
def test_a_loss_that_is_noticed_once_is_known_to_everybody(workspace: Workspace, remote: Stack, way: str) -> None:
    done = run(remote)
    lose(remote, done, "third")
    assert run(remote).executed == 0, "nobody has looked"
    if way == "load":
        with pytest.raises(BlobLostError, match="Run the pipeline again"):
            done.output.load()
    else:
        assert [each.subject for each in workspace.verify()] == ["chain.third@1"]
    again = run(remote)
    assert (again.steps["third"].reason, again.output.load()) == (
        "chain.third@1: its blobs are missing or damaged in the artifact store",
        6,
    )
    assert run(remote).executed == 0
    assert workspace.verify() == []


def test_an_input_that_is_lost_is_told_before_the_run_and_made_anew_by_its_own(
    workspace: Workspace, remote: Stack
) -> None:
    done = run(remote, "training")
    lose(remote, done, "first")
    with pytest.raises(PlanError, match=r"The input training.first@1 cannot be read: .* Run what makes it again"):
        run(remote, "consumer", xs=done.output)
    assert run(remote, "training").executed == 1
    assert run(remote, "consumer", xs=done.output).output.load() == 21


def test_a_local_store_is_always_looked_at(workspace: Workspace, away: Stack) -> None:
    lose(away, run(away), "third")
    assert run(away).executed == 1


# Hits


def test_a_hit_brings_only_the_blobs_that_are_missing(workspace: Workspace, remote: Stack, away: Stack) -> None:
    begun = run(away)
    for key in keys(begun, "second"):
        remote.artifact_store.write(key, away.artifact_store.read_range(key, 0, None))
    asked.clear()
    assert run(remote).executed == 0
    assert asked.count("write") == 2
    assert workspace.artifact("chain.second").manifest.copies == (remote.artifact_store.identity,)
    asked.clear()
    assert run(remote).executed == 0
    assert asked == [], "what it holds is on record"


def test_a_plan_copies_and_records_nothing(workspace: Workspace, remote: Stack, away: Stack) -> None:
    run(away)
    commits = workspace.info()["commits"]
    asked.clear()
    assert planned(remote) == []
    assert "write" not in asked
    assert workspace.info()["commits"] == commits


def test_what_only_another_machine_has_is_a_miss_that_says_where(workspace: Workspace, remote: Stack) -> None:
    gone = memory_stack("gone", artifact_store=LocalArtifactStore(str(workspace.directory / "gone")))
    run(gone)
    host = workspace.run("chain-1").host
    workspace.close()
    plan = chain.with_options(stack=remote).plan()
    assert plan.steps["third"].status == "maybe"
    assert f"chain.first@1: its blobs are only in the local store of {host}, which is out of reach" in str(
        plan.steps["first"].causes[0]
    )


# Pushing and pulling


def test_what_was_pushed_is_read_where_its_own_store_is_not(workspace: Workspace, remote: Stack, away: Stack) -> None:
    version = run(away).output
    assert len(workspace.push([version], remote).copied) == 1
    assert workspace.push([version], remote).there == 1
    elsewhere = Workspace(workspace.directory)
    with pytest.raises(NotFoundError, match=r"out of reach.*`drystone artifacts push` there"):
        elsewhere.artifact("chain.third").load()
    elsewhere.bind_store(remote.artifact_store)
    assert elsewhere.artifact("chain.third").load() == 6
    assert [each.kind for each in elsewhere.verify() if each.subject == "chain.third@1"] == []
    elsewhere.close()


def test_a_pushed_version_is_whole_as_long_as_one_store_has_it(
    workspace: Workspace, remote: Stack, away: Stack
) -> None:
    done = run(away)
    workspace.push([done.output], remote)
    lose(away, done, "third")
    (finding,) = workspace.verify()
    assert finding.remedy.startswith("Another store holds it")
    assert done.output.load() == 6
    assert workspace.pull([workspace.artifact("chain.third")], away).size > 0
    assert workspace.verify() == []


def test_damaged_bytes_never_travel(workspace: Workspace, remote: Stack, away: Stack) -> None:
    done = run(away)
    (key,) = keys(done, "second")
    away.artifact_store.write(key, b"damaged!!")
    with pytest.raises(BlobLostError, match=r"chain.second@1 cannot be copied to .*it is damaged in local:"):
        workspace.push(workspace.artifacts(), remote)
    assert not remote.artifact_store.exists(key)
    assert all(remote.artifact_store.exists(each) for name in ("first", "third") for each in keys(done, name))
    assert workspace.artifact("chain.third").manifest.copies
    assert not workspace.artifact("chain.second").manifest.copies


def test_nothing_is_pushed_to_where_nobody_else_can_read_it(workspace: Workspace, away: Stack) -> None:
    version = run(away).output
    with pytest.raises(StackError, match=r"only this machine can reach.*`drystone artifacts pull`"):
        workspace.push([version], away)
    assert workspace.pull([version]).copied
    assert workspace.artifact("chain.third").manifest.copies == (), "others could not read it there"


def test_lists_are_pushed_with_their_parts(workspace: Workspace, remote: Stack, away: Stack) -> None:
    @pipeline
    def mapped() -> list[int]:
        return third.map([[1], [2], [3]])

    version = mapped.with_options(stack=away)().output
    assert len(workspace.push([version], remote).copied) == 4
    elsewhere = Workspace(workspace.directory)
    elsewhere.bind_store(remote.artifact_store)
    assert elsewhere.artifact(version.name).load() == [1, 2, 3]
    elsewhere.close()


# Promotions


def test_a_version_that_nobody_else_could_read_is_not_promoted_in_a_shared_workspace(
    project: Path, away: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    monkeypatch.setenv("DRYSTONE_WORKSPACE", f"file://{project}/team")
    shared = Workspace.current()
    done = run(away, "training")
    with pytest.raises(StageError, match=r"drystone artifacts push training.first@1 --to STACK"):
        shared.promote("m", 1, "production")
    team = memory_stack("team", artifact_store=FsspecArtifactStore(url=f"file://{project}/blobs"))
    shared.push(done.outputs.values(), team)
    assert shared.promote("m", 1, "production").number == 1
    shared.close()


def test_a_local_workspace_promotes_what_it_has(workspace: Workspace, away: Stack) -> None:
    run(away, "training")
    assert workspace.promote("m", 1, "production").stages == ("production",)


# Maps


@pipeline
def mapped(xs: list[int], plus: int = 0) -> int:
    return third(twice.map(xs), plus)


@step
def twice(x: int) -> int:
    return 2 * x


def test_elements_that_a_remote_store_lost_are_made_anew(workspace: Workspace, remote: Stack) -> None:
    flow = mapped.with_options(stack=remote)
    element = flow([1, 2, 3]).steps["twice"].elements[1]
    (key,) = [blob_key(blob.digest) for each in element.outputs.values() for blob in each.manifest.blobs]
    remote.artifact_store.delete(key)
    asked.clear()
    assert flow([1, 2, 3]).executed == 0
    assert asked.count("size") == 0
    again = flow([1, 2, 3], plus=1)
    assert (again.executed, again.output.load()) == (2, 13), "the element, and what reads it"
    remote.artifact_store.delete(key)
    wider = flow([1, 2, 3, 4])
    assert (wider.executed, wider.output.load()) == (3, 20), "one that is new, one that is lost, and what reads them"
    remote.artifact_store.delete(key)
    assert flow.plan([1, 2, 3, 5]).steps["twice"].elements == {"run": 2, "cached": 2}


def test_a_store_that_does_not_answer_is_a_miss_that_says_so(workspace: Workspace, remote: Stack) -> None:
    other = memory_stack("other", artifact_store=MemoryArtifactStore(shelf="of another"))
    begun = run(other)
    silent = faulty(
        other.artifact_store, fail={"download": True, "size": True}, error=StoreUnreachableError("Nobody answers.")
    )
    workspace.bind_store(silent)
    plan = chain.with_options(stack=remote).plan()
    assert "chain.first@1: its blobs cannot be had: Nobody answers" in str(plan.steps["first"].causes[0])
    again = run(remote)
    assert (again.executed, again.output.load()) == (3, begun.output.load())
    assert "its blobs cannot be had: Nobody answers" in again.steps["first"].reason
