"""What the network is trained to minimise."""

from dataclasses import dataclass

from maou.settings import Settings, setting

_GROUP = "Loss, optimizer, and scheduler"


@dataclass(frozen=True)
class LossConfig(Settings):
    """The policy loss's shape and the weights of the two losses."""

    gce_parameter: float = setting(
        0.1,
        "q of the generalised cross-entropy (1 - p^q)/q of the policy. Near 0 it is "
        "cross-entropy; nearer 1 it forgives wrong labels more.",
        _GROUP,
        above=0.0,
        maximum=1.0,
    )
    policy_loss_ratio: float = setting(
        1.0,
        "Weight of the policy loss in the total.",
        _GROUP,
        above=0.0,
    )
    value_loss_ratio: float = setting(
        1.0,
        "Weight of the value loss in the total.",
        _GROUP,
        above=0.0,
    )
