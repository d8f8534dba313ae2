from .base import (
    EncoderTraining as EncoderTraining,
    TrainedEncoder as TrainedEncoder,
    TrainingContext as TrainingContext,
    build_encoder as build_encoder,
    train_encoder as train_encoder,
)
from .pixel_pca import PixelPCA as PixelPCA
from .short_run import ShortRun as ShortRun
from .sparse_coding import SparseCoding as SparseCoding
