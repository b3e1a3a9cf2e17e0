"""Hits: whether a stored result can stand for running a step, and if not, why not."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from drystone.annotations import abbreviated, bare
from drystone.artifacts import ArtifactVersion, Blob, Manifest, Reference
from drystone.blobs import BlobReader, BlobWriter, blob_key
from drystone.comparisons import changed, code_changes, recorded_text, told
from drystone.components import ArtifactStore
from drystone.digests import digest_value
from drystone.documents import Document
from drystone.errors import BlobLostError, EncodingError, NotFoundError, PlanError, shortened, suggestion
from drystone.fingerprints import Closure, Fingerprints, classes_of, step_key
from drystone.graphs import Binding, Graph, Items, Lookup, Node, OutputRef, Value
from drystone.pipelines import PipelineOptions
from drystone.records import Records
from drystone.runs import Cause, StepRun
from drystone.states import annotation_text
from drystone.workspaces import View, Workspace

STATED = 20
"""How many causes of a step are recorded."""


@attrs.frozen(kw_only=True)
class Decision:
    """What is known of a node whose inputs are all known.

    Attributes:
        key: The cache key; None where there can be none.
        cached: The stored result to use, or None.
        causes: Why there is none.
        facts: What events say of it: key, closure, plain arguments as text and as digests, digests of inputs, options,
            causes and what these were compared with.
        is_shareable: Whether a result that somebody else is making now would do.
        dynamic: Whether what the step loaded when it last ran decides.
    """

    key: str | None
    cached: StepRun | None
    causes: tuple[Cause, ...]
    closure: Closure
    facts: Mapping[str, Any]
    is_shareable: bool
    dynamic: bool


class Hits:
    """Decides for each node of one graph whether a stored result can stand for running it.

    Args:
        workspace: Where results are on record.
        store: Where their bytes have to be.
        graph: The graph.
        options: Of the pipeline.
        fingerprints: Takes the closures.
        found: What the graph's references mean.
        copies: Whether bytes that only another store within reach has are copied; else they only count as there.

    Raises:
        PlanError: A step that is to be rerun does not exist.
    """

    def __init__(
        self,
        workspace: Workspace,
        store: ArtifactStore,
        graph: Graph,
        options: PipelineOptions,
        fingerprints: Fingerprints,
        found: Mapping[Reference | ArtifactVersion, ArtifactVersion],
        *,
        copies: bool,
    ) -> None:
        unknown = [name for name in options.rerun if name not in graph.nodes]
        if unknown:
            raise PlanError(
                *(f"There is no step {each!r} to rerun.{suggestion(each, graph.nodes)}" for each in unknown)
            )
        self.workspace = workspace
        self.store = store
        self.graph = graph
        self.options = options
        self.fingerprints = fingerprints
        self.found = found
        self.copies = copies
        self.forced = graph.downstream(set(options.rerun))
        self._readable: set[str] = set()

    def closure(self, node: Node) -> Closure:
        """The code that a node's step reaches, through its arguments as well; computed once per function."""
        return closure_of(node, self.fingerprints)

    def decide(self, node: Node, made: Mapping[OutputRef, Manifest]) -> Decision:
        """Whether a stored result fits a node, given what the nodes before it made."""
        closure = self.closure(node)
        values: dict[str, str] = {}
        shown: dict[str, str] = {}
        inputs: dict[str, str] = {}
        unknown: list[Cause] = []
        for name, binding in node.bindings.items():
            if not isinstance(binding, Value):
                inputs[name] = self._digest(binding, made)
                continue
            shown[name] = abbreviated(binding.value)
            try:
                values[name] = digest_value(binding.value)
            except EncodingError as exc:
                unknown.append(Cause("unknown", f"parameter {name}: {exc}", name=name))
        key = self._key(node, closure, values, inputs) if closure.digest and not unknown else None
        refused = self.uncached(node)
        causes, cached, last = refused or tuple(unknown), None, None
        if key is not None and not causes:
            with self.workspace.reading() as records:
                cached, causes = self._stored(node, key, records)
                if cached is None and not causes:
                    last = records.index.last_execution(self.graph.pipeline, node.name)
                    causes = self._compared(node, records.index, last, closure, values, shown, inputs)
        dynamic = bool(cached and cached.dynamic_inputs) or any(cause.kind == "dynamic" for cause in causes)
        facts = {
            "key": key,
            "closure": closure.digest,
            "parameters": shown,
            "values": values,
            "input_digests": inputs,
            "causes": _stated(causes),
            "compared_with": last and (last["run"], last["closure"]),
            "options": _options(node, closure),
        }
        return Decision(
            key=key,
            cached=cached,
            causes=causes,
            closure=closure,
            facts=facts,
            is_shareable=not refused,
            dynamic=dynamic,
        )

    def unstored(self, node: Node) -> tuple[Cause, ...]:
        """Why no stored result can fit a node, whatever its inputs are: none can have come from its code."""
        closure = self.closure(node)
        with self.workspace.reading() as records:
            if closure.digest is not None and records.index.exists("code", closure.digest):
                return ()
            last = records.index.last_execution(self.graph.pipeline, node.name)
            return self._compared(node, records.index, last, closure, {}, {}, {})

    def _digest(self, binding: Binding, made: Mapping[OutputRef, Manifest]) -> str:
        def stored(each: OutputRef | Lookup) -> str:
            return self.found[each.reference].digest if isinstance(each, Lookup) else made[each].digest

        return content_digest(binding, stored)

    def _key(self, node: Node, closure: Closure, values: Mapping[str, str], inputs: Mapping[str, str]) -> str:
        expected = self.workspace.materializers.expected
        outputs = [(annotation_text(bare(each.annotation)), expected(each.annotation)) for each in node.step.outputs]
        options = node.step.options
        return step_key(closure, values, inputs, outputs, options.cache_salt, options.ignore_inputs)

    def uncached(self, node: Node) -> tuple[Cause, ...]:
        """Why the cache is not even asked for a node."""
        if node.name in self.options.rerun:
            return (Cause("rerun", "rerun was asked for"),)
        if node.name in self.forced:
            before = next(name for name in node.upstream if name in self.forced)
            return (Cause("rerun", f"depends on {before}, which is rerun", name=before),)
        if self._policy(node) is False:
            return (Cause("cache", "its cache is off"),)
        return tuple(unread(self.closure(node)))

    def _policy(self, node: Node) -> bool | datetime.timedelta:
        choices = (False if self.options.cache is False else None, node.step.options.cache, self.options.cache)
        return next((choice for choice in choices if choice is not None), True)

    def _stored(self, node: Node, key: str, records: Records) -> tuple[StepRun | None, tuple[Cause, ...]]:
        """The stored result under a key, or why there is none that can be used."""
        cached = records.cached_step(key)
        if cached is None:
            return None, ()
        policy, now = self._policy(node), datetime.datetime.now(datetime.UTC)
        if isinstance(policy, datetime.timedelta) and now - (cached.ended_at or now) > policy:
            return None, (Cause("cache", f"its stored result is older than {policy}"),)
        problem = self.unusable(cached)
        causes = (Cause("blob", problem),) if problem else tuple(_moved(cached, records))
        return (None, causes) if causes else (cached, ())

    def unusable(self, step: StepRun) -> str | None:
        """Why the outputs of a step cannot stand for running it again, or None."""
        for version in step.outputs.values():
            manifest = version.manifest
            if not self.workspace.materializers.current(manifest):
                return f"{version}: its materializer {manifest.materializer} is now another version"
            problem = self._unreadable(manifest)
            if problem:
                return f"{version}: {problem}"
        return None

    def _missing(self, manifest: Manifest) -> list[Blob]:
        return [blob for blob in manifest.blobs if self.store.size(blob_key(blob.digest)) != blob.size]

    def _unreadable(self, manifest: Manifest) -> str | None:
        """Why stored bytes are out of reach, or None."""
        if manifest.digest in self._readable:
            return None
        missing = self._missing(manifest)
        if missing and manifest.store == self.store.identity:
            return "its blobs are missing or damaged in the artifact store"
        try:
            if missing and not self._reached(manifest, missing):
                return f"its blobs are missing or damaged in the artifact store {manifest.store}"
        except LookupError:
            return f"its blobs are only in the artifact store {manifest.store}, which is out of reach"
        self._readable.add(manifest.digest)
        return None

    def _reached(self, manifest: Manifest, blobs: list[Blob]) -> bool:
        """Whether another store has some blobs; they are copied from there if that is wanted."""
        other = self.workspace.store_for(manifest.store)
        if not self.copies:
            return all(other.size(blob_key(blob.digest)) == blob.size for blob in blobs)
        reader = BlobReader(other, manifest)
        try:
            for blob in blobs:
                with BlobWriter(self.store).file(blob.path) as spooled:
                    reader.copy(blob.path, spooled)
        except BlobLostError:
            return False
        return True

    def holds(self, condition: Manifest) -> bool:
        """Whether the output that a `when=` stands for is true."""
        store = self.workspace.store_for(condition.store) if self._missing(condition) else self.store
        return bool(self.workspace.materializers.load(condition, store))

    def ensure(self, version: ArtifactVersion) -> None:
        """Make an input from before the run readable through this stack's store.

        Raises:
            PlanError: Its bytes are out of reach.
        """
        problem = self._unreadable(version.manifest)
        if problem:
            raise PlanError(f"The input {version} cannot be read: {problem}. Run what makes it again.")

    def _compared(
        self,
        node: Node,
        index: View,
        last: Document | None,
        closure: Closure,
        values: Mapping[str, str],
        shown: Mapping[str, str],
        inputs: Mapping[str, str],
    ) -> tuple[Cause, ...]:
        """What differs from the last time this step was executed."""
        if last is None:
            return (Cause("new", "never ran here"),)
        causes = [*_code(closure, last, index), *_other_options(node, closure, last)]
        ignored = node.step.options.ignore_inputs
        for name, digest in values.items():
            if last["values"].get(name) != digest and name not in ignored:
                before = last["parameters"].get(name, "not given")
                causes.append(Cause("parameter", f"parameter {name} {before} → {shown[name]}", name=name))
        others = [name for name, digest in inputs.items() if last["input_digests"].get(name) != digest]
        causes += [Cause("input", f"input {name} changed", name=name) for name in others if name not in ignored]
        if causes or last["closure"] is None:
            return tuple(causes) or (Cause("unknown", f"nobody knows of which code {last['run']} made its result"),)
        return (Cause("options", f"its output annotations or their materializers are not those of {last['run']}"),)


