from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from drystone import Artifact, FsspecArtifactStore
from drystone.materializers import Materializers
from drystone.testing import MaterializerContract
from drystone_data import FigureMaterializer


def curve() -> Any:
    figure = Figure(figsize=(3, 2), dpi=50)
    axes = figure.subplots()
    axes.plot([1, 3, 2])
    axes.set_title("Delays")
    return figure


def blank() -> Any:
    return Figure(figsize=(1, 1))


def pixels(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return bytes(canvas.buffer_rgba())


class TestFigureMaterializer(MaterializerContract):
    materializer = FigureMaterializer

    def examples(self) -> Sequence[Callable[[], Any]]:
        return [curve, blank]

    def equal(self, one: Any, other: Any) -> bool:
        return type(one) is type(other) and pixels(one) == pixels(other)


def saved(figure: Any, tmp_path: Path) -> tuple[bytes, dict[str, Any]]:
    store = FsspecArtifactStore(url=f"file://{tmp_path}")
    materializers = Materializers([(FigureMaterializer, "drystone-data")], allow_pickle=False)
    manifest, noted = materializers.save(figure, Artifact(), store)
    digest = manifest.blobs[0].digest
    return store.read_range(f"blobs/{digest[:2]}/{digest}", 0, None), noted


def test_picture_names_neither_date_nor_software(tmp_path: Path) -> None:
    picture, _ = saved(curve(), tmp_path)
    assert picture.startswith(b"\x89PNG")
    assert b"Software" not in picture
    assert b"tIME" not in picture


def test_metadata_are_size_and_titles(tmp_path: Path) -> None:
    assert saved(curve(), tmp_path)[1] == {"width": 150, "height": 100, "titles": ["Delays"]}
    assert saved(blank(), tmp_path)[1] == {"width": 100, "height": 100}
