"""The claims of the papers: what results say about each, and files of results."""

import math

import pytest

from benchmarks import claims
from tests.helpers.bench_figures import figures, row
from tfdeblur.errors import DataError
from tfdeblur.io import files


def lines_of(report, claim):
    return [line for line in report.splitlines() if line.startswith(f"| {claim} ")]


def test_verdict_needs_the_whole_interval_inside_or_outside_of_the_claimed_range():
    claim = claims.Claim("between", (("a", "b"),), low=1.0, high=2.0)
    for values, expected in (
        ([1.4, 1.5, 1.6], "confirmed"),
        ([1.0, 1.5, 2.0], "not confirmed"),
        ([0.4, 0.5, 0.6], "refuted"),
        ([2.4, 2.5, 2.6], "refuted"),
        ([1.5], "not confirmed"),
        ([9.0], "not confirmed"),
    ):
        assert claims.verdict(claim, values) == expected


def test_interval_is_that_of_student():
    # 4.303 * 0.02 / sqrt(3)
    low, high = claims.interval([0.5, 0.52, 0.48])
    assert (low, high) == pytest.approx((0.4503, 0.5497), abs=1e-4)
    assert claims.interval([1.0]) == (-math.inf, math.inf)


def test_claims_compare_their_contestants_within_seeds():
    seeds = [
        figures(
            seed,
            **{
                "content": row(1.0, 25.0 + seed, 0),
                "content + fft": row(1.1, 25.5 + seed + noise, 0),
                "gan": row(1.5, 24.0, 1),
                "wgan_gp": row(3.0 + noise, 26.0 + seed, 5),
                "wgan_gp, 1 update": row(1.6, 26.0 + seed - noise, 1),
                "content, 1 scale": row(1.0, 25.0 + seed + noise, 0),
                "wgan_gp, 1 scale": row(1.0, 25.0 + seed, 5),
            },
        )
        for seed, noise in ((0, 0.0), (1, 0.02), (2, -0.02))
    ]
    report = claims.report(seeds)
    slower = lines_of(report, "GANs train about three times slower")
    assert [line.split(" | ")[1:] for line in slower] == [
        ["refuted", "gan 24.00 dB against content 26.00 dB", "1.50 ± 0.00 times |"],
        ["confirmed", "wgan_gp 27.00 dB against content 26.00 dB", "3.00 ± 0.05 times |"],
        ["refuted", "wgan_gp, 1 update 27.00 dB against content 26.00 dB", "1.60 ± 0.00 times |"],
    ]
    (precise,) = lines_of(report, "The FFT loss is more precise")
    assert "| confirmed |" in precise and "+0.50 ± 0.05 dB, SSIM +0.0000 ± 0.0000" in precise
    wgan, content = lines_of(report, "Several scales make no difference")
    assert "| refuted |" in wgan and "+1.00 ± 0.00 dB" in wgan
    assert "| confirmed |" in content and "± 0.05 dB" in content
    (updates,) = lines_of(report, "Five critic updates, not one")
    assert "| not confirmed |" in updates
    assert "Not measured" not in report and "blurred input" not in report
    about = report.splitlines()[0]
    assert "unet16, seeds 0, 1, 2: generator of 30,000 parameters, critic of 9,000" in about
    assert "1,000 images of 64x48 in batches of 8; 6 images of val, 20.00 dB blurred" in about


def test_report_names_contestants_that_failed_and_claims_without_results():
    seeds = [
        figures(0, **{"content": row(1.0, 20.0, 0), "wgan_gp": row(3.0, 25.0, 5)}),
        figures(
            1,
            **{
                "content": row(1.0, 21.0, 0),
                "wgan_gp": row(None, None, 5, diverged="Training diverged."),
            },
        ),
    ]
    report = claims.report(seeds)
    assert "Not better than the blurred input: content (seed 0)." in report
    assert "Diverged: wgan_gp (seed 1)." in report
    (slower,) = lines_of(report, "GANs train about three times slower")
    assert "| not confirmed |" in slower and slower.endswith("| 3.00 times |")
    missing = report.splitlines()[-1]
    assert missing.startswith("Not measured: ")
    for claim in claims.CLAIMS[1:]:
        assert claim.text in missing


def test_each_training_has_a_table_of_its_own(tmp_path):
    both = {"content": row(1.0, 25.0, 0), "content + fft": row(1.0, 26.0, 0)}
    paths = []
    for model, seed in (("unet16", 0), ("unet16", 1), ("rednet30", 0)):
        paths.append(str(tmp_path / f"{model}{seed}.json"))
        files.write_json(paths[-1], [figures(seed, model=model, **both)])
    report = claims.report(claims.read(paths))
    assert "unet16, seeds 0, 1:" in report and "rednet30, seeds 0:" in report
    assert len(lines_of(report, "The FFT loss is more precise")) == 2


def test_files_that_repeat_a_seed_or_hold_no_results_are_named(tmp_path):
    good, other = str(tmp_path / "good.json"), str(tmp_path / "other.json")
    files.write_json(good, [figures(3)])
    files.write_json(other, {"seed": 3})
    with pytest.raises(DataError, match=r"good\.json"):
        claims.read([good, good])
    with pytest.raises(DataError, match=r"other\.json"):
        claims.read([good, other])
