"""Test images' embeddings for TensorBoard's projector, in the plain files that it reads.

Written here and not by ``SummaryWriter.add_embedding``, which writes through TensorFlow's file
system wherever TensorFlow is installed, and appends to the files of an earlier report.
"""

import io
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from fewshot.data.bank import ImageBank
from guided.encoder import Encoder
from guided.storage.files import write_bytes

IMAGES = 1000
SPRITE = 8192  # pixels: the largest side of a sheet that browsers take as a texture
THUMBNAIL = 64

CONFIG = "projector_config.pbtxt"


def write_projector(folder: Path, name: str, encoder: Encoder, bank: ImageBank) -> None:
    """Write embeddings, their classes and thumbnails, and the file that names them.

    Args:
        folder: of a run's events.
        name: of the embeddings on the page.
        encoder: in evaluation mode, on the CPU.
        bank: at most a thousand of its images are shown, evenly spaced.
    """
    rows = torch.linspace(0, len(bank) - 1, min(IMAGES, len(bank))).long()
    at_once = min(250, encoder.backbone.batch_size)
    with torch.no_grad():
        embeddings = torch.cat([encoder(bank.images[part]) for part in rows.split(at_once)])
    images = bank.shown(rows)
    side = thumbnail_side(images)
    files = {
        "projector_embeddings.tsv": _table([[f"{v:.5g}" for v in e] for e in embeddings.tolist()]),
        "projector_metadata.tsv": _table(metadata(bank, rows)),
        "projector_sprite.png": sprite(images, side),
        CONFIG: (
            f'embeddings {{\n  tensor_name: "{name}"\n'
            f"  tensor_shape: {len(rows)}\n  tensor_shape: {embeddings.shape[1]}\n"
            '  tensor_path: "projector_embeddings.tsv"\n'
            '  metadata_path: "projector_metadata.tsv"\n'
            '  sprite {\n    image_path: "projector_sprite.png"\n'
            f"    single_image_dim: {side}\n    single_image_dim: {side}\n  }}\n}}\n"
        ).encode(),
    }
    for file, content in files.items():
        write_bytes(folder / file, content)


def metadata(bank: ImageBank, rows: Tensor) -> list[list[str]]:
    """A header and a line an image: its class, its alphabet if names have one, its attributes."""
    numbers = {name: column[rows].tolist() for name, column in bank.attributes.items()}
    names = [bank.class_names[label] for label in bank.labels[rows].tolist()]
    columns = {"class": names}
    if all("/" in name for name in names):
        columns["alphabet"] = [name.rpartition("/")[0] for name in names]
    for name, values in numbers.items():
        columns.setdefault(name, [str(value) for value in values])
    # One column alone has no header, by the format.
    head = [list(columns)] if len(columns) > 1 else []
    return head + [list(line) for line in zip(*columns.values(), strict=True)]


def thumbnail_side(images: Tensor) -> int:
    """Side of a thumbnail in pixels: that of the images, as far as the sheet has room."""
    room = SPRITE // math.ceil(math.sqrt(len(images)))
    return min(max(images.shape[2:]), THUMBNAIL, room)


def sprite(images: Tensor, side: int) -> bytes:
    """A square sheet of thumbnails, row by row, as PNG.

    Args:
        images: uint8 ``[n, C, H, W]``.
        side: of a thumbnail.
    """
    columns = math.ceil(math.sqrt(len(images)))
    small = interpolate(images.float(), (side, side), mode="area")
    sheet = small.new_zeros(columns**2, 3, side, side)
    sheet[: len(images)] = small.expand(-1, 3, -1, -1)
    grid = sheet.unflatten(0, (columns, columns)).permute(0, 3, 1, 4, 2)
    pixels = grid.reshape(columns * side, columns * side, 3).round().byte().numpy()
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    return stored.getvalue()


def _table(lines: list[list[str]]) -> bytes:
    rows = ("\t".join(" ".join(cell.split()) for cell in line) for line in lines)
    return "".join(f"{row}\n" for row in rows).encode()
