"""matplotlib figures, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from drystone import Artifact, BlobReader, BlobWriter, Materializer


class FigureMaterializer(Materializer):
    """A figure as the picture it shows, without date and version of software.

    What is read is a figure again, of the same size, that shows the picture; lines and texts are pixels in it.
    """

    name = "matplotlib.figure"
    types = ("matplotlib.figure.Figure",)

    def save(self, value: Any, writer: BlobWriter, artifact: Artifact) -> None:
        """Write `figure.png`, at the figure's own resolution."""
        buffer = io.BytesIO()
        value.savefig(buffer, format="png", dpi="figure", bbox_inches=None, metadata={"Software": None})
        writer.write("figure.png", buffer.getvalue())

    def load(self, reader: BlobReader) -> Any:
        """A figure that shows the picture."""
        from matplotlib.figure import Figure
        from matplotlib.image import pil_to_array
        from PIL import Image

        picture = Image.open(io.BytesIO(reader.read("figure.png")))
        dpi = picture.info["dpi"][0]
        # a figure truncates its size to pixels, so aim between two
        figure = Figure(figsize=((picture.width + 0.5) / dpi, (picture.height + 0.5) / dpi), dpi=dpi)
        figure.figimage(pil_to_array(picture))
        return figure

    def metadata(self, value: Any) -> Mapping[str, Any]:
        """Width and height in pixels, and the titles of its axes."""
        width, height = value.get_size_inches() * value.dpi
        titles = [axes.get_title() for axes in value.axes if axes.get_title()]
        return {"width": int(width), "height": int(height), **({"titles": titles} if titles else {})}
