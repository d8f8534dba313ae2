from .classifier import (
    Classifier as Classifier,
    ClassifierConfig as ClassifierConfig,
    train_classifier as train_classifier,
)
from .config import PretrainConfig as PretrainConfig
from .data import Images as Images, LabelledImages as LabelledImages
from .log import RunLog as RunLog
from .precision import Precision as Precision, autocast as autocast
from .pretrain import (
    Pretrained as Pretrained,
    build_model as build_model,
    negative_elbo as negative_elbo,
)
from .state import Progress as Progress, ResumableState as ResumableState, Score as Score
