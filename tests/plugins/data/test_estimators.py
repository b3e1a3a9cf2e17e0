from __future__ import annotations

import contextlib
import functools
import io
import json
import subprocess
import sys
import unittest
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.utils import check_array

from drystone import Artifact, ArtifactStore, FsspecArtifactStore
from drystone.errors import MaterializerError
from drystone.materializers import Materializers
from drystone.testing import MaterializerContract
from drystone_data import EstimatorMaterializer
from drystone_data.archives import public_module, rewritten
from drystone_data.vetted_types import VETTED

FEATURES = np.random.default_rng(0).random((80, 4))
LATE = (FEATURES[:, 0] + FEATURES[:, 1] > 1).astype(int)


def fresh() -> Any:
    return LogisticRegression(C=0.5, class_weight={0: 1, 1: 2})


def linear() -> Any:
    return LinearRegression().fit(FEATURES, LATE)


def logistic() -> Any:
    return fresh().fit(FEATURES, LATE)


def boosted() -> Any:
    return HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(FEATURES, LATE)


def categorical() -> Any:
    rows = pd.DataFrame({"delay": FEATURES[:, 0], "carrier": pd.Categorical(np.where(LATE, "AA", "UA"))})
    return HistGradientBoostingClassifier(max_iter=5, random_state=0, categorical_features="from_dtype").fit(rows, LATE)


def gradient() -> Any:
    return GradientBoostingRegressor(n_estimators=3, random_state=0).fit(FEATURES, LATE)


def forest() -> Any:
    return RandomForestClassifier(n_estimators=5, random_state=0).fit(FEATURES, LATE)


def neighbours() -> Any:
    return KNeighborsClassifier().fit(FEATURES, LATE)


def long_pipeline() -> Any:
    columns = ColumnTransformer(
        [
            ("log", FunctionTransformer(np.log1p), [0]),
            ("spline", SplineTransformer(n_knots=3), [1]),
            ("kind", OneHotEncoder(handle_unknown="ignore"), [3]),
        ],
        remainder="passthrough",
    )
    return make_pipeline(columns, StandardScaler(with_mean=False), forest().set_params(n_estimators=3)).fit(
        np.round(FEATURES, 1), LATE
    )


class Holder(BaseEstimator):  # type: ignore[misc]
    """An estimator with parts whose order and identity are chance."""

    def __init__(self, words: Any = None, arrays: Any = None) -> None:
        self.words = words
        self.arrays = arrays


def holder() -> Any:
    shared = np.arange(3.0)
    return Holder({"departure", "arrival", "carrier", "origin"}, [shared, shared, np.arange(3.0), b"x", b"x"])


def holder_filled_in_another_order() -> Any:
    shared = np.arange(3.0)
    words = {"".join(["ori", "gin"]), "carrier"} | {"arrival"} | {"departure"}
    return Holder(words, [shared, shared, np.arange(3.0), bytes([120]), b"x"])


class TestEstimatorMaterializer(MaterializerContract):
    materializer = EstimatorMaterializer
    libraries = ("skops", "numpy", "scipy")

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [fresh, linear, logistic, boosted, categorical, gradient, forest, neighbours, long_pipeline]

    def variants(self) -> Sequence[tuple[Callable[[], Any], ...]]:
        return [(forest, forest), (boosted, boosted), (long_pipeline, long_pipeline)]

    def equal(self, one: Any, other: Any) -> bool:
        if getattr(one, "n_features_in_", 0) == FEATURES.shape[1]:
            assert np.array_equal(one.predict(FEATURES), other.predict(FEATURES))
        return type(one) is type(other) and repr(one.get_params(deep=False)) == repr(other.get_params(deep=False))


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return FsspecArtifactStore(url=f"file://{tmp_path}")


@pytest.fixture
def materializers() -> Materializers:
    return Materializers([(EstimatorMaterializer, "drystone-data")], allow_pickle=False)


def test_type_outside_the_vetted_list_is_refused_when_it_is_saved(
    store: ArtifactStore, materializers: Materializers
) -> None:
    name = f"{__name__}.Holder"
    with pytest.raises(MaterializerError) as caught:
        materializers.save(holder(), Artifact(), store)
    assert str(caught.value) == (
        f"A value of type {name} cannot be stored: it holds {name}, outside the vetted types that are loaded without "
        f"being named. If you trust that code, declare the output Artifact(trusted=['{name}']). Or store it with "
        "pickle: Artifact(allow_pickle=True)."
    )


def test_trusted_type_is_stored_and_loaded(store: ArtifactStore, materializers: Materializers) -> None:
    manifest, _ = materializers.save(holder(), Artifact(trusted=[Holder]), store)
    loaded = materializers.load(manifest, store)
    assert loaded.words == holder().words
    first, second, third = loaded.arrays[:3]
    assert first is second
    assert first is not third


def test_order_of_sets_and_identity_of_constants_do_not_show(
    store: ArtifactStore, materializers: Materializers
) -> None:
    trusted = Artifact(trusted=[Holder])
    one = materializers.save(holder(), trusted, store)[0]
    assert materializers.save(holder_filled_in_another_order(), trusted, store)[0].digest == one.digest


