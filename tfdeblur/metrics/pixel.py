"""Mean errors over pixels."""

from tfdeblur.losses import pixel
from tfdeblur.metrics.metric import Metric

_OVER = "on [0, 1] over height, width and channels, averaged over images."

METRICS = (
    Metric(
        "mse",
        "MSE",
        f"Mean squared error {_OVER}",
        pixel.mse_per_example,
        higher_is_better=False,
        unit="e-3",
        scale=1e3,
        decimals=3,
        quick=True,
    ),
    Metric(
        "mae",
        "MAE",
        f"Mean absolute error {_OVER}",
        pixel.mae_per_example,
        higher_is_better=False,
        unit="e-2",
        scale=1e2,
        decimals=3,
        quick=True,
    ),
    Metric(
        "log_cosh",
        "LogCosh",
        f"Mean of log(cosh(difference)) {_OVER}",
        pixel.log_cosh_per_example,
        higher_is_better=False,
        unit="e-4",
        scale=1e4,
        decimals=2,
        quick=True,
    ),
)
