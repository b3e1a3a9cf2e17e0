"""How long a new machine needs for a shared workspace that others have filled, and an old one for what is new.

Run by hand: `python tests/benchmarks/opening.py`; with `--smoke`, small sizes that only show that it works. `--url`
takes the URL of an empty workspace elsewhere than in a temporary directory, such as in a bucket.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from drystone import Workspace
from drystone.artifacts import Blob, Manifest
from drystone.events import (
    ArtifactSaved,
    CodeRecorded,
    Event,
    Linked,
    MetadataLogged,
    ModelVersionCreated,
    RunFinished,
    RunStarted,
    SourceRecorded,
    StepFinished,
    StepStarted,
    event_to_json,
)
from drystone.ledgers import Commit, Head, next_commit
from drystone.locations import opened_ledger

STEPS = 10
EVENTS = 5 * STEPS + 3
"""Events of one run."""


def digest(text: str) -> str:
    """Something that looks like a digest."""
    return f"{hash(text) & (1 << 62) - 1:016x}" * 4


def groups(number: int) -> Iterator[list[Event]]:
    """The commits of one run, as a driver makes them: the end of a step goes with the start of the next one."""
    run, names = f"training-{number}", [f"step_{each}" for each in range(STEPS)]
    described = {"orchestrator": {"class": "drystone_local:LocalOrchestrator", "settings": {"workers": 4}}}
    upstream = {name: (before,) for before, name in itertools.pairwise(names)}
    parameters = {"month": number, "depth": 8, "rate": 0.1, "path": "data/flights.parquet"}
    told = {"components": described, "parameters": parameters, "tags": {"team": "ops"}, "upstream": upstream}
    yield [
        RunStarted(run=run, number=number, pipeline="training", stack="team", model="m", steps=(*names,), **told),
    ]
    ended: list[Event] = []
    for place, name in enumerate(names):
        facts = {
            "run": run,
            "step": name,
            "key": digest(f"{run}/{name}"),
            "closure": digest(name),
            "parameters": {"depth": "8", "rate": "0.1"},
            "values": {"depth": digest("8"), "rate": digest("0.1")},
            "inputs": {"data": (f"training.step_{place - 1}", number)} if place else {},
            "input_digests": {"data": digest(f"{run}/step_{place - 1}")} if place else {},
            "causes": (("parameter", f"parameter month {number - 1} → {number}", "month"),),
            "compared_with": (f"training-{number - 1}", digest(name)),
        }
        new: list[Event] = []
        if number == 1:
            code = {"members": {f"flights.{name}": digest(f"{name}.py")}, "python": "3.11", "packages": {"pandas": "2"}}
            new = [CodeRecorded(closure=digest(name), **code)]
            new += [SourceRecorded(digest=digest(f"{name}.py"), name=name, text=f"def {name}(data): ...\n" * 20)]
        if not place:
            new.append(ModelVersionCreated(model="m", number=number, run=run))
        yield [*ended, *new, StepStarted(**facts, where="inline")]
        artifact = f"training.{name}"
        blobs = (Blob("value.parquet", digest(f"blob {run}/{name}"), 123_456),)
        manifest = Manifest(
            digest=digest(f"{run}/{name}"),
            type="pandas.core.frame.DataFrame",
            materializer="pandas",
            materializer_version=1,
            blobs=blobs,
            store="s3://flights/artifacts",
        )
        metadata = {"rows": 1000, "columns": 12, "seconds": 0.25}
        logged = {"accuracy": 0.9, "auc": 0.8}
        ended = [
            ArtifactSaved(
                name=artifact,
                version=number,
                kind="data",
                manifest=manifest,
                metadata=metadata,
                run=run,
                step=name,
                output="output",
            ),
            Linked(model="m", number=number, artifact=artifact, version=number),
            StepFinished(
                **facts, status="succeeded", attempts=1, outputs={"output": (artifact, number)}, metadata=logged
            ),
            MetadataLogged(kind="model_version", record=f"m@{number}", values=logged),
        ]
    yield [*ended, RunFinished(run=run, status="succeeded", executed=STEPS, model_version=("m", number))]


def commits(head: Head, first: int, runs: int) -> Iterator[Commit]:
    """The commits of so many runs."""
    for number in range(first, first + runs):
        for events in groups(number):
            commit = next_commit(head, [event_to_json(event) for event in events], "somebody@example.org")
            head = commit.head
            yield commit


def filled(url: str, events: int) -> tuple[int, int]:
    """Fill a ledger; returns how many runs and commits are in it."""
    ledger, runs = opened_ledger(url), max(2, events // EVENTS)
    count = 0
    for commit in commits(Head(), 1, runs):
        ledger.append(commit)
        count += 1
    return runs, count


def seconds(call: Callable[[], object]) -> str:
    """Wall seconds of one call, and processor seconds, since the speed of a shared machine drifts."""
    wall, spent = time.perf_counter(), time.process_time()
    call()
    return f"{time.perf_counter() - wall:6.2f} s, {time.process_time() - spent:6.2f} s of work"


def machine(folder: Path, name: str) -> None:
    """Be somebody with another home from here on."""
    os.environ["XDG_CACHE_HOME"] = str(folder / name)


def measure(folder: Path, url: str, events: int, news: int) -> None:
    """Print every figure with its bar."""
    os.fsync = lambda fd: None  # filling is not what is measured
    runs, count = filled(url, events)
    print(f"{runs * EVENTS:,} events in {count:,} commits of {runs:,} runs")
    print(f"reading and checking them alone         {seconds(lambda: list(opened_ledger(url).read()))}")
    machine(folder, "ann")
    print(f"a new machine, from segments            {seconds(lambda: opened(url, runs))}  (bar 8)")
    workspace = Workspace(url)
    print(f"making a checkpoint                     {seconds(workspace.keep_checkpoint)}")
    machine(folder, "ben")
    print(f"a new machine, from a checkpoint        {seconds(lambda: opened(url, runs))}  (bar 3)")
    machine(folder, "ann")
    print(f"an old machine, with nothing new        {seconds(lambda: opened(url, runs))}")
    ledger = opened_ledger(url)
    more = max(1, news // (STEPS + 2))
    for commit in commits(ledger.head(), runs + 1, more):
        ledger.append(commit)
    taken = seconds(lambda: workspace.runs(limit=1))
    print(f"catching up with {more * (STEPS + 2):,} commits            {taken}  (bar 2)")
    print(f"a small commit                          {seconds(lambda: workspace.create_model_version('x'))}")
    print(f"the copy on this machine                {(workspace.directory / 'workspace.db').stat().st_size:,} bytes")


def opened(url: str, runs: int) -> None:
    """Open a workspace and ask it something."""
    workspace = Workspace(url)
    assert workspace.runs(limit=1)[0].name == f"training-{runs}"
    workspace.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--url")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(folder, given.url or f"file://{folder}/team", *((1_000, 24) if given.smoke else (100_000, 1_000)))


if __name__ == "__main__":
    main()
