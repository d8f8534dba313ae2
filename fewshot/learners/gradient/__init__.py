"""Learners that adapt to an episode by gradient steps."""

from fewshot.learners.gradient.anil import ANIL
from fewshot.learners.gradient.base import GradientLearner
from fewshot.learners.gradient.fine_tune import FineTune
from fewshot.learners.gradient.maml import MAML
from fewshot.learners.gradient.meta_sgd import MetaSGD
from fewshot.learners.gradient.reptile import Reptile

__all__ = ["ANIL", "MAML", "FineTune", "GradientLearner", "MetaSGD", "Reptile"]
