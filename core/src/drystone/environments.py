"""Environments: what keeps a step, or what it makes, from where it is to run."""

from __future__ import annotations

from collections.abc import Iterator

from drystone.annotations import described
from drystone.fingerprints import PYTHON
from drystone.graphs import Node, OutputRef, leaves
from drystone.hits import Hits


def unfit(hits: Hits) -> Iterator[str]:
    """What keeps the steps of a graph from running where they are to run, as far as that is not this environment."""
    for node in hits.graph.nodes.values() if hits.environments else ():
        missing = [] if hits.unknown(node) else hits.closure(node).missing
        if missing:
            yield (
                f"Step {node.name!r} uses {', '.join(missing)}, which is not installed where it is to run. Add it to "
                "the requirements of its image, or to those of the project."
            )
        yield from _unreadable(node, hits)


def _unreadable(node: Node, hits: Hits) -> Iterator[str]:
    """What a step is to take from one that runs under another Python, and which only pickle stores."""
    here = _python(node, hits)
    for parameter, binding in node.bindings.items():
        for ref in (leaf for leaf in leaves(binding) if isinstance(leaf, OutputRef)):
            maker = hits.graph.nodes[ref.node]
            output = next(each for each in maker.step.outputs if each.name == ref.output)
            if hits.workspace.materializers.only_pickle(output.annotation) and _python(maker, hits) != here:
                yield (
                    f"Step {node.name!r} takes {parameter!r} from step {maker.name!r} as "
                    f"{described(output.annotation)}, which only pickle can store; but one runs under "
                    f"Python {here}, the other under {_python(maker, hits)}, and pickle does not pass between them "
                    "safely. Pass plain data, run both under the same Python, or install a plugin for the type."
                )


def _python(node: Node, hits: Hits) -> str:
    environment = hits.environments.get(node.call)
    return (environment.python if environment is not None else "") or PYTHON
