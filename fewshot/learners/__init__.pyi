from .base import (
    BatchNormPolicy as BatchNormPolicy,
    Learner as Learner,
    LearnerFactory as LearnerFactory,
)
from .baseline_plus_plus import BaselinePlusPlus as BaselinePlusPlus
from .deformation_matching import DeformationMatching as DeformationMatching
from .free_form_matching import FreeFormMatching as FreeFormMatching
from .gradient.anil import ANIL as ANIL
from .gradient.base import GradientLearner as GradientLearner, MetaLearner as MetaLearner
from .gradient.fine_tune import FineTune as FineTune
from .gradient.maml import MAML as MAML
from .gradient.meta_sgd import MetaSGD as MetaSGD
from .gradient.reptile import Reptile as Reptile
from .linear_probe import LinearProbe as LinearProbe
from .matching import Matching as Matching
from .nearest_neighbour import NearestNeighbour as NearestNeighbour
from .neural_statistician.learner import NeuralStatistician as NeuralStatistician
from .prototypical import Prototypical as Prototypical
from .r2d2 import R2D2 as R2D2
from .refined_prototypical import RefinedPrototypical as RefinedPrototypical
from .relation import Relation as Relation
from .ridge import Ridge as Ridge
