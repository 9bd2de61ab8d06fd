"""Every measure of the full score card against float64 references that are not ours."""

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data
import tensorflow as tf
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tfdeblur.metrics import basic, protocols

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def volume_ssim(sharp, restored):
    """SSIM of a volume of depth 3 by SciPy's Gaussian, in float64."""

    def mean(values):
        return scipy.ndimage.gaussian_filter(values, 1.5, mode="nearest", truncate=3.5)

    mx, my = mean(sharp), mean(restored)
    vx, vy = mean(sharp**2) - mx**2, mean(restored**2) - my**2
    covariance = mean(sharp * restored) - mx * my
    top = (2 * mx * my + 1e-4) * (2 * covariance + 9e-4)
    return np.mean(top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))


def expected(sharp, restored):
    """All measures of one pair in float64; images in [0, 1]."""
    luma = [skimage.color.rgb2ycbcr(image)[..., 0] / 255 for image in (sharp, restored)]
    colors = {"data_range": 1.0, "channel_axis": -1}
    _, whole_map = structural_similarity(sharp, restored, full=True, **colors, **GAUSSIAN)
    return {
        "psnr": peak_signal_noise_ratio(sharp, restored, data_range=1.0),
        "psnr_y": peak_signal_noise_ratio(*luma, data_range=1.0),
        "ssim": float(tf.image.ssim(*(np.float32(i) for i in (sharp, restored)), 1.0)),
        "ssim_uniform": structural_similarity(sharp, restored, **colors),
        "ssim_gaussian": structural_similarity(sharp, restored, **colors, **GAUSSIAN),
        "ssim_border": whole_map.mean(),
        "ssim_volume": volume_ssim(sharp, restored),
        "ssim_y": structural_similarity(*luma, data_range=1.0, **GAUSSIAN),
    }


def measured(sharp, restored):
    pair = [np.float32(image)[np.newaxis] for image in (sharp, restored)]
    names = protocols.fitting(*sharp.shape[:2])
    return {name: float(protocols.MEASURES[name].function(*pair)[0]) for name in names}


@pytest.fixture(scope="module")
def photos():
    """A photograph's crop with a faint and a coarse error, and a nearly white one."""
    rng = np.random.default_rng(3)
    photo = skimage.data.astronaut()[60:140, 180:270] / 255.0
    white = 0.96 + 0.03 * photo
    return [
        (image, np.clip(image + rng.normal(0, noise, image.shape), 0, 1))
        for image, noise in ((photo, 0.01), (photo, 0.2), (white, 0.004))
    ]


def test_every_measure_agrees_with_float64_references(photos):
    for sharp, restored in photos:
        wanted, found = expected(sharp, restored), measured(sharp, restored)
        assert set(wanted) == set(found)
        for key, value in wanted.items():
            assert found[key] == pytest.approx(value, abs=1e-4), key


def test_the_variants_are_different_numbers(photos):
    found = measured(*photos[1])
    # Those two differ by the rounding of one of them.
    assert found["ssim"] == pytest.approx(found["ssim_gaussian"], abs=1e-5)
    ssims = [value for key, value in found.items() if key.startswith("ssim_")]
    assert np.min(np.diff(np.sort(ssims))) > 1e-4


@pytest.mark.slow
def test_real_pairs_agree_with_scikit_image_and_tf_image(real_data):
    """Whole 1280x720 frames of GoPro and REDS, blurred against sharp."""
    pairs = [
        (path, path.parents[1] / "sharp" / path.name)
        for path in sorted(real_data.glob("gopro/test/*/blur/*.png"))
    ]
    reds = sorted(real_data.glob("reds/train_blur/*/*.png"))
    pairs += [(p, real_data / "reds/train_sharp" / p.parent.name / p.name) for p in reds]
    assert len(pairs) >= 8
    worst: dict[str, float] = {}
    for blurred, sharp in pairs:
        pair = [np.asarray(Image.open(path).convert("RGB")) / 255.0 for path in (sharp, blurred)]
        wanted, found = expected(*pair), measured(*pair)
        for key, value in wanted.items():
            worst[key] = max(worst.get(key, 0.0), abs(found[key] - value))
    assert max(worst.values()) < 1e-4, worst


def test_identical_images_are_perfect(photos):
    sharp = photos[0][0]
    found = measured(sharp, sharp)
    assert found.pop("psnr") == found.pop("psnr_y") == np.inf
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=1e-6)


def test_small_images_have_no_ssim():
    small = np.zeros((1, 10, 40, 3), np.float32)
    assert protocols.fitting(10, 40) == ["psnr", "psnr_y"]
    learned = ["lpips_alex", "lpips_vgg"]
    assert [*protocols.fitting(11, 11), *learned] == list(protocols.MEASURES)
    for function in (protocols.ssim_uniform, protocols.ssim_gaussian, protocols.ssim_volume):
        with pytest.raises(ValueError, match="11 x 11"):
            function(small, small)


def test_rounding_to_a_file():
    levels = protocols.as_uint8([[0.0, 0.1, 0.5, 1.2, -1.0]]).numpy() * 255
    np.testing.assert_allclose(levels, [[0, 26, 128, 255, 0]], atol=1e-4)


def test_lost_gradient_tells_how_blurred_an_input_is(photos):
    sharp = np.float32(photos[0][0])[np.newaxis]
    blurred = [scipy.ndimage.gaussian_filter(sharp, (0, s, s, 0)) for s in (0.6, 1.2, 3.0)]
    lost = [float(protocols.lost_gradient(sharp, image)[0]) for image in [sharp, *blurred]]
    assert lost == sorted(lost) and abs(lost[0]) < 1e-6 and 0.4 < lost[-1] < 1
    flat = np.full_like(sharp, 0.5)
    assert float(protocols.lost_gradient(sharp, flat)[0]) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(protocols.lost_gradient(flat, flat)).all()


def test_every_measure_says_what_it_is_and_the_quick_ones_are_among_them():
    for measure in protocols.MEASURES.values():
        assert len(measure.sentence) > 40 and measure.sentence.endswith(".")
    assert protocols.MEASURES["psnr"].function is basic.psnr_db
    assert protocols.MEASURES["ssim"].function is basic.ssim
