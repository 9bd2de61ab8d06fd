"""The loss of a run's generator, which `tfdeblur.evaluation.losses` computes."""

from tfdeblur.metrics.metric import Metric

LOSS, ADVERSARIAL_LOSS, VALIDATION_LOSS = "loss", "adversarial_loss", "validation_loss"

METRICS = (
    Metric(
        LOSS,
        "Loss",
        "The generator's whole loss as its run minimizes it, with the run's weights, averaged over "
        "images; networks in inference mode. Terms are in the network's range of values, before "
        "clipping: an MSE on [-1, 1] is four times that on [0, 1]. Images whose size the network "
        "does not accept are padded by reflection. Compare only runs of the same objective.",
        higher_is_better=False,
        decimals=None,
        whole_images_only=True,
        comparable=False,
    ),
    Metric(
        ADVERSARIAL_LOSS,
        "Loss (Adv.)",
        "The adversarial term of that loss without its weight; for a Wasserstein objective minus "
        "the mean score of the restored image, so it may have either sign, and its scale is that "
        "of the run's own critic. Relativistic losses take the mean score of the image in place of "
        "the batch's. Compare only runs of the same objective and critic.",
        higher_is_better=False,
        decimals=None,
        whole_images_only=True,
        comparable=False,
    ),
    Metric(
        VALIDATION_LOSS,
        "Validation loss",
        "The loss of the run's own validation, on the split that it validates on, when it had seen "
        "as many images; with the averaged weights if the run keeps some.",
        higher_is_better=False,
        decimals=None,
        whole_images_only=True,
        comparable=False,
    ),
)
