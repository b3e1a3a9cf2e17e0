"""What a workspace answers: runs, artifacts, models, and what planning asks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

from drystone.artifacts import LATEST, ArtifactVersion, Reference, Source
from drystone.comparisons import RunDiff, run_diff
from drystone.databases import Database
from drystone.decisions import number_of
from drystone.errors import NotFoundError
from drystone.explanations import explanation
from drystone.ledgers import FORMAT
from drystone.logs import LogReader, live_path
from drystone.models import SHARED, Model, ModelRecord, ModelVersion, StageMove
from drystone.pipelines import runner
from drystone.records import Records
from drystone.runs import Explanation, Replay, Run, StepRun


def name_of(model: str | Model) -> str:
    """The name of a model, given itself or by name."""
    return model if isinstance(model, str) else model.name


def _run_name(run: str | Run) -> str:
    return run if isinstance(run, str) else run.name


class Queries:
    """The reading side of a workspace."""

    directory: Path
    url: str | None
    _database: Database

    @contextmanager
    def reading(self) -> Iterator[Records]:
        """Records of one moment, for questions that have no method of their own."""
        with self._database.snapshot() as (_, index):
            yield Records(index, cast(Source, self))

    def info(self) -> dict[str, Any]:
        """What the workspace is and how much it holds.

        Of a shared one also whether it answers (`reachable`), how many commits were not here before (`lag`, None if it
        does not answer), since when (`fetched_at`, `age`), its `size` in bytes, the `round_trip` in seconds, and who
        wrote to it of late (`writers`).
        """
        kinds = {"runs": "run", "artifact_versions": "artifact", "models": "model"}
        copied = self._database.state()
        with self._database.snapshot() as (ledger, index):
            head = ledger.head()
            counts = {name: index.count(kind) for name, kind in kinds.items()}
        location = self.url or str(self.directory)
        return {"location": location, "format": FORMAT, "commits": head.seq, "head": head.digest} | counts | copied

    def run(self, name: str) -> Run:
        """One run, as `training-17`.

        Raises:
            NotFoundError: There is none of that name.
        """
        with self.reading() as records:
            return records.found_run(name)

    def live_log(self, run: str, step: str, attempt: int) -> LogReader:
        """What an attempt at a step prints, to be read while it runs; afterwards its log is with the step."""
        return LogReader(live_path(self.directory, run, step, attempt))

    def read_live_log(self, run: str, step: str, attempt: int) -> str:
        """The text of a step's log so far."""
        reader = self.live_log(run, step, attempt)
        with closing(reader):
            text = b"".join(iter(reader.read, b"")).decode("utf-8", "replace")
        if reader.was_found:
            return text
        with self.reading() as records:
            ended = records.found_step(run, step)
        return ended.logs() if ended.log else ""

    def runs(
        self,
        *,
        pipeline: str | None = None,
        status: str | None = None,
        tag: str | None = None,
        model: str | Model | None = None,
        limit: int | None = 50,
    ) -> list[Run]:
        """Runs, the newest first. A tag is given as `name` or `name=value`."""
        facts = {"parent": pipeline, "status": status, "model": model and name_of(model)}
        with self.reading() as records:
            found = records.index.select("run", facts, tag=tag, limit=limit)
            return [records.run(body) for body in found]

    def step(self, run: str, name: str) -> StepRun:
        """One step of a run, or one element of a map, as `sq[3]`.

        Raises:
            NotFoundError: There is none of that name.
        """
        with self.reading() as records:
            return records.step_at(run, name)

    def elements(self, run: str, step: str) -> list[StepRun]:
        """The elements of a map; `StepRun.elements` asks for them."""
        with self.reading() as records:
            return records.elements(run, step)

    def why(self, run: str | Run, step: str | None = None) -> Explanation:
        """Why the steps of a run, or one of them, ran, came from the cache, were skipped or failed.

        Raises:
            NotFoundError: There is no such run, or it has no such step.
        """
        with self.reading() as records:
            return explanation(records, records.found_run(_run_name(run)), step)

    def diff(self, before: str | Run, after: str | Run) -> RunDiff:
        """What two runs have differently: parameters, code, inputs, statuses, outputs, metadata, durations.

        Raises:
            NotFoundError: There is no such run.
        """
        with self.reading() as records:
            return run_diff(records, *(records.found_run(_run_name(run)) for run in (before, after)))

    def replay(
        self, run: str | Run, step: str, *, debug: bool = False, announce: Callable[[Replay], object] | None = None
    ) -> Replay:
        """Run one step again on what it was given in a run: here, with the code as it is now. Nothing is recorded.

        Args:
            run: A run in which the step began, or its result came from the cache.
            step: Its name there.
            debug: Enter the debugger where it raises.
            announce: Is given what is known before the step is called, such as how its code differs.

        Raises:
            ReplayError: It cannot be called as it was: inputs are deleted, lost or changed. All reasons are listed.
            NotFoundError: There is no such run or step.
        """
        return runner().replay(self, _run_name(run), step, debug=debug, announce=announce)

    def artifact(self, name: str, version: int | str = LATEST) -> ArtifactVersion:
        """One version of an artifact.

        Raises:
            NotFoundError: There is none of that name or number.
        """
        with self.reading() as records:
            return records.found_version(name, version)

    def artifacts(
        self,
        *,
        name: str | None = None,
        tag: str | None = None,
        kind: str | None = None,
        run: str | None = None,
        limit: int | None = 50,
    ) -> list[ArtifactVersion]:
        """Artifact versions, the newest first. A tag is given as `name` or `name=value`."""
        with self.reading() as records:
            found = records.index.select("artifact", {"parent": name, "kind": kind, "run": run}, tag=tag, limit=limit)
            return [records.artifact(body) for body in found]

    def resolve(self, reference: Reference) -> ArtifactVersion:
        """The artifact version that a lazy reference means now.

        Raises:
            NotFoundError: It means none; the message says what there is.
        """
        with self.reading() as records:
            if reference.model is None:
                return records.found_version(reference.name, reference.version)
            view, (model, selector) = records.index, reference.model
            number = None if selector in (None, SHARED) else number_of(view, model, selector)
            version = view.newest_linked(model, number, reference.name, reference.version)
            if version is None:
                of = model if number is None else f"{model}@{number}"
                known = dict.fromkeys(name for role, name, _ in view.linked(model, number) if role != "run")
                linked = ", ".join(known) or "nothing"
                wanted = reference.name if reference.version == LATEST else f"{reference.name}@{reference.version}"
                raise NotFoundError(f"{of} has no artifact {wanted!r}. Linked to it: {linked}.")
            return records.found_version(reference.name, version)

    def lineage(self, version: ArtifactVersion, depth: int = 8) -> dict[str, Any]:
        """What an artifact version was made of and what was made of it, as a tree of plain values."""
        with self.reading() as records:
            return {**_made_of(records, version, depth), "used_by": _made_from(records, version, depth)}

    def models(self, *, tag: str | None = None, limit: int | None = 50) -> list[ModelRecord]:
        """Models, by name."""
        with self.reading() as records:
            return [records.model(body) for body in records.index.select("model", tag=tag, order="name", limit=limit)]

    def model_version(self, model: str | Model, version: int | str = LATEST) -> ModelVersion:
        """One version of a model, by number, name, stage, or `latest`: the highest whose run succeeded.

        Raises:
            NotFoundError: There is none.
        """
        with self.reading() as records:
            return records.model_version(name_of(model), number_of(records.index, name_of(model), version))

    def model_versions(
        self, model: str | Model, *, tag: str | None = None, limit: int | None = 50
    ) -> list[ModelVersion]:
        """Versions of a model, the newest first."""
        name = name_of(model)
        with self.reading() as records:
            found = records.index.select("model_version", {"parent": name}, tag=tag, limit=limit)
            return [records.model_version(name, body["number"]) for body in found]

    def compare(self, model: str | Model, versions: Iterable[int | str]) -> dict[int, dict[str, Any]]:
        """The metadata of some versions of a model, by number."""
        found = [self.model_version(model, version) for version in versions]
        return {each.number: dict(each.metadata) for each in found}

    def stage_history(self, model: str | Model, stage: str | None = None) -> list[StageMove]:
        """Every move of a model's stages, the oldest first."""
        with self.reading() as records:
            return records.moves(name_of(model), stage)


def _made_of(records: Records, version: ArtifactVersion, depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"artifact": str(version), "type": version.type, "digest": version.digest}
    if version.produced_by is None or depth == 0:
        return {**node, "produced_by": None}
    run, step = version.produced_by
    body = records.index.get("step", f"{run}/{step}")
    inputs = records.step(body).inputs if body else {}
    made_of = {place: _made_of(records, each, depth - 1) for place, each in inputs.items()}
    return {**node, "produced_by": {"run": run, "step": step, "inputs": made_of}}


def _made_from(records: Records, version: ArtifactVersion, depth: int) -> list[dict[str, Any]]:
    """The steps that used a version; what became of their outputs stands where these were made, not where repeated."""
    uses: list[dict[str, Any]] = []
    for user in records.index.users(version.name, version.version):
        step = records.step(records.index.get("step", user) or {})
        outputs: dict[str, Any] = {}
        for name, made in step.outputs.items():
            followed = depth > 1 and made.produced_by == (step.run, step.name)
            used_by = _made_from(records, made, depth - 1) if followed else []
            outputs[name] = {"artifact": str(made), "used_by": used_by}
        uses.append({"run": step.run, "step": step.name, "outputs": outputs})
    return uses
