"""The groups of curves in TensorBoard, in the order in which they are shown, and their meanings."""

VALIDATION = "1_validation"
TEST = "2_test"
LOSS = "3_loss"
WEIGHTED = "3_loss_weighted"
MEASURED = "4_measured"

FEW_SHOT_ERROR = "few_shot_error_%"

GROUPS = {
    VALIDATION: "Measured on held-out images.",
    TEST: "On the test classes, of the state that was kept; one point, at that state's step.",
    LOSS: "On the training batch, unweighted; images' losses are nats per image.",
    WEIGHTED: "On the training batch, times its weight, where that is not 1.",
    MEASURED: "Measured on the training batch.",
}

MEANINGS = {
    FEW_SHOT_ERROR: "Mean error of few-shot episodes in percent; the step where it is lowest is "
    "kept.",
    "negative_elbo": "Reconstruction and KL together, nats per image.",
    "reconstruction": "Negative log likelihood of the images given their latents, nats per image.",
    "kl": "KL divergence of the posterior from the prior, nats per image.",
    "score": "Number by which states are compared; the step where it is lowest is kept.",
    "total": "Minimised by the main optimizer: the weighted sum of its terms.",
    "episodes": "Mean loss of the step's training episodes.",
    "negative_log_joint": "Of images and their inferred latents, nats per image.",
}


def meaning(tag: str) -> str:
    """The description of a curve, Markdown."""
    group, _, name = tag.partition("/")
    return " ".join(filter(None, [MEANINGS.get(name, ""), GROUPS.get(group, "")]))
