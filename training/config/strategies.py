"""Options of the learning strategies, one dataclass each, with the paper's values as defaults.

They live apart from the strategies so that the command line can describe them without importing
PyTorch. Each strategy's module imports its own from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.files.errors import ActisegError


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Refuses the value of an option such as ``gce.q``.

    Raises:
        ActisegError: Unless `condition` holds; names the option, its value and what is allowed.
    """
    if not condition:
        flag = name.replace("_", "-")
        raise ActisegError(f"--{flag} is {value}; it must be {allowed}")


@dataclass(frozen=True)
class CoTeachingOptions:
    """Co-teaching of two networks."""

    forget_rate: float | Literal["noise_rate"] = 0.05
    """Share of the samples that is left out in the end, in [0, 1) (paper: 0.05, since it keeps loss
    ranks up to 0.95); `noise_rate` takes the run's `text_noise`, as the authors of co-teaching
    do."""
    gradual_epochs: int = 6
    """T_k, epochs over which the share rises from 0, at least 1 (paper: 6)."""
    window: int = 128
    """Samples (prompts) of each process that are ranked together, at least 2 (paper: 128)."""

    def __post_init__(self) -> None:
        rate = self.forget_rate
        allowed = isinstance(rate, str) or 0 <= rate < 1
        require(allowed, "co_teaching.forget_rate", rate, "in [0, 1) or noise_rate")
        require(
            self.gradual_epochs >= 1,
            "co_teaching.gradual_epochs",
            self.gradual_epochs,
            "at least 1",
        )
        require(self.window >= 2, "co_teaching.window", self.window, "at least 2")


@dataclass(frozen=True)
class GCEOptions:
    """Generalised cross entropy."""

    q: float = 0.7
    """Exponent in (0, 1]: towards 0 cross entropy, at 1 the absolute error (paper: 0.7)."""

    def __post_init__(self) -> None:
        require(0 < self.q <= 1, "gce.q", self.q, "in (0, 1]")


@dataclass(frozen=True)
class SCEOptions:
    """Symmetric cross entropy; the paper gives no values."""

    alpha: float = 0.1
    """Weight of the cross entropy, at least 0."""
    beta: float = 1.0
    """Weight of the reverse cross entropy, at least 0; only beta |A| matters for two classes."""
    log_of_zero: float = -4.0
    """A, which stands for log 0, below 0; the authors of SCE advise small |A| for many pixels."""

    def __post_init__(self) -> None:
        require(self.alpha >= 0, "sce.alpha", self.alpha, "at least 0")
        require(self.beta >= 0, "sce.beta", self.beta, "at least 0")
        require(self.log_of_zero < 0, "sce.log_of_zero", self.log_of_zero, "below 0")


@dataclass(frozen=True)
class APLOptions:
    """Active and passive loss."""

    variant: Literal["gce+mae", "nce+mae"] = "gce+mae"
    """Active and passive term: `gce+mae` as the paper prints, or `nce+mae` (normalised cross
    entropy), which the authors of APL propose."""
    q: float = 0.7
    """Exponent of GCE in (0, 1] (paper: 0.7)."""
    active: float = 1.0
    """Weight of the active term, at least 0 (the paper gives none)."""
    passive: float = 1.0
    """Weight of the passive term, at least 0 (the paper gives none)."""

    def __post_init__(self) -> None:
        require(0 < self.q <= 1, "apl.q", self.q, "in (0, 1]")
        require(self.active >= 0, "apl.active", self.active, "at least 0")
        require(self.passive >= 0, "apl.passive", self.passive, "at least 0")


@dataclass(frozen=True)
class ELROptions:
    """Early-learning regularisation."""

    beta: float = 0.9
    """Share of the history's average, in (0, 1) (paper: 0.9); of which side says
    `history_weight`."""
    history_weight: Literal["new_heavy", "old_heavy"] = "new_heavy"
    """`new_heavy`: s = (1 - beta) s + beta p, as the paper prints; `old_heavy`:
    s = beta s + (1 - beta) p, as the authors of ELR do."""
    initial: Literal["first_prediction", "zero"] = "first_prediction"
    """History before the first prediction: that prediction itself, or 0, which the authors of ELR
    start from and which pulls towards the background while epochs are few."""
    sign: Literal["official", "as_printed"] = "official"
    """`official`: R = log(1 - d + epsilon), which draws towards the history; `as_printed`: its
    negative, which drives away from it."""
    strength: float = 1.0
    """Lambda, weight of the regulariser, at least 0 (paper: 1)."""
    alpha: float = 0.5
    """Share of the foreground in the focal loss, in [0, 1] (paper: 0.5)."""
    gamma: float = 2.0
    """Exponent of the focal loss, at least 1 (paper: 2)."""
    history_dtype: Literal["float16", "float32"] = "float16"
    """Precision of the histories on disk, two or four bytes a pixel; the paper names none."""
    epsilon: float = 1e-6
    """Added inside the logarithm, above 0 (paper: 1e-6)."""
    clamp: float = 1e-4
    """Predictions are kept this far from 0 and 1 in the regulariser, in [0, 0.5), as the authors of
    ELR do; the paper names none (0)."""

    def __post_init__(self) -> None:
        require(0 < self.beta < 1, "elr.beta", self.beta, "in (0, 1)")
        require(self.strength >= 0, "elr.strength", self.strength, "at least 0")
        require(0 <= self.alpha <= 1, "elr.alpha", self.alpha, "in [0, 1]")
        require(self.gamma >= 1, "elr.gamma", self.gamma, "at least 1")
        require(self.epsilon > 0, "elr.epsilon", self.epsilon, "above 0")
        require(0 <= self.clamp < 0.5, "elr.clamp", self.clamp, "in [0, 0.5)")


