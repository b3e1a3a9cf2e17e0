"""Events go to JSON and back unchanged, and unknown ones are skipped or refused."""

import json

import attrs
import pytest

from drystone.artifacts import Blob, Manifest
from drystone.errors import FormatError
from drystone.events import EVENTS, ArtifactSaved, ElementFinished, RunStarted, StepFinished, event_to_json, is_known
from drystone.projections import _PROJECTIONS
from drystone.serialization import structure, to_text

MANIFEST = Manifest(
    digest="d" * 64,
    type="builtins.int",
    materializer="json",
    materializer_version=1,
    blobs=(Blob("value.json", "b" * 64, 3),),
    store="local:1",
)
EXAMPLES = [
    RunStarted(
        run="p-1", number=1, pipeline="p", stack="dev", parameters={"x": {"$": "tuple", "v": [1]}}, steps=("a",)
    ),
    StepFinished(run="p-1", step="a", status="failed", inputs={"x": ("n", 2)}, error="broken \udcff text"),
    ElementFinished(
        run="p-1",
        step="a",
        index=3,
        status="succeeded",
        parts={"x": (2, MANIFEST)},
        outputs={"output": attrs.evolve(MANIFEST, inside=(("json", 1),))},
        failed_attempts=({"attempt": 1},),
    ),
    ArtifactSaved(name="n", version=2, kind="data", manifest=MANIFEST, metadata={"auc": 0.5}, tags={"best": True}),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.TYPE)
def test_an_event_survives_the_ledger(event):
    text = to_text(event_to_json(event))
    assert text.isascii()
    assert structure(json.loads(text), EVENTS[event.TYPE]) == event


def test_every_type_has_its_own_name():
    assert all(name == cls.TYPE for name, cls in EVENTS.items())
    assert len(EVENTS) == 22
    assert _PROJECTIONS.keys() == EVENTS.keys()


def test_an_unknown_event_is_skipped_unless_it_is_critical():
    unknown = {"type": "schedule.added", "v": 1, "critical": False, "name": "weekly"}
    assert not is_known(unknown)
    with pytest.raises(FormatError, match=r"'schedule.added' \(version 1\).*pip install -U drystone-core"):
        is_known({**unknown, "critical": True})


def test_a_newer_version_of_a_known_event_is_refused():
    newer = {**event_to_json(EXAMPLES[0]), "v": 2}
    with pytest.raises(FormatError, match="version 2"):
        is_known(newer)
