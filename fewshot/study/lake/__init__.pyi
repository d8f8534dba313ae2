from .report import LakeResult
from .run import LakeStudy
from .runs import LakeRuns, draw_runs, read_runs

__all__ = ["LakeResult", "LakeRuns", "LakeStudy", "draw_runs", "read_runs"]
