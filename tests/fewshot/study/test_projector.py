"""Files of TensorBoard's projector, read back with TensorBoard's own reader."""

import io

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.plugins.projector.projector_plugin import _read_tensor_tsv_file

from fewshot.data import Glyphs
from fewshot.study.projector import CONFIG, IMAGES, SPRITE, metadata, sprite, thumbnail_side
from guided.encoder import Encoder


def test_a_study_has_embeddings_of_each_arm(finished, cache):
    settings = finished.config["dataset"]["init_args"]
    test = Glyphs(**settings).splits().test
    for arm in ("pixels", "vae"):
        folder = finished.folder / arm / "seed0"
        (found,) = text_format.Parse((folder / CONFIG).read_text(), ProjectorConfig()).embeddings
        embeddings = _read_tensor_tsv_file(str(folder / found.tensor_path))
        assert list(embeddings.shape) == list(found.tensor_shape)
        header, *lines = (folder / found.metadata_path).read_text().splitlines()
        assert len(lines) == len(embeddings) == len(test) <= IMAGES
        assert header.split("\t")[0] == "class"
        names = [line.split("\t")[0] for line in lines]
        assert names == [test.class_names[label] for label in test.labels]
        with Image.open(folder / found.sprite.image_path) as sheet:
            columns = int(np.ceil(np.sqrt(len(lines))))
            width, height = found.sprite.single_image_dim
            assert sheet.size == (columns * width, columns * height)
    (cell,) = (finished.folder / "cells").glob("encoder-vae-seed0-*")
    encoder = Encoder.load(cell / "encoder.safetensors")
    with torch.no_grad():
        expected = encoder(test.images)
    assert embeddings == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-4)


def test_thumbnails_stand_in_order_and_within_what_browsers_take():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 4, 4) * 40
    with Image.open(io.BytesIO(sprite(images, 4))) as sheet:
        pixels = np.asarray(sheet)[2::4, 2::4, 0]
    assert pixels.tolist() == [[0, 40, 80], [120, 160, 0], [0, 0, 0]]
    large = torch.zeros(1, dtype=torch.uint8).expand(IMAGES, 3, 500, 300)
    assert 32 * thumbnail_side(large) <= SPRITE


def test_metadata_name_class_alphabet_and_drawer(make_bank):
    bank = make_bank(n_classes=2, sizes=2)
    assert metadata(bank, torch.tensor([0, 3])) == [["class 0"], ["class 1"]]
    named = type(bank)(
        bank.images,
        bank.labels,
        ("Greek/1", "Latin/2"),
        {"alphabet": bank.labels, "drawer": torch.tensor([0, 1, 0, 1])},
    )
    assert metadata(named, torch.tensor([0, 3])) == [
        ["class", "alphabet", "drawer"],
        ["Greek/1", "Greek", "0"],
        ["Latin/2", "Latin", "1"],
    ]
