from .centrality import (
    GenerativeModel as GenerativeModel,
    model_centrality as model_centrality,
)
from .collapse import image_to_chain_variance as image_to_chain_variance
from .deformation import (
    correlation_across_images as correlation_across_images,
    correlation_within_images as correlation_within_images,
    deform as deform,
    deformation_response as deformation_response,
)
from .disentanglement import disentanglement_scores as disentanglement_scores
from .factor import rank_correlation as rank_correlation
from .fixed_factor import (
    FixedFactorSampler as FixedFactorSampler,
    beta_vae_score as beta_vae_score,
    factor_vae_score as factor_vae_score,
    made_with_fixed_factor as made_with_fixed_factor,
    rows_with_fixed_factor as rows_with_fixed_factor,
)
from .frechet import FrechetDistance as FrechetDistance
from .held_out import HeldOut as HeldOut, Measure as Measure
from .importances import (
    DCI as DCI,
    dci as dci,
    disentanglement_and_completeness as disentanglement_and_completeness,
)
from .information import mig as mig, modularity as modularity
from .interventions import intervention_errors as intervention_errors
from .matching import matched_information as matched_information, mcc as mcc
from .probe import (
    linear_probe_error as linear_probe_error,
    linear_probe_wrong as linear_probe_wrong,
)
from .readout import explicitness as explicitness
from .retrieval import deformed_twice as deformed_twice, retrieval_error as retrieval_error
from .robustness import irs as irs
from .single_latents import sap as sap
from .udr import udr_scores as udr_scores
