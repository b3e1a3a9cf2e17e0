"""What a run tells the ledger: the events of its steps, artifacts and model version, committed in groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from drystone.artifacts import ArtifactVersion, Manifest
from drystone.decisions import check_driven, check_version_name, stopped, version_held
from drystone.events import (
    ArtifactSaved,
    CodeRecorded,
    Event,
    Linked,
    MetadataLogged,
    ModelDeclared,
    ModelVersionCreated,
    Pair,
    RunFinished,
    SourceRecorded,
    StepFinished,
    StepRetried,
    StepStarted,
)
from drystone.fingerprints import Closure
from drystone.graphs import Binding, Items, Lookup, Node, OutputRef, lookups
from drystone.hits import Decision
from drystone.ledgers import Commit
from drystone.preparation import ModelRole, Prepared
from drystone.runs import CACHED, CANCELLED, FAILED, PENDING, RUNNING, SUCCEEDED
from drystone.tasks import StepResult
from drystone.workspaces import View

LIST = "list"
"""The kind of what a map makes."""

Entry = Callable[[View], Iterable[Event]]
"""Says what happened, looking at the workspace as it is at the moment of the commit."""


def declared(view: View, role: ModelRole | None) -> Iterator[Event]:
    """The model itself, if a run is the first to know it like this."""
    if role is None:
        return
    model, known = role.model, view.get("model", role.model.name) or {}
    if (known.get("description"), known.get("declared")) != (model.description, dict(model.tags)):
        yield ModelDeclared(model=model.name, description=model.description, tags=dict(model.tags))


class Journal:
    """The events of one run, in order.

    Attributes:
        pairs: Which artifact version each output of a node became; known once that is committed.
        manifests: What each output of a node consists of; known as soon as it is stored.
        model_number: Which version of its model the run belongs to, once that is decided.
        created: Digests of the blobs that the run's steps have stored and nobody has yet made durable.
        commits: What was committed and nobody has yet been told of.
    """

    def __init__(self, prepared: Prepared, run: str, epoch: int) -> None:
        self.workspace = prepared.workspace
        self.prepared = prepared
        self.run = run
        self.epoch = epoch
        self.role = prepared.role
        self.pairs: dict[OutputRef, Pair] = {}
        self.manifests: dict[OutputRef, Manifest] = {}
        self.model_number = self._known_version()
        self.created: list[str] = []
        self.store = prepared.stack.artifact_store.identity
        self._entries: list[Entry] = []
        self.commits: list[Commit] = []
        self._awaiting: list[Callable[[int], Event]] = []
        self._recorded: set[str] = set()
        self._taken: dict[str, int] = {}

    def _known_version(self) -> int | None:
        """The version of its model that the run uses, or has made already when it is resumed."""
        if self.role is None or not self.role.candidate or self.epoch == 1:
            return self.role.number if self.role is not None else None
        with self.workspace.reading() as records:
            return records.index.version_of_run(self.role.model.name, self.run)

    @property
    def model_version(self) -> Pair | None:
        """The model and number that this run belongs to, once that is decided."""
        return (self.role.model.name, self.model_number) if self.role and self.model_number is not None else None

    @property
    def waiting(self) -> bool:
        """Whether anything waits to be committed."""
        return bool(self._entries)

    def flush(self) -> None:
        """Commit what waits, as one group. If that fails, nobody knows whether it did: the run can only be `abandoned`.

        Raises:
            RunLostError: The run is not this driver's any more.
        """
        entries, self._entries = self._entries, []
        number, awaiting, recorded = self.model_number, self._awaiting, self._recorded
        found = self.prepared.hits.holdings.findings() if entries else None

        def decide(view: View) -> list[Event]:
            check_driven(view, self.run, self.epoch)
            self._taken = {}  # after a conflict all is decided again, from the same state
            self.model_number, self._awaiting, self._recorded = number, [*awaiting], {*recorded}
            return [*(found(view) if found else ()), *(event for entry in entries for event in entry(view))]

        if entries and (commit := self.workspace.commit(decide)) is not None:
            self.commits.append(commit)

    def add(self, entry: Entry) -> None:
        """Let something be committed with the next group."""
        self._entries.append(entry)

    def started(self, node: Node, decision: Decision, attempt: int, where: str, elements: int | None = None) -> None:
        """An attempt at a step begins; the first of a run makes its model version."""

        def entry(view: View) -> Iterator[Event]:
            yield from self.code(view, decision.closure)
            yield from self._candidate(view)
            yield StepStarted(attempt=attempt, where=where, elements=elements, **self._facts(node, decision))

        self._entries.append(entry)

    def claimed(self, node: Node, decision: Decision, where: str, elements: int | None = None) -> bool:
        """Begin the first attempt at a step, unless another run makes the same result, or has since; commits at once.

        A map begins with all its elements. Whoever has a started step of this key in a live run holds the claim on it.
        """
        is_free = True

        def entry(view: View) -> Iterator[Event]:
            nonlocal is_free
            key = decision.key if decision.is_shareable else None
            is_free = key is None or not (view.is_being_made(key) or view.was_made(key, decision.seen))
            if is_free:
                yield from begin(view)

        self.started(node, decision, 1, where, elements)
        begin, self._entries[-1] = self._entries[-1], entry
        self.flush()
        return is_free

    def retried(self, node: Node, result: StepResult, attempt: int, error: str) -> None:
        """An attempt failed, and another one follows."""
        run, step, store, noted, log = self.run, node.name, self.store, result.metadata, result.log
        event = StepRetried(run=run, step=step, attempt=attempt, error=error, metadata=noted, log=log, store=store)
        self._entries.append(lambda view: [event])

    def stored(self, result: StepResult) -> None:
        """Blobs are in the store that nobody has made durable."""
        self.created.extend(blob.digest for saved in result.saved for blob in saved.manifest.blobs)

    def saved(self, view: View, saved: ArtifactSaved) -> Iterator[Event]:
        """A new version of what a step has stored."""
        pair = (saved.name, self._next_version(view, saved.name))
        yield attrs.evolve(saved, version=pair[1])
        yield from self._linked(pair)

    def succeeded(
        self, node: Node, result: StepResult, attempts: int, decision: Decision | None = None, **facts: Any
    ) -> None:
        """A step is done and its outputs are stored. What was decided of it is told if no start has told it."""
        known = self.workspace.materializers
        for saved in result.saved:
            if saved.output is not None:
                self.manifests[OutputRef(node.name, saved.output)] = saved.manifest
        deterministic = all(known.deterministic(saved.manifest) for saved in result.saved)

        def entry(view: View) -> Iterator[Event]:
            yield from self.code(view, decision.closure) if decision is not None else ()
            outputs: dict[str, Pair] = {}
            for saved in result.saved:
                yield from self.saved(view, saved)
                if saved.output is not None:
                    pair = (saved.name, self._taken[saved.name])
                    outputs[saved.output] = self.pairs[OutputRef(node.name, saved.output)] = pair
            ended = StepFinished(
                **self._said(node, decision),
                **facts,
                status=SUCCEEDED,
                attempts=attempts,
                outputs=outputs,
                metadata=result.metadata,
                log=result.log,
                store=self.store,
                deterministic=deterministic,
                dynamic_inputs={
                    name: (each.name, each.version, each.manifest.digest)
                    for name, each in result.dynamic_inputs.items()
                },
            )
            yield from self._complete(node, ended)

        self._entries.append(entry)

    def cached(self, node: Node, decision: Decision, counts: Mapping[str, int] | None = None) -> None:
        """A stored result stands for running a step. Where it has another artifact name, it gets this one as well.

        Args:
            node: The step.
            decision: What was found.
            counts: Of a map, how its elements ended; by default all were cached with it.
        """
        stored = decision.cached
        assert stored is not None
        counted = counts or ({CACHED: sum(stored.counts.values())} if stored.counts else {})
        self.reused(node, stored.outputs)
        names = self.prepared.names[node.name]

        def entry(view: View) -> Iterator[Event]:
            pairs: dict[str, Pair] = {}
            for output, version, name in zip(node.step.outputs, stored.outputs.values(), names, strict=True):
                own = name == version.name
                known = version.version if own else view.same_result(decision.key, name, version.digest)
                pair = self.pairs[OutputRef(node.name, output.name)] = (name, known or self._next_version(view, name))
                if known is None:
                    yield ArtifactSaved(
                        name=name,
                        version=pair[1],
                        kind=LIST if node.mapped else output.artifact.kind,
                        manifest=version.manifest,
                        metadata=version.metadata,
                        tags=output.artifact.tags,
                        run=self.run,
                        step=node.name,
                        output=output.name,
                    )
                pairs[output.name] = pair
                yield from self._linked(pair)
            dynamic = {name: (each.name, each.version, each.digest) for name, each in stored.dynamic_inputs.items()}
            facts = self._facts(node, decision) | {"outputs": pairs, "metadata": stored.metadata}
            facts |= {"dynamic_inputs": dynamic, "counts": dict(counted)}
            facts |= {"cached_from": stored.run or None, "cached_step": stored.name or None}
            ended = StepFinished(status=CACHED, **facts)
            yield from self._complete(node, ended)

        self._entries.append(entry)

    def _complete(self, node: Node, ended: StepFinished) -> Iterator[Event]:
        yield ended
        yield from self._logged(ended.metadata)
        yield from self._consumed(node)

    def failed(self, node: Node, result: StepResult, attempts: int, error: str, **facts: Any) -> None:
        """A step failed for good."""
        facts |= {"attempts": attempts, "metadata": result.metadata, "log": result.log, "store": self.store}
        self.unstarted(node, FAILED, error, **facts)

    def unstarted(self, node: Node, status: str, reason: str, decision: Decision | None = None, **facts: Any) -> None:
        """A step was skipped or cancelled."""
        facts |= {"status": status, "error": reason}
        self._entries.append(lambda view: [StepFinished(**self._said(node, decision), **facts)])

    def reused(self, node: Node, outputs: Mapping[str, ArtifactVersion]) -> None:
        """Versions that exist already are the outputs of a step."""
        for output, version in zip(node.step.outputs, outputs.values(), strict=True):
            ref = OutputRef(node.name, output.name)
            self.manifests[ref], self.pairs[ref] = version.manifest, (version.name, version.version)

    def finished(self, status: str, executed: int, error: str | None, repeated: Iterable[str]) -> None:
        """The run is over.

        Args:
            status: How.
            executed: How many steps computed something.
            error: What failed.
            repeated: The runs whose results it repeated.
        """

        def entry(view: View) -> Iterator[Event]:
            refs = self.prepared.graph.outputs.items()
            outputs = {name: self.pairs[ref] for name, ref in refs if ref in self.pairs}
            version = self.model_version
            if version is None and self.role is not None and self.role.candidate:
                version = version_held(view, self.role.model.name, repeated, set((outputs or self.pairs).values()))
            yield RunFinished(
                run=self.run, status=status, outputs=outputs, executed=executed, error=error, model_version=version
            )

        self._entries.append(entry)

    def abandoned(self, status: str, reason: str, logs: Mapping[str, str]) -> None:
        """The driver has to stop; only what is on record counts, and steps that have not ended there are cancelled.

        Args:
            status: Of the run.
            reason: Why it stops.
            logs: What was printed by the steps that it stops, as digests.
        """

        def entry(view: View) -> Iterator[Event]:
            ended = {step["name"] for step in view.steps(self.run) if step["status"] not in (PENDING, RUNNING)}
            for name in self.prepared.graph.nodes:
                if name not in ended:
                    log = logs.get(name)
                    kept: dict[str, Any] = {"log": log, "store": self.store if log else ""}
                    yield StepFinished(run=self.run, step=name, status=CANCELLED, error=reason, **kept)
            ended_run = stopped(view, view.get("run", self.run) or {}, status, reason)
            fixed = self.role is not None and self.role.number is not None
            yield attrs.evolve(ended_run, model_version=self.model_version) if fixed else ended_run

        self._entries.append(entry)

    def _said(self, node: Node, decision: Decision | None) -> dict[str, Any]:
        return {"run": self.run, "step": node.name} if decision is None else self._facts(node, decision)

    def _facts(self, node: Node, decision: Decision) -> dict[str, Any]:
        return {"run": self.run, "step": node.name, "inputs": self.inputs(node.bindings), **decision.facts}

    def inputs(self, bindings: Mapping[str, Binding]) -> dict[str, Pair]:
        """The artifact versions that some arguments are, or hold."""
        return {place: pair for name, binding in bindings.items() for place, pair in self._bound(name, binding)}

    def _bound(self, place: str, binding: Binding) -> Iterator[tuple[str, Pair]]:
        if isinstance(binding, OutputRef):
            yield place, self.pairs[binding]
        elif isinstance(binding, Lookup):
            version = self.prepared.found[binding.reference]
            yield place, (version.name, version.version)
        elif isinstance(binding, Items):
            for key, item in zip(binding.keys or range(len(binding.items)), binding.items, strict=True):
                yield from self._bound(f"{place}[{key!r}]", item)

    def _next_version(self, view: View, name: str) -> int:
        """Numbers taken earlier in the same group count."""
        self._taken[name] = self._taken.get(name) or view.last_number("artifact", name)
        self._taken[name] += 1
        return self._taken[name]

    def code(self, view: View, closure: Closure) -> Iterator[Event]:
        """The code that a step runs, if nobody has recorded it."""
        if closure.digest is None or closure.digest in self._recorded:
            return
        self._recorded.add(closure.digest)
        if view.exists("code", closure.digest):
            return
        yield CodeRecorded(closure=closure.digest, **closure.recorded())
        for name, member in closure.members.items():
            if member.source and member.digest not in self._recorded and not view.exists("source", member.digest):
                self._recorded.add(member.digest)
                yield SourceRecorded(digest=member.digest, name=name, text=member.source)

    # The run's model

    def _candidate(self, view: View) -> Iterator[Event]:
        if self.role is None or not self.role.candidate or self.model_number is not None:
            return
        model = self.role.model.name
        check_version_name(view, model, self.role.version_name)
        self.model_number = number = view.next_number("model_version", model)
        yield ModelVersionCreated(model=model, number=number, name=self.role.version_name, run=self.run)
        yield from (make(number) for make in self._awaiting)

    def _linked(self, pair: Pair, role: str = "output") -> Iterator[Event]:
        """An artifact version belongs to the run's model version, or will when there is one."""
        if self.role is None:
            return
        model = self.role.model.name

        def make(number: int | None) -> Event:
            return Linked(model=model, number=number, artifact=pair[0], version=pair[1], role=role)

        if self.role.candidate and self.model_number is None:
            self._awaiting.append(make)
        else:
            yield make(self.model_number)

    def _logged(self, metadata: Mapping[str, Any]) -> Iterator[Event]:
        """Metadata of a step is metadata of the run's model version too, or will be when there is one."""
        if not metadata or self.role is None:
            return
        model = self.role.model.name

        def make(number: int) -> Event:
            return MetadataLogged(kind="model_version", record=f"{model}@{number}", values=dict(metadata))

        if self.model_number is not None:
            yield make(self.model_number)
        elif self.role.candidate:
            self._awaiting.append(make)

    def _consumed(self, node: Node) -> Iterator[Event]:
        """Links of what a step took from the run's own model."""
        if self.role is None or (self.model_number is None and not self.role.candidate):
            return
        for reference in (each for binding in node.bindings.values() for each in lookups(binding)):
            of, version = getattr(reference, "model", None), self.prepared.found[reference]
            if of is not None and of[0] == self.role.model.name:
                yield from self._linked((version.name, version.version), "input")
