from .config import ArmConfig, LearnerConfig, StudyConfig
from .result import StudyResult
from .rows import Measurement, Published, ResultRow
from .run import Study, run_study

__all__ = [
    "ArmConfig",
    "LearnerConfig",
    "Measurement",
    "Published",
    "ResultRow",
    "Study",
    "StudyConfig",
    "StudyResult",
    "run_study",
]
