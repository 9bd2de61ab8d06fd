"""The gradient that a blurred input has lost."""

import numpy as np
import scipy.ndimage
import skimage.data

from tfdeblur.evaluation.blur import lost_gradient


def test_lost_gradient_grows_with_the_blur_and_is_one_for_a_flat_image():
    sharp = np.float32(skimage.data.astronaut()[60:140, 180:270] / 255.0)[np.newaxis]
    blurred = [scipy.ndimage.gaussian_filter(sharp, (0, s, s, 0)) for s in (0.6, 1.2, 3.0)]
    lost = [float(lost_gradient(sharp, image)[0]) for image in [sharp, *blurred]]
    assert lost == sorted(lost) and abs(lost[0]) < 1e-6 and 0.4 < lost[-1] < 1
    flat = np.full_like(sharp, 0.5)
    assert abs(float(lost_gradient(sharp, flat)[0]) - 1) < 1e-5
    assert np.isfinite(lost_gradient(flat, flat)).all()
