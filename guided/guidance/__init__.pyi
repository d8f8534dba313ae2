from .base import (
    Guidance as Guidance,
    GuidanceContext as GuidanceContext,
    GuidanceModule as GuidanceModule,
    Measures as Measures,
)
from .capacity import Capacity as Capacity
from .causal_mechanisms import CausalMechanisms as CausalMechanisms
from .deformable_pca import DeformablePCA as DeformablePCA
from .dip import DIP as DIP
from .excitation_inhibition import ExcitationInhibition as ExcitationInhibition
from .factor_vae import FactorVAE as FactorVAE
from .generalized_contrast import GeneralizedContrast as GeneralizedContrast
from .known_deformation import KnownDeformation as KnownDeformation
from .total_correlation import TotalCorrelation as TotalCorrelation
from .traversal_contrast import TraversalContrast as TraversalContrast
