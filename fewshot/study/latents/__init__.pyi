from .config import ProbeArm, ProbeStudyConfig
from .report import LatentsResult
from .run import ProbeStudy

__all__ = ["LatentsResult", "ProbeArm", "ProbeStudy", "ProbeStudyConfig"]
