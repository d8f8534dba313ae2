from .deformation import (
    correlation_across_images as correlation_across_images,
    correlation_within_images as correlation_within_images,
    deform as deform,
    deformation_response as deformation_response,
)
from .factor import rank_correlation as rank_correlation
from .frechet import FrechetDistance as FrechetDistance
from .held_out import HeldOut as HeldOut, Measure as Measure
from .probe import (
    linear_probe_error as linear_probe_error,
    linear_probe_wrong as linear_probe_wrong,
)
from .retrieval import deformed_twice as deformed_twice, retrieval_error as retrieval_error