@dataclass(frozen=True)
class NPNOptions:
    """Partial labels, negative learning and agreement of two views."""

    alpha: float = 0.1
    """Weight of negative learning, at least 0 (paper: 0.1)."""
    beta: float = 0.2
    """Weight of the agreement of both views, at least 0; 0 saves the second view (paper: 0.2)."""
    count: Literal["as_printed", "predicted_only"] = "as_printed"
    """`as_printed`: label and prediction count as candidates in every epoch, so a label can never
    lose by more than a tie; `predicted_only`: only the prediction, as the authors of NPN do."""
    warmup_epochs: int = 1
    """Epochs of focal loss on the given labels before anything is counted, at least 0 (the paper
    names none)."""
    partial: Literal["focal", "cross_entropy"] = "focal"
    """Form of the partial label loss: `focal` as Sec. V-B says, `cross_entropy` as Eq. 2 prints."""
    focal_alpha: float = 0.5
    """Share of the foreground in the focal loss, in [0, 1] (paper, for ELR: 0.5)."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss, at least 1 (paper, for ELR: 2)."""
    view_seed: int = 0
    """Seed of the colours of the second view, at least 0."""

    def __post_init__(self) -> None:
        require(self.alpha >= 0, "npn.alpha", self.alpha, "at least 0")
        require(self.beta >= 0, "npn.beta", self.beta, "at least 0")
        require(self.warmup_epochs >= 0, "npn.warmup_epochs", self.warmup_epochs, "at least 0")
        require(0 <= self.focal_alpha <= 1, "npn.focal_alpha", self.focal_alpha, "in [0, 1]")
        require(self.focal_gamma >= 1, "npn.focal_gamma", self.focal_gamma, "at least 1")
        require(self.view_seed >= 0, "npn.view_seed", self.view_seed, "at least 0")


@dataclass(frozen=True)
class PMHMOptions:
    """Parallel mask head."""

    tau_m: float = 0.20
    """Half width of the margin around 0.5 where pixels are uncertain, in [0, 0.5] (paper: 0.20)."""
    tau_e: float = 0.85
    """Gradient above which pixels are uncertain, at least 0 (paper: 0.85)."""
    gradient: Literal["sobel", "central", "forward"] = "sobel"
    """Operator of the gradient on the grid of the masks; the paper names none. The plain `sobel`
    reaches 4.4; `central` differences stay below 0.71 and so never pass 0.85; `forward` ones
    reach 1.41."""
    lambda_head: float = 0.1
    """Weight of the agreement of both heads, at least 0 (paper: 0.1)."""
    lambda_layer: float = 0.1
    """Weight of the agreement of all decoder layers, at least 0 (paper: 0.1)."""
    detach_main: bool = False
    """Whether the main head's last layer is a constant in both agreements, so that only the
    auxiliary head and the earlier layers learn from them. As printed, both sides learn."""
    hard_dice: Literal["confident", "all"] = "confident"
    """Pixels of the Dice part of L_hard: `confident` leaves the uncertain ones out as the focal
    part does; `all` keeps the Dice loss of whole masks. The paper does not say."""
    dropout: float = 0.1
    """Dropout on the queries that the auxiliary head reads, in [0, 1); the paper gives no rate."""
    freeze: float = 0.5
    """Probability in [0, 1] that the auxiliary head does not learn from a batch, in the first
    epoch; it falls linearly to 0 in the last one. The paper gives no rate."""
    auxiliary_start: Literal["main", "random"] = "main"
    """First weights of the auxiliary head: the main head's, which may be pretrained, or random
    ones. The paper does not say."""

    def __post_init__(self) -> None:
        require(0 <= self.tau_m <= 0.5, "pmhm.tau_m", self.tau_m, "in [0, 0.5]")
        require(self.tau_e >= 0, "pmhm.tau_e", self.tau_e, "at least 0")
        require(self.lambda_head >= 0, "pmhm.lambda_head", self.lambda_head, "at least 0")
        require(self.lambda_layer >= 0, "pmhm.lambda_layer", self.lambda_layer, "at least 0")
        require(0 <= self.dropout < 1, "pmhm.dropout", self.dropout, "in [0, 1)")
        require(0 <= self.freeze <= 1, "pmhm.freeze", self.freeze, "in [0, 1]")
