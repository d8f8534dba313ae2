from .config import ArmConfig, LearnerConfig, StudyConfig
from .result import StudyResult
from .rows import Measurement, Published, ResultRow
from .run import Study

__all__ = [
    "ArmConfig",
    "LearnerConfig",
    "Measurement",
    "Published",
    "ResultRow",
    "Study",
    "StudyConfig",
    "StudyResult",
]
