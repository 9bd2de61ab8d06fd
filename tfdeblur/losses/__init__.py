"""Content losses by name: pixel losses, frequency losses and, in `perceptual`, VGG19 features.

All of them compare two image batches and return one value per example.
"""

import dataclasses
from collections.abc import Callable

from tfdeblur.losses import frequency, pixel
from tfdeblur.ops.shapes import ImageBatch, PerExample

__all__ = ["CONTENT_LOSSES", "ContentLoss"]


@dataclasses.dataclass(frozen=True)
class ContentLoss:
    """A content loss without state.

    Attributes:
        per_example: The function, which takes `(sharp, restored)`.
        takes_data_range: Whether it also takes `data_range`, because it is relative to the peak.
    """

    per_example: Callable[..., PerExample]
    takes_data_range: bool = False

    def __call__(
        self, sharp: ImageBatch, restored: ImageBatch, *, data_range: float = 1.0
    ) -> PerExample:
        """Returns the loss of each example.

        Args:
            sharp: Target images [B, H, W, C].
            restored: Restored images of the same shape and value range.
            data_range: Width of the value range: 1 for images in [0, 1], 2 for [-1, 1].

        Returns:
            float32 [B].
        """
        options = {"data_range": data_range} if self.takes_data_range else {}
        return self.per_example(sharp, restored, **options)


CONTENT_LOSSES: dict[str, ContentLoss] = {
    "mse": ContentLoss(pixel.mse_per_example),
    "mae": ContentLoss(pixel.mae_per_example),
    "log_cosh": ContentLoss(pixel.log_cosh_per_example),
    "charbonnier": ContentLoss(pixel.charbonnier_per_example),
    "negative_psnr": ContentLoss(pixel.negative_psnr_per_example, takes_data_range=True),
    "fft": ContentLoss(frequency.fft_per_example),
}
