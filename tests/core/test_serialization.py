"""Records become plain JSON and come back; what belongs to one process stays behind."""

import datetime
import json

import pytest

from drystone.artifacts import ArtifactVersion, Blob, Manifest, Reference
from drystone.serialization import structure, to_text, to_time, unstructure

VERSION = ArtifactVersion(
    name="n",
    version=1,
    kind="data",
    manifest=Manifest(
        digest="d", type="t", materializer="json", materializer_version=1, blobs=(Blob("p", "b", 1),), store="s"
    ),
    created_at=datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC),
    produced_by=("p-1", "a"),
    source=object(),
)


def test_a_record_survives_without_its_source():
    data = unstructure(VERSION)
    assert json.loads(to_text(data)) == data
    assert not any("source" in name for name in data)
    again = structure(data, ArtifactVersion)
    assert again == VERSION
    assert again._source is None


@pytest.mark.parametrize("version", ["latest", 3])
@pytest.mark.parametrize("model", [None, ("m", 1), ("m", "production"), ("m", None)])
def test_unions_of_plain_values_survive(version, model):
    reference = Reference("n", version, model)
    assert structure(json.loads(to_text(unstructure(reference))), Reference) == reference


def test_texts_of_moments_sort_as_moments():
    whole = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    assert to_time(whole) < to_time(whole + datetime.timedelta(microseconds=1))
    assert structure(to_time(whole), datetime.datetime) == whole


def test_values_that_json_has_no_word_for_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_text({"x": float("nan")})
