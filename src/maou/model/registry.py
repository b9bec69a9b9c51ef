"""The backbone architectures by name: one file and one line each."""

from maou.model.mlp_mixer import MlpMixer
from maou.model.resnet import ResNet
from maou.model.trunk import Trunk
from maou.model.vit import VisionTransformer

BACKBONE_ARCHITECTURES: dict[str, type[Trunk]] = {
    "resnet": ResNet,
    "mlp-mixer": MlpMixer,
    "vit": VisionTransformer,
}
