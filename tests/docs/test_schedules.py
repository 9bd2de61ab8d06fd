"""The table of whole trainings in docs/recipes.md is that of the recipes."""

import dataclasses
import pathlib

import pytest

from tests.helpers import published, schedules


def test_page_contains_the_table(repository: pathlib.Path) -> None:
    page = (repository / schedules.PAGE).read_text(encoding="utf-8")
    assert schedules.with_table(page) == page


@pytest.mark.parametrize(
    ("name", "images", "steps"),
    [
        ("deblurgan_resnet9", 630_000, 157_500),
        ("deblurgan_study_gp", 104_400, 26_100),
        ("unet16_cifar10", 120 * 43_750, 20_508),
        ("nafnet32_gopro", 32 * 200_000, 200_000),
        (
            "restormer_gopro",
            64 * 92_000 + 40 * 64_000 + 32 * 48_000 + 16 * 36_000 + 8 * 60_000,
            300_000,
        ),
    ],
)
def test_whole_training_is_that_of_the_paper(name: str, images: int, steps: int) -> None:
    assert schedules.whole_training(name) == (images, steps)


def test_later_stages_count_by_their_pixels() -> None:
    assert schedules.images_of_first_size("unet16_cifar10") == 120 * 43_750
    steps = (
        (64, 92_000, 128),
        (40, 64_000, 160),
        (32, 48_000, 192),
        (16, 36_000, 256),
        (8, 36_000, 320),
        (8, 24_000, 384),
    )
    expected = sum(batch * count * crop**2 for batch, count, crop in steps) / 128**2
    assert schedules.images_of_first_size("restormer_gopro") == expected


def test_times_of_whole_trainings_follow_from_those_of_a_step(repository: pathlib.Path) -> None:
    (compiled, *_) = published.load(repository / published.ROWS)
    chosen = {"name": "unet16_cifar10", "slice": schedules.SLICE, "images": 250}
    chosen |= {"size": "32x32", "batch": 256}
    row = dataclasses.replace(compiled, **chosen, least_ms={"compute": 1.0, "memory": 2.0})
    assert schedules.least_seconds("unet16_cifar10", [row]) == "42.0 s"
    other = dataclasses.replace(row, slice="v5e-1")
    assert schedules.least_seconds("unet16_cifar10", [other]) == ""

    stages = [
        dataclasses.replace(row, name="restormer_gopro", size=size, batch=batch, images=batch)
        for size, batch in (
            ("128x128", 64),
            ("160x160", 40),
            ("192x192", 32),
            ("256x256", 16),
            ("320x320", 8),
            ("384x384", 8),
        )
    ]
    assert schedules.least_seconds("restormer_gopro", stages) == "600.0 s"
    assert schedules.least_seconds("restormer_gopro", stages[:-1]) == ""

    timed = {"name": "unet16_cifar10", "images": 50, "seconds": 1.0}
    assert schedules.cpu_days("unet16_cifar10", [timed]) == "1.2"
    assert schedules.cpu_days("unet16_cifar10", [{**timed, "seconds": 1000.0}]) == "1,215"
    assert schedules.cpu_days("rednet30_cifar10", [timed]) == ""
