"""scikit-learn estimators, as skops archives: no pickle, and only types that are vetted or trusted by name."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from drystone import Artifact, BlobReader, BlobWriter, Materializer
from drystone.errors import EncodingError, MaterializerError
from drystone_data.archives import NUMPY_MODULES, partial_functions, rewritten
from drystone_data.vetted_types import VETTED


class EstimatorMaterializer(Materializer):
    """An estimator of scikit-learn, or one built on its `BaseEstimator`, with whatever it holds."""

    name = "sklearn.estimator"
    types = ("sklearn.base.BaseEstimator",)

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `estimator.skops`.

        Raises:
            MaterializerError: It holds types that are neither vetted nor trusted, or that skops cannot write.
        """
        import skops.io

        try:
            data = rewritten(skops.io.dumps(value))
        except Exception as exc:  # skops raises whatever the __reduce__ of a part raises
            raise _unwritable(value, artifact, f"skops cannot write it ({type(exc).__name__}: {exc}).") from exc
        unknown = untrusted(data, artifact.trusted)
        if unknown:
            named = ", ".join(repr(name) for name in unknown)
            raise _unwritable(
                value,
                artifact,
                f"it holds {', '.join(unknown)}, outside the vetted types that are loaded without being named. If "
                f"you trust that code, declare the output Artifact(trusted=[{named}]).",
            )
        writer.write("estimator.skops", data)

    def load(self, reader: BlobReader) -> Any:
        """The estimator."""
        import skops.io

        data = reader.read("estimator.skops")
        unknown = untrusted(data, reader.manifest.trusted)
        if unknown:
            raise MaterializerError(
                f"This estimator holds {', '.join(unknown)}, which this version of drystone-data has not vetted and "
                "its artifact does not name as trusted. Run the step that made it again, with those types in "
                "Artifact(trusted=[...]) if you trust that code."
            )
        return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Class, parameters and number of features."""
        noted: dict[str, Any] = {"estimator": type(value).__name__, "parameters": _parameters(value)}
        features = getattr(value, "n_features_in_", None)
        if features is not None:
            noted["features"] = int(features)
        return noted


PARTIAL = "functools.partial"
"""What holds a function with arguments: trusted where the function is vetted."""


def untrusted(data: bytes, trusted: Iterable[str]) -> list[str]:
    """What an archive holds that is neither vetted, nor a function of numpy on arrays, nor trusted by the artifact."""
    import skops.io

    allowed = VETTED.union(trusted)
    unknown = {name for name in skops.io.get_untrusted_types(data=data) if not (name in allowed or _is_ufunc(name))}
    if PARTIAL in unknown and all(name in VETTED or _is_ufunc(name) for name in partial_functions(data)):
        unknown.remove(PARTIAL)
    return sorted(unknown)


def _is_ufunc(name: str) -> bool:
    module, _, function = name.rpartition(".")
    if module not in NUMPY_MODULES:
        return False
    import numpy

    return isinstance(getattr(import_module(module), function, None), numpy.ufunc)


def _parameters(value: Any) -> dict[str, Any]:
    """The parameters as scikit-learn would show them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parameters = value.get_params(deep=False)
        except Exception:  # an estimator's own __init__ may break the rules of get_params
            return {}
    return {name: _plain(item) for name, item in sorted(parameters.items())}


def _plain(value: Any) -> Any:
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return value
    return repr(value)[:200]


def _unwritable(value: Any, artifact: Artifact, why: str) -> Exception:
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if artifact.allow_pickle:
        return EncodingError(f"A value of type {name} cannot be stored as an estimator: {why}")
    return MaterializerError(
        f"A value of type {name} cannot be stored: {why} Or store it with pickle: Artifact(allow_pickle=True)."
    )
