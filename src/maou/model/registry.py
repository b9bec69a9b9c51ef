"""The backbone architectures by name: one file and one line each."""

from maou.model.resnet import ResNet
from maou.model.trunk import Trunk

BACKBONE_ARCHITECTURES: dict[str, type[Trunk]] = {
    "resnet": ResNet,
}
