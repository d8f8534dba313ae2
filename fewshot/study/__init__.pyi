from .arm_config import ArmConfig
from .choices import Choice
from .config import StudyConfig
from .learner_config import LearnerConfig
from .measurement import Measurement
from .published import Published
from .result import StudyResult
from .rows import ResultRow
from .run import Study

__all__ = [
    "ArmConfig",
    "Choice",
    "LearnerConfig",
    "Measurement",
    "Published",
    "ResultRow",
    "Study",
    "StudyConfig",
    "StudyResult",
]
