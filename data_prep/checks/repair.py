"""Makes shards of a built set again, from its source and the options in its manifest.

A shard is a pure function of the source's listing, the options and its number. So it is put into
its place only if it comes out with the very checksum that the manifest has for it; otherwise
nothing is changed.
"""

import dataclasses
import functools

from data_prep import build, frames, plan
from data_prep.sources import REGISTRY
from tfdeblur.config import settings
from tfdeblur.data import schema, tfrecord
from tfdeblur.errors import ConfigError, DataError
from tfdeblur.io import files


class Remaker:
    """Makes shards of one set again.

    Args:
        root: Folder of the set.
        manifest: Its manifest.
        raw: Where the raw set lies now; None takes the place that the manifest names.
    """

    def __init__(self, root: str, manifest: schema.Manifest, raw: str | None = None) -> None:
        self._root = root
        self._manifest = manifest
        self._raw = raw

    def make(self, file: str) -> None:
        """Makes one shard and puts it into its place.

        Raises:
            UserError: The source is gone or has changed, or the shard comes out differently.
        """
        job, shards = self._plan
        known = {s.file: s for split in self._manifest.splits.values() for s in split.shards}
        path = files.join(self._root, file)
        source = job.build_source()
        with files.open_new(path, lasting=True) as made:
            writer = tfrecord.ShardWriter(made)
            for tile in frames.shard_tiles(source, shards[file], job.settings):
                writer.write(tfrecord.record_pieces(**vars(tile)))
            if writer.shard(file).sha256 != known[file].sha256:
                raise DataError(
                    f"{file} comes out with another checksum than the manifest has: pictures of "
                    "the source have changed, or another version of a library encodes them."
                )

    @functools.cached_property
    def _plan(self) -> tuple[frames.Job, dict[str, plan.ShardPlan]]:
        """The job of the build, and its shards by their names."""
        manifest = self._manifest
        options = dict(manifest.options)
        if self._raw is not None:
            if "source" not in options:
                raise ConfigError(f"A set of {manifest.source} has no folder for --raw to replace.")
            options["source"] = self._raw
        config = settings.validate(
            build.config_class(manifest.source), {**options, "out": self._root}
        )
        source_class = REGISTRY.options(manifest.source)
        taken = {f.name: getattr(config, f.name) for f in dataclasses.fields(source_class)}
        names = [field.name for field in dataclasses.fields(plan.Settings)]
        values = {name: getattr(config, name) for name in names}
        for name in ("resize", "tile", "stride", "test_tile"):
            values[name] = plan.Size.parse(values[name]) if values[name] else None
        job = frames.Job(manifest.source, source_class(**taken), plan.Settings(**values))
        plans = plan.make_plan(job.build_source().listing(), job.settings)
        if plan.fingerprint(manifest.source, options, plans) != manifest.fingerprint:
            raise DataError(
                "The frames that the source lists are no longer those that the set was built from."
            )
        return job, {s.file: s for split in plans.values() for s in split.shards}