def _moved(cached: StepRun, records: Records) -> Iterator[Cause]:
    """What a step loaded while it ran that means something else today."""
    for asked, then in cached.dynamic_inputs.items():
        name, _, version = asked.rpartition("@")
        try:
            now = records.found_version(name, version)
        except NotFoundError:
            yield Cause("dynamic", f"dynamic input {name} {then.version} is gone", name=name)
            continue
        if now.digest != then.digest:
            yield Cause("dynamic", f"dynamic input {name} {then.version} → {now.version}", name=name)


def closure_of(node: Node, fingerprints: Fingerprints) -> Closure:
    """The code that a node's step reaches, through its arguments as well."""
    values = [binding.value for binding in node.bindings.values() if isinstance(binding, Value)]
    classes = dict.fromkeys(each for value in values for each in classes_of(value))
    return fingerprints.closure(node.step, classes)


def content_digest(binding: Binding, stored: Callable[[OutputRef | Lookup], str]) -> str:
    """The digest of what a parameter is bound to, given those of artifacts."""
    if isinstance(binding, Items):
        return digest_value((binding.container, binding.keys, [content_digest(each, stored) for each in binding.items]))
    return digest_value(("value", binding.value)) if isinstance(binding, Value) else stored(binding)


def unread(closure: Closure) -> Iterator[Cause]:
    """Why nobody can say what code does."""
    yield from (Cause("edited", f"{name}: file edited since it was loaded", name=name) for name in closure.edited)
    yield from (Cause("unknown", problem) for problem in closure.problems)


