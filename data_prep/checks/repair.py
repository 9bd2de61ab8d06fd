"""Remakes shards of a built data set from its source and the options in its manifest.

A shard is a pure function of the source's listing, the options and its number, so it is written
only if it has exactly the SHA-256 of the manifest; otherwise nothing is changed.
"""

import functools

from data_prep import build, frames, plan
from data_prep.sources.source import Source
from tfdeblur.config import settings
from tfdeblur.data import schema
from tfdeblur.errors import ConfigError, DataError


class Repair:
    """Remakes shards of one data set.

    Args:
        root: Folder of the data set.
        manifest: Its manifest.
        raw: Current location of the raw data set; None uses the one in the manifest.
    """

    def __init__(self, root: str, manifest: schema.Manifest, raw: str | None = None) -> None:
        self._root = root
        self._manifest = manifest
        self._raw = raw

    def remake(self, file: str) -> None:
        """Remakes one shard.

        Raises:
            UserError: The source is missing or has changed, or the SHA-256 differs.
        """
        source, job, plans = self._job
        known = {s.file: s for split in self._manifest.splits.values() for s in split.shards}
        job.write_shard(source, plans[file], known[file])

    @functools.cached_property
    def _job(self) -> tuple[Source, frames.Job, dict[str, plan.ShardPlan]]:
        """The source and the job of the build, and its shards by name."""
        manifest = self._manifest
        options = dict(manifest.options)
        if self._raw is not None:
            if "source" not in options:
                raise ConfigError(f"--raw: the source {manifest.source} reads no files.")
            options["source"] = self._raw
        config_class = build.config_class(manifest.source)
        job = build.make_job(settings.validate(config_class, {**options, "out": self._root}))
        source = job.build_source()
        plans = plan.make_plan(source.listing(), job.settings)
        if plan.fingerprint(manifest.source, options, plans) != manifest.fingerprint:
            raise DataError("The frames of the source have changed since the data set was built.")
        return source, job, {s.file: s for split in plans.values() for s in split.shards}
