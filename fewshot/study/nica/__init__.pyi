from .config import Estimator, Mixing, NicaStudyConfig, Sources
from .report import NicaResult
from .run import NicaStudy

__all__ = ["Estimator", "Mixing", "NicaResult", "NicaStudy", "NicaStudyConfig", "Sources"]
