"""What the network is trained to minimise."""

from dataclasses import dataclass

from maou.errors import ConfigError
from maou.settings import STAGES, Settings, setting

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


@dataclass(frozen=True)
class MultiLabelShape:
    """The form of a multi-label loss; `maou.losses.multi_label` has its formula.

    The defaults are binary cross-entropy.
    """

    pos_weight: float = 1.0
    """Factor of the flags that are true."""

    gamma_pos: float = 0.0
    """How much the flags that are true and already likely are played down."""

    gamma_neg: float = 0.0
    """How much the flags that are false and already unlikely are played down."""

    clip: float = 0.0
    """Probability up to which a flag that is false costs nothing."""

    @property
    def asymmetric(self) -> bool:
        """Whether this is the asymmetric loss, not (weighted) cross-entropy."""
        return max(self.gamma_pos, self.gamma_neg, self.clip) > 0.0


@dataclass(frozen=True)
class StageLossConfig(Settings):
    """The losses of the stages before the last, over flags of squares and moves."""

    stage1_pos_weight: float = setting(
        1.0,
        "Weight of the reachable squares in stage 1's cross-entropy: above 1 favours "
        "recall, below 1 precision.",
        STAGES,
        above=0.0,
    )
    stage2_pos_weight: float = setting(
        1.0,
        "Weight of the legal moves in stage 2's cross-entropy: above 1 favours "
        "recall, below 1 precision. The asymmetric loss deals with the imbalance "
        "itself and leaves it at 1.",
        STAGES,
        above=0.0,
    )
    stage2_gamma_pos: float = setting(
        0.0,
        "Asymmetric loss of stage 2: how much legal moves already found likely are "
        "played down. Recommended: 0, not at all.",
        STAGES,
        minimum=0.0,
    )
    stage2_gamma_neg: float = setting(
        0.0,
        "Asymmetric loss of stage 2: how much illegal moves already found unlikely "
        "are played down. 0 is plain cross-entropy; 2 is usual for imbalanced data. It "
        "trades precision for recall.",
        STAGES,
        minimum=0.0,
    )
    stage2_clip: float = setting(
        0.0,
        "Asymmetric loss of stage 2: illegal moves of at most this probability cost "
        "nothing, and the probability of the others counts less this margin. 0 is "
        "off; 0.02 is usual.",
        STAGES,
        minimum=0.0,
        below=1.0,
    )

    def check(self) -> None:
        """Check that stage 2 has one way of weighing its flags.

        Raises:
            ConfigError: both the asymmetric loss and a weight are asked for.
        """
        if self.stage2.asymmetric and self.stage2_pos_weight != 1.0:
            raise ConfigError(
                f"--stage2-pos-weight {self.stage2_pos_weight:g} belongs to plain "
                "cross-entropy, but --stage2-gamma-pos, --stage2-gamma-neg or "
                "--stage2-clip above 0 chooses the asymmetric loss; leave the weight "
                "at 1, or all three at 0"
            )

    @property
    def stage1(self) -> MultiLabelShape:
        """The loss of stage 1, over the squares."""
        return MultiLabelShape(pos_weight=self.stage1_pos_weight)

    @property
    def stage2(self) -> MultiLabelShape:
        """The loss of stage 2, over the moves."""
        return MultiLabelShape(
            pos_weight=self.stage2_pos_weight,
            gamma_pos=self.stage2_gamma_pos,
            gamma_neg=self.stage2_gamma_neg,
            clip=self.stage2_clip,
        )
