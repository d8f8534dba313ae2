from . import (
    backbones as backbones,
    figures as figures,
    guidance as guidance,
    metrics as metrics,
    sparse_coding as sparse_coding,
    training as training,
)
from .augment import Augmentation as Augmentation
from .backbones import (
    Backbone as Backbone,
    Conv4 as Conv4,
    Dense as Dense,
    Embedded as Embedded,
    GuidedVAENet as GuidedVAENet,
    Imported as Imported,
    Linear as Linear,
    Pixels as Pixels,
    ResNet12 as ResNet12,
    ShortRunInference as ShortRunInference,
    SparseCode as SparseCode,
    Timm as Timm,
    Torchvision as Torchvision,
)
from .backbones.short_run import semi_amortised as semi_amortised
from .decoder import Decoder as Decoder
from .deformations import Deformations as Deformations
from .encoder import Encoder as Encoder
from .errors import InputError as InputError
from .guidance import (
    DIP as DIP,
    Capacity as Capacity,
    CausalMechanisms as CausalMechanisms,
    DeformablePCA as DeformablePCA,
    ExcitationInhibition as ExcitationInhibition,
    FactorVAE as FactorVAE,
    GeneralizedContrast as GeneralizedContrast,
    Guidance as Guidance,
    GuidanceContext as GuidanceContext,
    GuidanceModule as GuidanceModule,
    KnownDeformation as KnownDeformation,
    TotalCorrelation as TotalCorrelation,
    TraversalContrast as TraversalContrast,
)
from .guided_vae import GuidedVAE as GuidedVAE
from .latents import LatentLayout as LatentLayout
from .likelihoods import Bernoulli as Bernoulli, Gaussian as Gaussian, Likelihood as Likelihood
from .malloc import reuse_memory as reuse_memory
from .short_run import Langevin as Langevin
from .training.config import PretrainConfig as PretrainConfig
from .training.data import LabelledImages as LabelledImages
from .training.encoders import (
    EncoderTraining as EncoderTraining,
    PixelPCA as PixelPCA,
    ShortRun as ShortRun,
    SparseCoding as SparseCoding,
    TrainingContext as TrainingContext,
    train_encoder as train_encoder,
)
from .training.pretrain import Pretrained as Pretrained, pretrain as pretrain
from .vae import VAE as VAE, Posterior as Posterior

__version__: str
