"""The table of whole trainings in docs/recipes.md, from the recipes and docs/preflight.json.

::

    python -m tests.helpers.schedules    # writes the table

`test_schedules` checks that it matches.
"""

import math

from tests.helpers import published
from tfdeblur import config
from tfdeblur.config import recipes
from tfdeblur.config.stages import Timeline, stage_configs

PAGE, SLICE = "docs/recipes.md", "v5e-8"
BEGIN, END = "<!-- whole trainings -->\n", "<!-- end of whole trainings -->\n"


def whole_training(name: str) -> tuple[int, int]:
    """Returns the images and the steps of a recipe's whole training."""
    run = _run(name)
    batches = [stage.training.global_batch for stage in stage_configs(run)]
    # Without `data_images` no duration depends on it.
    epoch = recipes.load(name).about.get("data_images", math.nan)
    timeline = Timeline.of(run.training.stages, batches, epoch)
    images = timeline.images(run.training.duration)
    return images, timeline.steps(images)


def _run(name: str) -> config.TrainConfig:
    return config.resolve({"recipe": name, "workdir": "w"})


def table() -> str:
    """Returns the table in Markdown."""
    least = {
        row.name: max(row.least_ms.values())
        for row in published.load(published.ROOT / published.ROWS)
        # The row of a recipe with stages is that of the first one.
        if row.slice == SLICE and len(stage_configs(_run(row.name))) == 1
    }
    lines = [
        f"| recipe | images | steps | on a TPU {SLICE} at least |",
        "| --- | --- | --- | --- |",
    ]
    for name in recipes.names():
        images, steps = whole_training(name)
        time = f"{steps * least[name] / 1e3:,.1f} s" if name in least else ""
        lines.append(f"| `{name}` | {images:,} | {steps:,} | {time} |".replace("  |", " |"))
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Returns a page with the table between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    path = published.ROOT / PAGE
    path.write_text(with_table(path.read_text("utf-8")), "utf-8")
