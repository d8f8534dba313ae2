from .base import Backbone as Backbone, BackboneFactory as BackboneFactory, ImageShape as ImageShape
from .conv4 import Conv4 as Conv4
from .dense import Dense as Dense
from .embedded import Embedded as Embedded
from .foreign.imported import Imported as Imported
from .foreign.timm_models import Timm as Timm
from .foreign.torchvision_models import Torchvision as Torchvision
from .guided_vae_net import GuidedVAENet as GuidedVAENet
from .linear import Linear as Linear
from .pixels import Pixels as Pixels
from .resnet12 import ResNet12 as ResNet12
from .short_run import ShortRunInference as ShortRunInference
from .sparse_code import SparseCode as SparseCode
