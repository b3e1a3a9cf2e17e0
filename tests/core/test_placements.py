"""Which steps run in the driver's own process is a property of the graph."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from drystone import FsspecArtifactStore, Orchestrator, Stack, step
from drystone.graphs import Graph, Node, OutputRef
from drystone.placements import alone, needs_by_orchestrator
from drystone.testing.commands import CommandOrchestrator


@step
def same(x: int) -> int:
    return x


def graph_of(edges: list[set[int]]) -> Graph:
    """A graph whose nodes, in order, each need those that are given for it."""
    nodes = {
        str(index): Node(
            name=str(index), step=same, bindings={str(each): OutputRef(str(each), "output") for each in sorted(needed)}
        )
        for index, needed in enumerate(edges)
    }
    return Graph(pipeline="p", parameters={}, nodes=nodes, outputs={})


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 12))
    return graph_of([draw(st.sets(st.integers(0, index - 1))) if index else set() for index in range(count)])


@given(graphs())
def test_alone_is_what_comes_before_or_after_every_other_node(graph):
    reached = {name: graph.downstream({name}) for name in graph.nodes}
    beside = {each for pair in combinations(graph.nodes, 2) for each in pair if not is_ordered(*pair, reached)}
    assert set(alone(graph)) == set(graph.nodes) - beside


def is_ordered(one: str, other: str, reached: dict[str, set[str]]) -> bool:
    return one in reached[other] or other in reached[one]


def test_nobody_is_asked_for_environments_that_are_the_drivers():
    class Elsewhere(CommandOrchestrator):
        def environment(self, step):
            return None

    class Making(CommandOrchestrator):
        def provide(self, steps):
            """Makes nothing."""

    graph = graph_of([set(), {0}])

    def needed(orchestrator: Orchestrator) -> dict[str, list[str]]:
        stack = Stack("s", orchestrator=orchestrator, artifact_store=FsspecArtifactStore(url="memory://"))
        found = needs_by_orchestrator(graph, stack, {"0": "inline", "1": "worker"})
        return {on: [*steps] for on, steps in found.items()}

    assert needed(CommandOrchestrator()) == {}
    assert needed(Elsewhere()) == needed(Making()) == {"": ["1"]}
