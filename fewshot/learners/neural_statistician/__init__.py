"""The Neural Statistician, plain or guided."""

from fewshot.learners.neural_statistician.learner import NeuralStatistician

__all__ = ["NeuralStatistician"]
