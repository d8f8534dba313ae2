import guided.errors

from . import data as data, learners as learners, study as study, tasks as tasks
from .commands.compare import compare as compare
from .data.bank import ImageBank as ImageBank
from .deformations import DeformationFit as DeformationFit
from .episodes import Episodes as Episodes, Setting as Setting
from .evaluation import evaluate as evaluate, write_embeddings as write_embeddings
from .learners.base import Learner as Learner
from .meta_train import MetaTrained as MetaTrained, TrainConfig as TrainConfig, train as train
from .predictions import Evaluation as Evaluation
from .sampler import EpisodeSampler as EpisodeSampler
from .study.config import StudyConfig as StudyConfig

__version__: str
InputError = guided.errors.InputError
