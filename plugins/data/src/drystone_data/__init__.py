"""Drystone materializers for numpy, pandas, polars, Arrow, scikit-learn and matplotlib.

Importing any module of this package imports none of these libraries: they are loaded when a value of theirs appears.
"""

from drystone_data.arrays import ArrayMaterializer
from drystone_data.estimators import EstimatorMaterializer
from drystone_data.figures import FigureMaterializer
from drystone_data.pandas_frames import PandasFrameMaterializer, PandasSeriesMaterializer
from drystone_data.polars_frames import PolarsFrameMaterializer, PolarsSeriesMaterializer
from drystone_data.tables import TableMaterializer

__all__ = [
    "ArrayMaterializer",
    "EstimatorMaterializer",
    "FigureMaterializer",
    "PandasFrameMaterializer",
    "PandasSeriesMaterializer",
    "PolarsFrameMaterializer",
    "PolarsSeriesMaterializer",
    "TableMaterializer",
]
