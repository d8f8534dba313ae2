from .choices import Choice
from .arm_config import ArmConfig
from .config import StudyConfig
from .learner_config import LearnerConfig
from .published import Published
from .result import StudyResult
from .rows import Measurement, ResultRow
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
