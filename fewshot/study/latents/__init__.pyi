from .config import ProbeArm, ProbeStudyConfig
from .report import LatentsResult
from .run import ProbeStudy, run_latents

__all__ = ["LatentsResult", "ProbeArm", "ProbeStudy", "ProbeStudyConfig", "run_latents"]
