"""The table of whole trainings in docs/recipes.md is that of the recipes."""

import pathlib

import pytest

from tests.helpers import schedules


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
