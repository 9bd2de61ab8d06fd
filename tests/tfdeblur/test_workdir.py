"""A work directory knows its run again, also when this library has learned new options since."""

import pytest
import yaml

from tfdeblur import config, files, settings, workdir
from tfdeblur.errors import ConfigError

RUN = {
    "model": {"name": "deblurgan", "width": 4},
    "objective": "wgan_gp",
    "data": {"paths": ["data"]},
}


def prepared(folder, **changes):
    run_config = config.resolve(RUN, {"workdir": str(folder)}, changes)
    workdir.prepare_workdir(run_config)
    return str(folder / workdir.CONFIG)


def without(path, section, *options):
    """Rewrites a configuration as a version that did not have these options would have."""
    tree = settings.parse_yaml(files.read_text(path), path)
    for option in options:
        del tree[section][option]
    files.write_text(path, yaml.safe_dump(tree))


def test_options_that_came_later_have_their_defaults(tmp_path):
    path = prepared(tmp_path)
    now = files.read_text(path)
    without(path, "model", "epsilon", "residual")
    prepared(tmp_path)
    assert files.read_text(path) == now
    without(path, "model", "epsilon", "residual")
    with pytest.raises(ConfigError, match=r"model: .* belongs to a run with model"):
        prepared(tmp_path, model={"residual": False})


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"width": 8}},
        {"model": {"name": "unet16"}},
        {"objective": {"name": "content"}},
        {"critic": {"norm": "batch"}},
    ],
)
def test_another_network_or_objective_is_refused(changes, tmp_path):
    path = prepared(tmp_path)
    before = files.read_text(path)
    with pytest.raises(ConfigError, match="belongs to a run with"):
        workdir.prepare_workdir(config.resolve(_merged(changes), {"workdir": str(tmp_path)}))
    assert files.read_text(path) == before


def _merged(changes):
    section, values = next(iter(changes.items()))
    if "name" in values:
        return {**RUN, section: values}
    given = RUN.get(section, {})
    return {**RUN, section: {**given, **values} if isinstance(given, dict) else values}


@pytest.mark.parametrize("section", [{"name": "gone"}, {"name": "deblurgan", "gone": 1}, 3, None])
def test_what_is_not_known_any_more_is_another_run(section, tmp_path):
    path = prepared(tmp_path)
    tree = settings.parse_yaml(files.read_text(path), path)
    files.write_text(path, yaml.safe_dump({**tree, "model": section}))
    with pytest.raises(ConfigError, match="belongs to a run with"):
        prepared(tmp_path)
