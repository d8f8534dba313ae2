"""TensorBoard logs."""

import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from torch import Tensor

from guided.storage.files import drawn, write_figure
from guided.training.grid import image_grid
from guided.training.log_tags import meaning

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from tensorboard.compat.proto.summary_pb2 import Summary


class RunLog:
    """Writes TensorBoard events under a folder; without a folder every call does nothing.

    Args:
        folder: of the events.
        steps_done: by a run that is resumed; events of later steps, which were written before it
            was killed, are hidden.
        suffix: of the event file's name.
    """

    def __init__(
        self, folder: Path | None, steps_done: int | None = None, *, suffix: str = ""
    ) -> None:
        self._writer = None
        if folder is not None:
            from torch.utils.tensorboard.writer import SummaryWriter

            purge_step = None if steps_done is None else steps_done + 1
            self._writer = SummaryWriter(str(folder), purge_step=purge_step, filename_suffix=suffix)

    @property
    def active(self) -> bool:
        """True if anything is written; otherwise pictures need not be drawn."""
        return self._writer is not None

    def scalars(
        self,
        group: str,
        values: Mapping[str, float | Tensor],
        step: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> None:
        """One curve per name, under ``group/name``, of scalars.

        Args:
            group: see :mod:`guided.training.log_tags`.
            values: by name.
            step: at which they are entered.
            descriptions: of the curves, by name; that of a known name or group if not given.
        """
        if self._writer is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        # A tensor of TensorBoard 2: its loader of events drops the descriptions of plain values.
        entries = Summary()
        for name, value in values.items():
            tag = f"{group}/{name}"
            said = (descriptions or {}).get(name) or meaning(tag)
            entries.MergeFrom(scalar_pb(tag, float(value), description=said))
        self.summary(entries, step)

    def summary(self, summary: "Summary", step: int = 0) -> None:
        """Any of TensorBoard's summaries."""
        if self._writer is not None:
            self._writer._get_file_writer().add_summary(summary, step)

    def layout(self, charts: Mapping[str, Mapping[str, list[str]]]) -> None:
        """Charts of several curves: category -> title -> regular expressions of tags."""
        if self._writer is not None:
            self._writer.add_custom_scalars(
                {
                    category: {title: ["Multiline", tags] for title, tags in own.items()}
                    for category, own in charts.items()
                }
            )

    def images(self, name: str, images: Tensor, step: int, columns: int = 8) -> None:
        """A grid of images ``[n, C, H, W]`` in [0, 1]."""
        if self._writer is not None:
            self._picture(name, image_grid(images, columns), step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """A histogram of values ``[…]`` of any shape."""
        if self._writer is not None:
            self._writer.add_histogram(name, values, step)

    def figure(
        self, name: str, figure: "Figure", step: int = 0, *, file: Path | None = None
    ) -> None:
        """A matplotlib figure, which is drawn once: for the log, and for a PNG file.

        Args:
            name: in the log.
            figure: to draw.
            step: at which it is entered.
            file: written, too, if given; also without a log.
        """
        if file is not None:
            write_figure(file, figure)
        if self._writer is not None:
            self._picture(name, drawn(figure) if file is None else file.read_bytes(), step)

    def _picture(self, name: str, png: bytes, step: int) -> None:
        """A picture as it is: ``SummaryWriter.add_image`` would decode, scale and encode it."""
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        with Image.open(io.BytesIO(png)) as header:
            width, height = header.size
            channels = len(header.getbands())
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=png
        )
        self.summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def text(self, name: str, markdown: str, step: int = 0) -> None:
        """A text in Markdown."""
        if self._writer is not None:
            self._writer.add_text(name, markdown, step)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
