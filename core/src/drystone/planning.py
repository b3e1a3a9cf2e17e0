"""Plans: what would run, what comes from the cache, and why."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from drystone import parts
from drystone.artifacts import Manifest
from drystone.elements import Elements
from drystone.errors import DrystoneError
from drystone.graphs import Lookup, Node, OutputRef, leaves
from drystone.hits import Decision, Hits
from drystone.placements import INLINE
from drystone.runs import CACHED, MAYBE, RUN, SKIPPED, Cause, Plan, StepPlan, StepRun, of_step, origins_of


class Planner:
    """Plans one run; nothing is run and nothing is written."""

    def __init__(self, hits: Hits) -> None:
        self._hits = hits
        self._steps: dict[str, StepPlan] = {}
        self._made: dict[OutputRef, Manifest] = {}
        self._doubtful: set[str] = set()
        self._keys: dict[str, str | None] = {}
        self._dynamic: set[str] = set()
        self._moving: set[str] = set()
        self._origins: dict[str, tuple[Cause, ...]] = {}
        self._is_lost = False
        self._parts: dict[str, list[Manifest]] = {}

    def plan(self, stack: str, where: Mapping[str, str]) -> Plan:
        """The plan of the whole graph, given the stack's name and where each node would run."""
        graph = self._hits.graph
        self.settle()
        for name, rival in list(self._rivals()):
            cause = Cause("input", f"runs unless {rival} makes the same before it", name=rival)
            self._steps[name] = _maybe(self._steps[name], cause)
        self._detail(where)
        return Plan(pipeline=graph.pipeline, stack=stack, steps=self._steps, upstream=graph.upstream)

    def settle(self) -> None:
        """Find out what would run, until it is certain that what would be read is there.

        Raises:
            PlanError: An input from before the run is lost.
        """
        is_open = True
        while is_open:
            self._is_lost = False
            self._made, self._doubtful, self._keys, self._parts = {}, set(), {}, {}
            for node in self._hits.graph.nodes.values():
                self._steps[node.name] = self._skipped(node) or self._doubted(node, self._planned(node))
                self._origins[node.name] = self._comes_from(self._steps[node.name])
            unsettled = set(self._unsettled()) - self._moving
            self._moving |= unsettled  # which may leave more open
            self._is_lost |= self._hits.holdings.doubts(self._read())
            for version in self._hits.found.values() if self._is_lost else ():
                self._hits.ensure(version)
            is_open = bool(unsettled or self._is_lost)

    def _read(self) -> Iterator[Manifest]:
        """What is known of what the steps that would run read."""
        running = [node for node in self._hits.graph.nodes.values() if self._steps[node.name].runs]
        for leaf in (leaf for node in running for each in node.bindings.values() for leaf in leaves(each)):
            if isinstance(leaf, Lookup) or (isinstance(leaf, OutputRef) and leaf in self._made):
                yield self._hits.manifest(leaf, self._made)
            elif isinstance(leaf, OutputRef):
                yield from self._parts.get(leaf.node, ())

    def _comes_from(self, step: StepPlan) -> tuple[Cause, ...]:
        """The steps that a step runs for: itself if it has causes of its own, else some before it."""
        own = [cause for cause in step.causes if cause.kind != "input"]
        if own and step.runs:
            return (of_step(step.name, "runs" if step.status == RUN else "may run", own),)
        return origins_of(each for cause in step.causes for each in cause.causes)

    def _detail(self, where: Mapping[str, str]) -> None:
        """Note where steps will run and how long they take, from what they took, and what is ignored."""
        done, driver = dict[str, float](), 0.0
        with self._hits.workspace.reading() as records:
            for node in self._hits.graph.nodes.values():
                step = self._steps[node.name]
                took = records.index.durations(self._hits.graph.pipeline, node.name) if step.runs else []
                seconds = statistics.median(took) if took else None
                begin = max((done[name] for name in node.upstream), default=0.0)
                if step.runs and where[node.name] == INLINE:  # one at a time
                    begin = max(begin, driver)
                    driver = begin + (seconds or 0.0)
                done[node.name] = begin + (seconds or 0.0)
                self._steps[node.name] = attrs.evolve(
                    step,
                    where=where[node.name] if step.runs else "",
                    on=(node.step.options.on or "") if step.runs and where[node.name] != INLINE else "",
                    seconds=seconds,
                    done_after=done[node.name],
                    ignored=self._hits.closure(node).ignored,
                    ignored_inputs=node.step.options.ignore_inputs,
                )

    def _is(self, name: str, *statuses: str) -> bool:
        return self._steps[name].status in statuses

    def _skipped(self, node: Node) -> StepPlan | None:
        """The plan of a node that is certain to be skipped."""
        blocked = next((name for name in node.upstream if self._is(name, SKIPPED)), None)
        if blocked is not None:
            text = f"step {blocked!r}, which it depends on, is skipped"
        elif node.when in self._made and not self._holds(self._made[node.when]):
            text = f"its condition, the output of {node.when.node!r}, is false"
        else:
            return None
        return StepPlan(name=node.name, status=SKIPPED, causes=(Cause("condition", text),))

    def _holds(self, condition: Manifest) -> bool:
        """Whether a condition is true, as far as that can be read."""
        self._is_lost |= (is_lost := self._hits.holdings.doubts([condition]))
        return is_lost or self._hits.holds(condition)

    def _planned(self, node: Node) -> StepPlan:
        """The plan of a node that is not skipped."""
        taken = {leaf.node for each in node.bindings.values() for leaf in leaves(each) if isinstance(leaf, OutputRef)}
        unknown = [name for name in node.upstream if name in taken and not self._is(name, CACHED)]
        if unknown or self._hits.unknown(node):
            self._keys[node.name] = None
            certain = self._hits.uncached(node) or self._hits.unstored(node)
            waiting = self._waiting(unknown) if unknown else Cause("unknown", self._hits.unknown(node))
            return StepPlan(name=node.name, status=RUN if certain else MAYBE, causes=certain or (waiting,))
        decision = self._hits.decide(node, self._made)
        if decision.dynamic:
            self._dynamic.add(node.name)
        if node.name in self._moving:
            self._keys[node.name] = decision.key
            cause = Cause("dynamic", "runs if what it loads while it runs is another version by then")
            return StepPlan(name=node.name, status=MAYBE, causes=(*decision.causes, cause))
        if decision.cached is None and node.mapped:
            return self._mapped(node, decision)
        if decision.cached is None:
            if decision.key is not None:
                self._keys[node.name] = decision.key
            return StepPlan(name=node.name, status=RUN, causes=decision.causes)
        for output, version in zip(node.step.outputs, decision.cached.outputs.values(), strict=True):
            self._made[OutputRef(node.name, output.name)] = version.manifest
        counts = {CACHED: sum(decision.cached.counts.values())} if node.mapped else {}
        return StepPlan(name=node.name, status=CACHED, cached_from=decision.cached.run, elements=counts)

    def _waiting(self, unknown: list[str]) -> Cause:
        """That a node may run because of what others would make."""
        causes = origins_of(each for name in unknown for each in self._origins[name])
        return Cause("input", f"runs if the output of {', '.join(unknown)} changes", causes=causes)

    def _mapped(self, node: Node, decision: Decision) -> StepPlan:
        """The plan of a map over lists that are known: of elements that are alike one runs."""
        self._keys[node.name] = None
        try:
            elements = Elements(self._hits, node, self._made)
        except DrystoneError as exc:
            return StepPlan(name=node.name, status=RUN, causes=(Cause("unknown", str(exc)),))
        counts: Counter[str] = Counter()
        stored: list[StepRun] = []
        seen: set[str] = set()
        for each in map(elements.decide, elements):
            is_new = each.cached is None and not (each.is_shareable and each.key in seen)
            counts[RUN if is_new else CACHED] += 1
            seen |= {each.key} if each.key is not None else set()
            stored += [each.cached] if each.cached is not None else []
            self._dynamic |= {node.name} if each.dynamic else set()
        if counts[RUN] or not counts:
            self._parts[node.name] = [each.manifest for one in stored for each in one.outputs.values()]
            return StepPlan(name=node.name, status=RUN, causes=decision.causes, elements=+counts)
        self._join(node, stored)
        runs = {each.run for each in stored}
        return StepPlan(
            name=node.name, status=CACHED, cached_from=runs.pop() if len(runs) == 1 else None, elements=counts
        )

    def _join(self, node: Node, elements: list[StepRun]) -> None:
        """What a map would make of stored results alone."""
        for output in node.step.outputs:
            members = [each.outputs[output.name].manifest for each in elements]
            made = self._made[OutputRef(node.name, output.name)] = parts.joined(members)
            self._hits.holdings.lists[made.digest] = members

    def _unsettled(self) -> Iterator[str]:
        """Nodes whose dynamic inputs another step may make anew before they begin."""
        for name in self._dynamic:
            after = self._hits.graph.downstream({name})
            if any(step.status in (RUN, MAYBE) for each, step in self._steps.items() if each not in after):
                yield name

    def _doubted(self, node: Node, plan: StepPlan) -> StepPlan:
        """The plan of a node as it is if the node may yet be skipped."""
        doubtful = next((name for name in node.upstream if name in self._doubtful), None)
        if node.when is not None and not self._is(node.when.node, CACHED):
            text = f"runs if the output of {node.when.node} is true"
        elif doubtful is not None:
            text = f"runs unless {doubtful} is skipped"
        else:
            return plan
        self._doubtful.add(node.name)
        return plan if plan.status == CACHED else _maybe(plan, Cause("condition", text))

    def _code(self, node: Node) -> str | None:
        """The code of a node, which an element of a map has in common with those of others over other values."""
        closure = self._hits.step_closure(node) if node.mapped else self._hits.closure(node)
        return closure.digest

    def _rivals(self) -> Iterator[tuple[str, str]]:
        """Nodes that would run, each with one that may store the same result before they begin."""
        graph, groups = self._hits.graph, defaultdict[Any, list[str]](list)
        places = {name: place for place, name in enumerate(graph.nodes)}
        codes = {name: self._code(graph.nodes[name]) for name in self._keys}
        for name, key in self._keys.items():
            groups[codes[name]].append(name)
            groups[key or (codes[name], "any key")].append(name)
        for name, key in self._keys.items():
            node, code = graph.nodes[name], codes[name]
            if self._steps[name].status != RUN or self._hits.uncached(node):
                continue
            alike = groups[code] if key is None else [*groups[key], *groups[code, "any key"]]
            rival = next((each for each in alike if places[each] < places[name]), None)
            if rival is None and node.upstream and len(alike) > 1:  # what does not wait for it may begin earlier
                waiting = graph.downstream({name})
                rival = next((each for each in alike if each not in waiting), None)
            if rival is not None:
                yield name, rival


def _maybe(plan: StepPlan, cause: Cause) -> StepPlan:
    return attrs.evolve(plan, status=MAYBE, causes=(*plan.causes, cause))
