"""What a run tells the ledger: events prepared while it goes on, and committed in groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from drystone.artifacts import Artifact, ArtifactVersion, Manifest, Reference
from drystone.errors import LedgerConflict
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
    StepStarted,
)
from drystone.fingerprints import Closure
from drystone.graphs import Binding, Graph, Items, Lookup, Node, OutputRef
from drystone.models import Model
from drystone.planning import Decision
from drystone.runs import CACHED, FAILED, SUCCEEDED
from drystone.workers import Saved, StepResult
from drystone.workspaces import View, Workspace

Builder = Callable[[View], Iterable[Event]]


@attrs.frozen(kw_only=True)
class ModelRole:
    """What a run is to a model: it makes a candidate version, serves the model, or uses a fixed version of it."""

    model: Model
    candidate: bool = False
    number: int | None = None
    version_name: str | None = None
    tags: Mapping[str, Any] = attrs.field(factory=dict)


class Journal:
    """The events of one run, in order."""

    def __init__(
        self,
        workspace: Workspace,
        graph: Graph,
        run: str,
        epoch: int,
        role: ModelRole | None,
        names: Mapping[str, tuple[str, ...]],
        found: Mapping[Reference | ArtifactVersion, ArtifactVersion],
        store: str,
    ) -> None:
        self.workspace = workspace
        self.graph = graph
        self.run = run
        self.epoch = epoch
        self.role = role
        self.names = names
        self.found = found
        self.store = store
        self.pairs: dict[OutputRef, Pair] = {}
        self.manifests: dict[OutputRef, Manifest] = {}
        self.number: int | None = role.number if role is not None else None
        self.created: list[str] = []
        self._pending: list[Builder] = []
        self._taken: dict[str, int] = {}
        self._linked_before: list[Pair] = []
        self._inputs_before: list[Pair] = []
        self._metadata_before: dict[str, Any] = {}
        self._recorded: set[str] = set()

    @property
    def model_version(self) -> tuple[str, int] | None:
        """The model and number that this run belongs to, once it is decided."""
        if self.role is None or self.number is None:
            return None
        return self.role.model.name, self.number

    def add(self, builder: Builder) -> None:
        """Put off some events to the next flush."""
        self._pending.append(builder)

    @property
    def waiting(self) -> bool:
        """Whether anything waits to be committed."""
        return bool(self._pending)

    def flush(self) -> None:
        """Commit what waits, as one group.

        Raises:
            LedgerConflict: Another driver has taken this run over.
        """
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        number = self.number

        def decide(view: View) -> list[Event]:
            if view.run_epoch(self.run) != self.epoch:
                raise LedgerConflict(f"Run {self.run} was taken over by another driver (resume). This one ends.")
            self._taken.clear()
            self.number = number
            return [event for builder in pending for event in builder(view)]

        self.workspace.commit(decide)

    def started(self, node: Node, decision: Decision, attempt: int) -> None:
        """An attempt at a step begins."""

        def events(view: View) -> Iterator[Event]:
            yield from self._code(view, decision.closure)
            yield from self._candidate(view)
            yield StepStarted(attempt=attempt, **self._facts(node, decision))

        self.add(events)

    def succeeded(self, node: Node, decision: Decision, result: StepResult, attempts: int) -> None:
        """A step is done and its outputs are stored."""
        for saved in result.saved:
            if saved.output is not None:
                self.manifests[OutputRef(node.name, saved.output)] = saved.manifest
            self.created.extend(blob.digest for blob in saved.manifest.blobs)

        def events(view: View) -> Iterator[Event]:
            outputs: dict[str, Pair] = {}
            for saved in result.saved:
                version = self._next(view, saved.name)
                if saved.output is not None:
                    outputs[saved.output] = (saved.name, version)
                    self.pairs[OutputRef(node.name, saved.output)] = (saved.name, version)
                yield self._version(node, saved, version)
                yield from self._links([(saved.name, version)])
            yield StepFinished(
                status=SUCCEEDED,
                attempts=attempts,
                outputs=outputs,
                metadata=result.metadata,
                log=result.log,
                store=self.store,
                deterministic=all(self._deterministic(saved.manifest) for saved in result.saved),
                **self._facts(node, decision),
            )
            yield from self._logged(result.metadata)
            yield from self._consumed(node)

        self.add(events)

    def failed(self, node: Node, decision: Decision, result: StepResult, attempts: int, error: str) -> None:
        """A step failed for good."""
        self.add(
            lambda view: [
                StepFinished(
                    status=FAILED,
                    attempts=attempts,
                    metadata=result.metadata,
                    error=error,
                    log=result.log,
                    store=self.store,
                    **self._facts(node, decision),
                )
            ]
        )

    def unstarted(self, node: Node, status: str, reason: str) -> None:
        """A step was skipped or cancelled."""
        self.add(lambda view: [StepFinished(run=self.run, step=node.name, status=status, error=reason)])

    def cached(self, node: Node, decision: Decision) -> None:
        """A stored result stands for running a step. Where it has another artifact name, it gets this one as well."""
        stored = decision.cached
        assert stored is not None
        outputs = list(zip(node.step.outputs, stored.outputs.values(), self.names[node.name], strict=True))
        renamed = False
        for output, version, name in outputs:
            ref = OutputRef(node.name, output.name)
            self.manifests[ref] = version.manifest
            self.pairs[ref] = (version.name, version.version)
            renamed = renamed or name != version.name

        def events(view: View) -> Iterator[Event]:
            pairs: dict[str, Pair] = {}
            for output, version, name in outputs:
                pair = (version.name, version.version)
                if name != version.name:
                    pair = (name, self._next(view, name))
                    self.pairs[OutputRef(node.name, output.name)] = pair
                    yield self._named_anew(node, output.name, version, pair, output.artifact)
                pairs[output.name] = pair
                yield from self._links([pair])
            yield StepFinished(
                status=CACHED,
                cached_from=stored.run,
                cached_step=stored.step,
                outputs=pairs,
                metadata=stored.metadata,
                **self._facts(node, decision),
            )
            yield from self._logged(stored.metadata)
            yield from self._consumed(node)

        self.add(events)

    def reused(self, node: Node, outputs: Mapping[str, ArtifactVersion]) -> None:
        """A step that this very run has done before it was resumed."""
        for output, version in zip(node.step.outputs, outputs.values(), strict=True):
            ref = OutputRef(node.name, output.name)
            self.manifests[ref] = version.manifest
            self.pairs[ref] = (version.name, version.version)

    def finished(self, status: str, executed: int, error: str | None, repeated: str | None) -> None:
        """The run is over.

        Args:
            status: How.
            executed: How many steps computed something.
            error: What failed.
            repeated: The newest run whose results it repeated.
        """

        def events(view: View) -> Iterator[Event]:
            version = self.model_version
            if version is None and repeated is not None and self.role is not None and self.role.candidate:
                number = view.model_version_of_run(self.role.model.name, repeated)
                version = (self.role.model.name, number) if number is not None else None
            yield RunFinished(
                run=self.run,
                status=status,
                outputs={name: self.pairs[ref] for name, ref in self.graph.outputs.items() if ref in self.pairs},
                executed=executed,
                error=error,
                model_version=version,
            )

        self.add(events)

    def declared(self, view: View) -> list[Event]:
        """The model's own event, if this run is the first to know it like this."""
        if self.role is None or view.model_declared(self.role.model.name, self.role.model.description):
            return []
        model = self.role.model
        return [ModelDeclared(model=model.name, description=model.description, tags=dict(model.tags))]

    def _facts(self, node: Node, decision: Decision) -> dict[str, Any]:
        return {
            "run": self.run,
            "step": node.name,
            "key": decision.key,
            "closure": decision.closure.digest,
            "parameters": decision.shown,
            "values": decision.values,
            "inputs": self._inputs(node),
            "input_digests": decision.input_digests,
            "reason": "; ".join(cause.text for cause in decision.causes),
        }

    def _inputs(self, node: Node) -> dict[str, Pair]:
        return {
            place: pair
            for parameter, binding in node.bindings.items()
            for place, pair in self._bound(parameter, binding)
        }

    def _bound(self, place: str, binding: Binding) -> Iterator[tuple[str, Pair]]:
        if isinstance(binding, OutputRef):
            yield place, self.pairs[binding]
        elif isinstance(binding, Lookup):
            version = self.found[binding.reference]
            yield place, (version.name, version.version)
        elif isinstance(binding, Items):
            for index, item in enumerate(binding.items):
                yield from self._bound(f"{place}[{binding.keys[index] if binding.keys else index!r}]", item)

    def _code(self, view: View, closure: Closure) -> Iterator[Event]:
        if closure.digest is None or closure.digest in self._recorded or view.has_code(closure.digest):
            return
        self._recorded.add(closure.digest)
        members = {name: member.digest for name, member in closure.members.items()}
        yield CodeRecorded(closure=closure.digest, members=members, python=closure.python, packages=closure.packages)
        for name, member in closure.members.items():
            if member.source and member.digest not in self._recorded and not view.has_source(member.digest):
                self._recorded.add(member.digest)
                yield SourceRecorded(digest=member.digest, name=name, text=member.source)

    def _candidate(self, view: View) -> Iterator[Event]:
        """The model version of this run, made by the first step that is executed."""
        if self.role is None or not self.role.candidate or self.number is not None:
            return
        self.number = view.next_model_number(self.role.model.name)
        yield ModelVersionCreated(
            model=self.role.model.name,
            number=self.number,
            name=self.role.version_name,
            run=self.run,
            tags=dict(self.role.tags),
        )
        yield from self._links(self._linked_before)
        yield from self._links(self._inputs_before, "input")
        yield from self._logged(self._metadata_before)

    def _links(self, pairs: Iterable[Pair], role: str = "output") -> Iterator[Event]:
        if self.role is None:
            return
        if self.role.candidate and self.number is None:
            (self._linked_before if role == "output" else self._inputs_before).extend(pairs)
            return
        for name, version in pairs:
            yield Linked(model=self.role.model.name, number=self.number, artifact=name, version=version, role=role)

    def _consumed(self, node: Node) -> Iterator[Event]:
        """Links of what a step took from the run's own model."""
        if self.role is None or (self.number is None and not self.role.candidate):
            return
        own = [
            (version.name, version.version)
            for reference, version in self.found.items()
            if isinstance(reference, Reference) and reference.model and reference.model[0] == self.role.model.name
        ]
        taken = set(self._inputs(node).values())
        yield from self._links([pair for pair in own if pair in taken], "input")

    def _logged(self, metadata: Mapping[str, Any]) -> Iterator[Event]:
        if not metadata or self.role is None:
            return
        if self.model_version is None:
            if self.role.candidate:
                self._metadata_before |= metadata
            return
        model, number = self.model_version
        yield MetadataLogged(kind="model_version", record=f"{model}@{number}", values=dict(metadata))

    def _next(self, view: View, name: str) -> int:
        version = max(view.next_version(name), self._taken.get(name, 0) + 1)
        self._taken[name] = version
        return version

    def _version(self, node: Node, saved: Saved, version: int) -> ArtifactSaved:
        return ArtifactSaved(
            name=saved.name,
            version=version,
            kind=saved.kind,
            manifest=saved.manifest,
            metadata=saved.metadata,
            tags=saved.tags,
            run=self.run,
            step=node.name,
            output=saved.output,
        )

    def _named_anew(
        self, node: Node, output: str, version: ArtifactVersion, pair: Pair, artifact: Artifact
    ) -> ArtifactSaved:
        return ArtifactSaved(
            name=pair[0],
            version=pair[1],
            kind=artifact.kind,
            manifest=version.manifest,
            metadata=dict(version.metadata),
            tags=dict(artifact.tags),
            run=self.run,
            step=node.name,
            output=output,
        )

    def _deterministic(self, manifest: Manifest) -> bool:
        return self.workspace.materializers.deterministic(manifest.materializer)
