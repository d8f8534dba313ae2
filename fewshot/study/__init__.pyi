from .config import ArmConfig, LearnerConfig, StudyConfig
from .published import Published
from .result import StudyResult
from .rows import Measurement, ResultRow
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