def test_function_with_arguments_is_as_trusted_as_the_function(
    store: ArtifactStore, materializers: Materializers
) -> None:
    vetted, numpy_own = functools.partial(check_array, copy=True), functools.partial(np.add, 1)
    for function in (vetted, numpy_own):
        manifest, _ = materializers.save(FunctionTransformer(function), Artifact(), store)
        assert np.array_equal(
            materializers.load(manifest, store).transform(FEATURES), FunctionTransformer(function).transform(FEATURES)
        )
    for function in (linear, np.arange(3).tofile, LinearRegression):
        with pytest.raises(MaterializerError, match=r"functools\.partial"):
            materializers.save(FunctionTransformer(functools.partial(function, "/nowhere")), Artifact(), store)


def test_trust_ends_with_the_artifact_that_declared_it(store: ArtifactStore, materializers: Materializers) -> None:
    import attrs

    manifest, _ = materializers.save(holder(), Artifact(trusted=[Holder]), store)
    with pytest.raises(MaterializerError, match=r"holds .*Holder, which this version of drystone-data has not vetted"):
        materializers.load(attrs.evolve(manifest, trusted=()), store)


def test_estimator_that_skops_cannot_write_is_refused(store: ArtifactStore, materializers: Materializers) -> None:
    with pytest.raises(MaterializerError, match=r"FunctionTransformer cannot be stored: ") as caught:
        materializers.save(FunctionTransformer(lambda values: values), Artifact(), store)
    assert "Artifact(allow_pickle=True)" in str(caught.value)


def test_refused_estimator_is_pickled_where_its_output_says_so(
    store: ArtifactStore, materializers: Materializers
) -> None:
    manifest, _ = materializers.save(FunctionTransformer(lambda values: values), Artifact(allow_pickle=True), store)
    assert manifest.materializer == "pickle"


def test_metadata_are_class_parameters_and_features() -> None:
    noted = EstimatorMaterializer().metadata(logistic())
    assert noted["estimator"] == "LogisticRegression"
    assert noted["features"] == 4
    assert noted["parameters"]["C"] == 0.5
    assert noted["parameters"]["class_weight"] == "{0: 1, 1: 2}"


def test_archive_holds_neither_times_nor_addresses() -> None:
    import skops.io

    data = rewritten(skops.io.dumps(forest()))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == sorted(archive.namelist())
        assert "__id__" not in json.loads(archive.read("schema.json"))


def test_function_of_numpy_is_named_by_its_public_module() -> None:
    assert public_module("numpy._core._multiarray_umath", "log1p") == "numpy"
    assert public_module("sklearn.metrics._classification", "f1_score") == "sklearn.metrics._classification"


def test_vetted_types_are_of_three_libraries_and_none_calls_any_function() -> None:
    assert {name.partition(".")[0] for name in VETTED} == {"numpy", "scipy", "sklearn"}
    assert not [name for name in VETTED if "PyFunc" in name or name.endswith((".load", ".save"))]


def fitted_estimators() -> list[Any]:
    """Every estimator of scikit-learn, as its own tests construct it, fitted to the first data it takes."""
    from sklearn.utils import all_estimators
    from sklearn.utils._test_common.instance_generator import _construct_instances

    words = ["late again today", "on time today"] * 40
    data = [(FEATURES, LATE), (FEATURES[:, 0], FEATURES[:, 1]), (FEATURES, np.c_[LATE, 1 - LATE]), (words,), (LATE,)]
    found = []
    for name, cls in all_estimators():
        if name not in ("Birch", "FrozenEstimator"):  # skops cannot write the first; the second wraps any other
            with contextlib.suppress(unittest.SkipTest):  # before 1.8 some cannot be constructed by these tests
                found += [_fitted(instance, data) for instance in _construct_instances(cls)]
    return found


def _fitted(instance: Any, data: Sequence[tuple[Any, ...]]) -> Any:
    for arguments in data:
        try:
            return instance.fit(*arguments)
        except (TypeError, ValueError, AttributeError, IndexError):
            continue
    return instance


def test_every_estimator_of_scikit_learn_comes_back(store: ArtifactStore, materializers: Materializers) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's own, about what is deprecated and what converges badly
        estimators = fitted_estimators()
        assert len(estimators) > 150
        for estimator in estimators:
            manifest, _ = materializers.save(estimator, Artifact(), store)
            again, _ = materializers.save(materializers.load(manifest, store), Artifact(), store)
            assert again.digest == manifest.digest, estimator


def test_search_keeps_its_best_estimator(store: ArtifactStore, materializers: Materializers) -> None:
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=3, scoring="roc_auc").fit(FEATURES, LATE)
    manifest, _ = materializers.save(search, Artifact(), store)
    assert np.array_equal(materializers.load(manifest, store).predict(FEATURES), search.predict(FEATURES))


def test_plugin_offers_its_materializers_without_importing_a_library() -> None:
    code = (
        "import sys; from drystone_data import plugin; names = [each.name for each in plugin.drystone_materializers()];"
        "print(len(names), len(set(names)));"
        "print([name for name in ('numpy', 'pandas', 'polars', 'pyarrow', 'sklearn', 'skops', 'matplotlib') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["8 8", "[]"]
