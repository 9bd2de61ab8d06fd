"""The table of whole trainings in docs/recipes.md.

It is made from the recipes, docs/preflight.json and docs/cpu_steps.json::

    python -m tests.helpers.schedules    # writes the table

`test_schedules` checks that it matches.
"""

import json
import math
from typing import Any

from tests.helpers import published
from tfdeblur import config
from tfdeblur.config import recipes
from tfdeblur.config.stages import Timeline, stage_configs
from tfdeblur.tpu.table import Row
from tfdeblur.tpu.targets import recipe_target

PAGE, SLICE = "docs/recipes.md", "v5e-8"
CPU_ROWS = "docs/cpu_steps.json"
BEGIN, END = "<!-- whole trainings -->\n", "<!-- end of whole trainings -->\n"


def whole_training(name: str) -> tuple[int, int]:
    """Returns the images and the steps of a recipe's whole training."""
    timeline, images = _timeline(name)
    return images, timeline.steps(images)


def images_of_first_size(name: str) -> float:
    """Returns the images of a whole training, those of later stages by their share of pixels."""
    timeline, images = _timeline(name)
    crops = [stage.data.crop or (1, 1) for stage in stage_configs(_run(name))]
    spans = zip(crops, timeline.begins, (*timeline.begins[1:], images), strict=True)
    pixels = sum((end - begin) * math.prod(crop) for crop, begin, end in spans)
    return pixels / math.prod(crops[0])


def least_seconds(name: str, rows: list[Row]) -> str:
    """Returns the least time of a whole training on a TPU; empty if a stage was not compiled."""
    timeline, images = _timeline(name)
    found = {(row.size, row.batch): row for row in rows if (row.name, row.slice) == (name, SLICE)}
    ends = (*timeline.begins[1:], images)
    seconds = 0.0
    for target, begin, end in zip(recipe_target(name).stages(), timeline.begins, ends, strict=True):
        row = found.get((target.size, target.batch))
        if row is None:
            return ""
        seconds += (end - begin) / row.images * max(row.least_ms.values()) / 1e3
    return f"{seconds:,.1f} s"


def cpu_days(name: str, rows: list[dict[str, Any]]) -> str:
    """Returns the days of a whole training on CPU cores; empty if its step was not measured."""
    for row in rows:
        if row["name"] == name:
            days = images_of_first_size(name) / row["images"] * row["seconds"] / 86_400
            return f"{days:,.0f}" if days >= 10 else f"{days:.2g}"
    return ""


def _timeline(name: str) -> tuple[Timeline, int]:
    """Returns the stages of a whole training, and its images."""
    run = _run(name)
    batches = [stage.training.global_batch for stage in stage_configs(run)]
    # Without `data_images` no duration depends on it.
    epoch = recipes.load(name).about.get("data_images", math.nan)
    timeline = Timeline.of(run.training.stages, batches, epoch)
    return timeline, timeline.images(run.training.duration)


def _run(name: str) -> config.TrainConfig:
    return config.resolve({"recipe": name, "workdir": "w"})


def table() -> str:
    """Returns the table in Markdown."""
    compiled = published.load(published.ROOT / published.ROWS)
    timed = json.loads((published.ROOT / CPU_ROWS).read_text("utf-8"))
    lines = [
        f"| recipe | images | steps | on a TPU {SLICE} at least | on two CPU cores, days |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in recipes.names():
        images, steps = whole_training(name)
        cells = f"`{name}`", f"{images:,}", f"{steps:,}"
        line = " | ".join((*cells, least_seconds(name, compiled), cpu_days(name, timed)))
        lines.append(f"| {line} |".replace("  |", " |"))
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Returns a page with the table between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    path = published.ROOT / PAGE
    path.write_text(with_table(path.read_text("utf-8")), "utf-8")
