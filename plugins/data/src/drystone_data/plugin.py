"""What this plugin offers."""

from __future__ import annotations

from drystone import Materializer, hookimpl


@hookimpl
def drystone_materializers() -> list[type[Materializer]]:
    """The materializers for data libraries."""
    import drystone_data

    return [
        drystone_data.ArrayMaterializer,
        drystone_data.PandasFrameMaterializer,
        drystone_data.PandasSeriesMaterializer,
        drystone_data.PolarsFrameMaterializer,
        drystone_data.PolarsSeriesMaterializer,
        drystone_data.TableMaterializer,
        drystone_data.EstimatorMaterializer,
        drystone_data.FigureMaterializer,
    ]
