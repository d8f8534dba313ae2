from .base import (
    Guidance as Guidance,
    GuidanceContext as GuidanceContext,
    GuidanceModule as GuidanceModule,
    Measures as Measures,
)
from .deformable_pca import DeformablePCA as DeformablePCA
from .excitation_inhibition import ExcitationInhibition as ExcitationInhibition
from .known_deformation import KnownDeformation as KnownDeformation