def _code(closure: Closure, last: Document, index: View) -> Iterator[Cause]:
    """What differs in code from when a step was last executed."""
    before = index.get("code", last["closure"]) if last["closure"] not in (None, closure.digest) else None
    if before is not None:
        yield from code_changes(before, closure.recorded(), recorded_text(index), closure.text)


def _options(node: Node, closure: Closure) -> dict[str, str]:
    """Options of a step that are recorded, as text."""
    return told(node.step.options) | ({"ignore": ", ".join(closure.ignored)} if closure.ignored else {})


def _other_options(node: Node, closure: Closure, last: Document) -> Iterator[Cause]:
    """Options that are part of the key, and were others."""
    for name, (before, now) in changed(last.get("options", {}), _options(node, closure)):
        if name in ("cache_salt", "ignore", "ignore_inputs"):
            yield Cause("options", f"{name} {before or 'not given'} → {now or 'not given'}", name=name)


def _stated(causes: tuple[Cause, ...]) -> list[tuple[str, str, str]]:
    """Causes as events keep them: diffs can be had again from the sources on record, and of very many some will do."""
    stated = [(cause.kind, shortened(cause.text), cause.name) for cause in causes[:STATED]]
    return stated if len(causes) <= STATED else [*stated, ("unknown", f"and {len(causes) - STATED} more", "")]
