"""Findings about pairs and whole data sets."""

import numpy as np
import pytest

from tests.helpers import faulty_data as faulty
from tests.helpers.faulty_data import pair, write


def replace(root, name, image):
    write(f"{root}/{name}", image)


def identical(root):
    replace(root, "blur/day/0.png", pair(0)[1])


def swapped(root):
    blurred, sharp = pair(0)
    replace(root, "blur/day/0.png", sharp)
    replace(root, "sharp/day/0.png", blurred)


def sharpened(root):
    blurred, sharp = (half.astype(float) for half in pair(0))
    mean = blurred.mean((0, 1))
    # Slightly sharper than the sharp half.
    replace(root, "blur/day/0.png", np.clip(mean + 1.06 * (sharp - mean), 0, 255).astype(np.uint8))


def shifted(root):
    replace(root, "blur/day/0.png", pair(0, shift=5)[0])


def another(root):
    replace(root, "blur/day/0.png", pair(77)[0])


def brighter(root):
    replace(root, "blur/day/0.png", np.clip(pair(0)[0].astype(int) + 20, 0, 255).astype(np.uint8))


def flat(root):
    for half, level in (("blur", 128), ("sharp", 130)):
        replace(root, f"{half}/day/0.png", np.full((48, 64, 3), level, np.uint8))


def hardly_blurred(root):
    sharp = pair(0)[1]
    blurred = sharp.copy()
    blurred[::2, ::2] ^= 1
    replace(root, "blur/day/0.png", blurred)


@pytest.mark.parametrize(
    ("plant", "code", "exit_code", "detail"),
    [
        (identical, "identical-halves", 4, ""),
        (swapped, "swapped-halves", 4, "times the gradient energy"),
        (sharpened, "blur-not-softer", 3, "times the gradient energy"),
        (shifted, "misaligned", 3, "right"),
        (another, "unlike-halves", 4, "correlation"),
        (brighter, "brightness-differs", 3, "levels"),
        (flat, "flat-picture", 3, ""),
        (hardly_blurred, "nearly-identical", 0, "dB"),
    ],
)
@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_examine_faulty_pair_is_found_and_built(
    tmp_path, examine, try_to_build, plant, code, exit_code, detail, ending
):
    root = faulty.make_pairs(tmp_path / "set", frames=1)
    plant(root)
    if ending != "png":
        for half in ("blur", "sharp"):
            path = tmp_path / "set" / half / "day" / "0.png"
            with faulty.Image.open(path) as image:
                image.save(path.with_suffix(f".{ending}"))
            path.unlink()
    report = examine(root)
    assert [(f.code, f.file) for f in report.findings] == [(code, f"blur/day/0.{ending}")]
    assert report.exit_code == exit_code and detail in report.findings[0].detail
    assert report.worst(1)[0].codes == (code,)
    # Such a pair can be built, since it may be intended.
    assert try_to_build(root)[0] == 0


def test_examine_shifted_pair_measures_shift(tmp_path, examine):
    root = faulty.make_pairs(tmp_path / "set", frames=1)
    shifted(root)
    (measure,) = [m for m in examine(root).measures if m.key == "day/0"]
    np.testing.assert_allclose(measure.shift, (0, 5), atol=1)


def test_examine_mixed_gamma_warns(tmp_path, examine):
    names = tuple(f"s{n}" for n in range(8))
    for gamma in (1.0, 2.2):
        report = examine(faulty.make_pairs(tmp_path / f"{gamma}", names, gamma=gamma))
        assert report.findings == [], report.to_text()
    root = faulty.make_pairs(tmp_path / "mixed", names)
    for number in range(3):
        for frame in range(2):
            blurred, _ = pair(10 * number + frame, gamma=2.2)
            replace(root, f"blur/s{number}/{frame}.png", blurred)
    report = examine(root)
    assert [finding.code for finding in report.findings] == ["gamma-mixture"]
    assert report.exit_code == 3 and "mean of light" in report.findings[0].detail


def test_examine_duplicate_across_splits_is_error(tmp_path, examine):
    root = faulty.make_gopro(tmp_path / "set")
    for folder, half in zip(("blur", "sharp"), pair(ord("A") * 10), strict=True):
        write(f"{root}/test/GOPR0D/{folder}/000007.png", half)
    report = examine(root, "gopro", val_share=0)
    assert [(f.code, f.file) for f in report.findings] == [
        ("duplicate-across-splits", "GOPR0D/000007")
    ]
    assert report.exit_code == 4 and "GOPR0A/000000 in train" in report.findings[0].detail
    (twin,) = report.twins
    assert (twin.first, twin.second, twin.bits) == (
        "train: GOPR0A/000000",
        "test: GOPR0D/000007",
        0,
    )


def test_examine_near_duplicate_across_splits_warns(tmp_path, examine):
    root = faulty.make_gopro(tmp_path / "set")
    rng = np.random.default_rng(0)
    for folder, half in zip(("blur", "sharp"), pair(ord("A") * 10), strict=True):
        noisy = np.clip(half + rng.normal(0, 3, half.shape) + 2, 0, 255).astype(np.uint8)
        write(f"{root}/test/GOPR0D/{folder}/000007.png", noisy)
    report = examine(root, "gopro", val_share=0)
    assert [(f.code, f.file) for f in report.findings] == [
        ("near-duplicate-across-splits", "GOPR0D/000007")
    ]
    assert report.exit_code == 3 and "of 64 bits" in report.findings[0].detail


def test_examine_duplicate_in_split_is_info(tmp_path, examine):
    root = faulty.make_pairs(tmp_path / "set")
    for folder, half in zip(("blur", "sharp"), pair(0), strict=True):
        write(f"{root}/{folder}/day/9.png", half)
    report = examine(root, "pairs", val_share=0, test_share=0)
    assert [(f.code, f.file) for f in report.findings] == [("duplicate-in-split", "day/9")]
    assert report.exit_code == 0


def test_report_psnr_has_statistics_and_histogram(tmp_path, examine):
    report = examine(faulty.make_pairs(tmp_path / "set"))
    values = [m.psnr for m in report.measures]
    found = report.psnr
    assert found["pairs"] == 6 and found["mean"] == pytest.approx(np.mean(values))
    assert (found["min"], found["max"]) == (min(values), max(values))
    edges, counts = found["histogram"]["edges"], found["histogram"]["counts"]
    assert sum(counts) == 6 and edges[0] <= found["min"] and found["max"] <= edges[-1]
    assert len(edges) == len(counts) + 1
