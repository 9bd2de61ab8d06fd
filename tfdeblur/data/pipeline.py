"""The input pipeline of training: from shards to batches of uint8 pairs.

| stage | what happens | code |
| --- | --- | --- |
| open | one split of each data set is opened and checked | `dataset.open_to_train` |
| cache | the stored records are kept in memory, if small | `record_stream.RecordStream.load` |
| shuffle | records are read in the computed order, from shards or memory | `shuffle` |
| draw | crops, flips, rotations and blur are drawn for each position | `TrainingData._with_draws` |
| mix | several data sets are mixed | `mixture.RecordMixture.mix` |
| parse | records become uint8 pairs | `schema.parse_example`, `schema.parse_raw_batch` |
| augment | pairs are cropped, flipped and rotated as drawn | `augment.Augmentation` |
| batch | pairs of static shape become batches of static shape | `TrainingData.dataset` |
| synthesize | blurred images are made from sharp ones, if requested | `degradation.synthesis` |
| prefetch | batches are made while the device computes | `TrainingData.dataset` |

The order differs in three places from that of Orlandi and Pinardi (parse, modify, split, cache,
augment, shuffle, batch). The split is made when the data are built, so every run has the same.
Records are cached as they are stored, before parsing: PNG needs less memory than pixels, and the
same records serve every crop. Shuffling comes first, because it permutes positions instead of
images: it needs no buffer, and a resumed run starts at any position without reading what came
before.

Pixels stay uint8 until they are on the device: a quarter of float32's bytes to transfer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfdeblur.config import DataConfig
from tfdeblur.data import schema
from tfdeblur.data.augment import Augmentation, Pair
from tfdeblur.data.dataset import (
    OpenSplit,
    check_gammas,
    check_positive,
    open_to_train,
    read_errors,
    reading_options,
    set_to_validate,
)
from tfdeblur.data.memory import HALVES, MemoryReader
from tfdeblur.data.mixture import RecordMixture, StreamId
from tfdeblur.data.record_stream import MIN_WRAPPED_BYTES, unwrap
from tfdeblur.data.shuffle import AUGMENTATION, SYNTHESIS
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.degradation.synthesis import Synthesis, synthesis_of
from tfdeblur.errors import ConfigError, DataError, UserError
from tfdeblur.ops.lazy import has_tensorflow, without_autograph
from tfdeblur.ops.lazy import tensorflow as tf
from tfdeblur.ops.random import subkey_tensor


class TrainingData:
    """An endless, reproducible sequence of training pairs from one or several data sets.

    The sequence is a function of the data sets, the seed, `synthesis` and the configuration except
    `cache`. The batch size, the number of threads, replicas and hosts, caching and the position at
    which reading starts do not change it.

    With several data sets, a random draw per position selects the data set, and each data set
    advances through epochs of its own.

    Attributes:
        records: Images in one epoch, over all data sets.
        height: Rows of a sample.
        width: Columns of a sample.
        manifests: The manifest of each data set.
        paths: The folder of each data set.
        split: Name of the split.
        parts: Parts into which each data set is divided.
    """

    def __init__(
        self, config: DataConfig, *, seed: int = 0, synthesis: Degradation | None = None
    ) -> None:
        """Opens the data sets, with all checks that are possible before reading.

        Args:
            config: The data sets and how samples are made from them.
            seed: Seed of order, mixture, augmentation and synthesis.
            synthesis: Synthesizes the blurred images of the data sets that `config.synthesize`
                chooses from their sharp ones, after augmentation and with new draws at each
                position; their stored blurred images are not read. The default options, which
                change nothing, keep the stored ones.

        Raises:
            DataError: A data set is missing, incomplete, of another version, without the split,
                too small for the crop, or of another size than the others.
            ConfigError: Arguments are invalid or contradict each other.
        """
        check_positive(shuffle_block=config.shuffle_block, parts=config.parts)
        self.paths = config.paths
        self.split = config.split
        self.parts = config.parts
        self._opened = open_to_train(config)
        self.manifests = tuple(opened.manifest for opened in self._opened)
        self.records = sum(opened.split.records for opened in self._opened)
        sizes = [(opened.split.height, opened.split.width) for opened in self._opened]
        self.height, self.width = _sample_size(config, sizes)
        if config.quarter_turns and self.height != self.width:
            raise ConfigError(
                f"data.quarter_turns: samples must be square, but are {self.width}x{self.height} "
                "(width x height). Use a square crop, or turn quarter_turns off."
            )
        self._augmentation = Augmentation(
            config.horizontal_flips, config.vertical_flips, config.quarter_turns
        )
        self._slacks = [(rows - self.height, columns - self.width) for rows, columns in sizes]
        self._synthesis = synthesis_of(synthesis)
        self._synthesized_sets = _synthesized_sets(config, self._opened, self._synthesis)
        recorded = zip(self._opened, self._synthesized_sets, strict=True)
        check_gammas([one for one, synthesized in recorded if not synthesized])
        if not any(self._synthesized_sets):
            self._synthesis = None
        formats = {
            (o.split.height, o.split.width, o.split.encoding, synthesized)
            for o, synthesized in zip(self._opened, self._synthesized_sets, strict=True)
        }
        self._one_format = len(formats) == 1
        large = any(opened.record_bytes >= MIN_WRAPPED_BYTES for opened in self._opened)
        self._parses_batches = (
            self._one_format
            and self._opened[0].split.encoding == "raw"
            and sizes[0] == (self.height, self.width)
            and not large
        )
        self._mixture = RecordMixture(self._opened, config, seed, wrapped=large)
        self._memory = None
        if not has_tensorflow():
            if self._synthesis is not None:
                raise UserError(
                    "synthesis: TensorFlow synthesizes blur during training, and is not installed: "
                    'pip install "tfdeblur[cpu]", or build a data set with --blur.'
                )
            self._memory = MemoryReader(
                self._mixture, self._augmentation, self._slacks, (self.height, self.width)
            )

    def identity(self, validation_split: str | None = None) -> dict[str, Any]:
        """Returns JSON values that identify the images (`sets`) and their order (`order`).

        Args:
            validation_split: Another split to include if a data set has it; `validated` is the
                digest of the one that a run validates on.
        """
        sets = [opened.identity(validation_split) for opened in self._opened]
        chosen = set_to_validate(self.manifests, validation_split) if validation_split else None
        blocks = self._mixture.block_sizes
        several = len(self.paths) > 1
        return {
            "sets": sets,
            "validated": None if chosen is None else sets[chosen]["validation shards"],
            "order": {
                "seed": self._mixture.seed,
                "data.shuffle_block": blocks if several else blocks[0],
                "data.weights": list(self._mixture.weights) if several else None,
                "data.parts": self.parts if self.parts > 1 else None,
            },
        }

    def batches(
        self,
        batch_size: int,
        start_image: int = 0,
        *,
        global_batch: int | None = None,
        hosts: int = 1,
        host: int = 0,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Returns the elements of `dataset` as arrays; see there.

        Where TensorFlow is not installed, they come from memory; see `memory.MemoryReader`.
        """
        places: dict[str, Any] = {"global_batch": global_batch, "hosts": hosts, "host": host}
        if self._memory is None:
            arrays: Iterator[dict[str, np.ndarray]]
            arrays = self.dataset(batch_size, start_image, **places).as_numpy_iterator()
            return arrays
        if self.divides_files(hosts):
            parts = _host_parts(self.parts, global_batch, hosts, host)
            return self._memory.batches(start_image, global_batch or 0, parts=parts)
        if hosts > 1:
            share = _share(batch_size, global_batch, hosts, host)
            return self._memory.batches(start_image, global_batch or 0, rows=slice(*share))
        return self._memory.batches(start_image, batch_size)

    @without_autograph
    def dataset(
        self,
        batch_size: int,
        start_image: int = 0,
        *,
        global_batch: int | None = None,
        hosts: int = 1,
        host: int = 0,
    ) -> tf.data.Dataset:
        """Returns the sequence of samples in batches, from any position on.

        Each element is the batch of one replica, and consecutive elements are those of consecutive
        replicas, so a global batch holds the same samples for 1, 2 or 8 replicas.

        With several hosts, each takes its share of every global batch, and together they see what
        one host would see. If their number divides `parts`, a host's share are the samples of its
        own parts, and only their files are read. Otherwise it is a contiguous slice: every host
        reads all records (or keeps them all in memory) and drops those of other hosts unparsed;
        parsing, decoding and augmentation are divided.

        Args:
            batch_size: Samples in one element.
            start_image: Position of the first sample: images since training began, over all
                hosts. Shards and blocks before it are not read, and no record before it is parsed.
            global_batch: Samples in one update of all hosts. Required with several hosts; a
                multiple of `hosts * batch_size`, and of `parts` if hosts divide the files.
            hosts: Number of hosts, each with a dataset of its own.
            host: Index of this host.

        Returns:
            Endless `{"blurred", "sharp"}`, uint8 [batch_size, height, width, 3] each. Iterate over
            it in `dataset.read_errors`, which explains errors of damaged data.

        Raises:
            ConfigError: The numbers are invalid or contradict each other.
            DataError: Records to be cached are damaged.
        """
        check_positive(batch_size=batch_size, hosts=hosts)
        if start_image < 0:
            raise ConfigError(f"start_image must be at least 0. Received: {start_image}.")
        if hosts > 1:
            begin, end = _share(batch_size, global_batch, hosts, host)
        if self.divides_files(hosts):
            records = self._stream(start_image, _host_parts(self.parts, global_batch, hosts, host))
        elif hosts > 1:
            records = self._stream(start_image).batch(global_batch, drop_remainder=True)
            records = records.map(lambda *batch: tuple(part[begin:end] for part in batch)).unbatch()
        else:
            records = self._stream(start_image)
        if self._parses_batches:
            batches = records.batch(batch_size, drop_remainder=True)
            batches = batches.map(self._sample_batch, tf.data.AUTOTUNE)
        else:
            samples = records.map(self._sample, tf.data.AUTOTUNE)
            batches = samples.batch(batch_size, drop_remainder=True)
        if self._synthesis is not None:
            batches = batches.map(self._synthesized, tf.data.AUTOTUNE)
        return batches.prefetch(tf.data.AUTOTUNE).with_options(reading_options())

    @property
    def cached_bytes(self) -> int:
        """Size of the records that TensorFlow keeps in memory."""
        return self._mixture.bytes if self._mixture.cached and not self._memory else 0

    @property
    def remote(self) -> bool:
        """Whether any of the data sets is on a network file system."""
        return any(opened.remote for opened in self._opened)

    def divides_files(self, hosts: int) -> bool:
        """Returns whether each of several hosts reads files of its own only."""
        return hosts > 1 and self.parts > 1 and self.parts % hosts == 0

    def _stream(self, start: int, parts: Sequence[int] | None = None) -> tf.data.Dataset:
        """Returns the stream of stored records with their draws, one element per position."""
        with read_errors(self.paths, self.split):  # of records that are cached
            blocks = self._mixture.blocks(start, parts)
        streams = {
            stream: self._with_draws(stream, records).prefetch(1).unbatch()
            for stream, records in blocks.items()
        }
        return self._mixture.mix(streams, start)

    def _with_draws(self, stream: StreamId, blocks: tf.data.Dataset) -> tf.data.Dataset:
        """Replaces positions by draws, int32 [n, d]: data set, placement, key of the blur."""
        augmentation_key = self._mixture.key(AUGMENTATION, stream)
        synthesis_key = self._mixture.key(SYNTHESIS, stream)
        slack = self._slacks[stream.data_set]

        def draw(records: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            data_set = tf.fill([tf.size(positions), 1], stream.data_set)
            draws = [data_set, self._augmentation.draw(augmentation_key, positions, slack)]
            if self._synthesis is not None:
                draws.append(tf.bitcast(subkey_tensor(synthesis_key, positions), tf.int32))
            return records, tf.concat(draws, axis=1)

        return blocks.map(draw)

    def _sample(self, record: tf.Tensor, draws: tf.Tensor) -> Pair:
        """Parses and augments one record."""
        if self._one_format:
            return self._sample_from(0, record, draws)
        branches = [
            functools.partial(self._sample_from, data_set, record, draws)
            for data_set in range(len(self._opened))
        ]
        sample: Pair = tf.switch_case(draws[0], branches)
        return sample

    def _halves(self, data_set: int) -> tuple[str, ...]:
        """Returns the stored halves of a data set that are used."""
        return ("sharp",) if self._synthesized_sets[data_set] else HALVES

    def _sample_from(self, data_set: int, record: tf.Tensor, draws: tf.Tensor) -> Pair:
        stored, halves = self._opened[data_set].split, self._halves(data_set)
        parsed = schema.parse_example(
            unwrap(record), stored.height, stored.width, stored.encoding, halves, with_place=False
        )
        pair = self._augmentation.place(parsed, draws[1:], (self.height, self.width))
        return self._keyed(pair, draws)

    def _sample_batch(self, records: tf.Tensor, draws: tf.Tensor) -> Pair:
        """Parses and augments a batch of small raw records at once, far faster than `_sample`."""
        halves = self._halves(0)
        pair = schema.parse_raw_batch(records, self.height, self.width, halves)
        pair = self._augmentation.place_batch(pair, draws[:, 1:])
        return self._keyed(pair, draws)

    def _keyed(self, pair: Pair, draws: tf.Tensor) -> Pair:
        """Adds to a sample, or to a batch, what the synthesis needs: see `_synthesized`."""
        if self._synthesis is None:
            return pair
        keyed = {"key": tf.bitcast(draws[..., -2:], tf.uint64), "sharp": pair["sharp"]}
        if not all(self._synthesized_sets):
            keyed["blurred"] = pair.get("blurred", pair["sharp"])
            keyed["synthesize"] = tf.gather(tf.constant(self._synthesized_sets), draws[..., 0])
        return keyed

    def _synthesized(self, batch: Pair) -> Pair:
        """Synthesizes the blurred half of a batch, or of some of its samples."""
        assert self._synthesis is not None
        blurred = self._synthesis(batch["sharp"], batch["key"])
        if "synthesize" in batch:
            chosen = batch["synthesize"][:, None, None, None]
            blurred = tf.where(chosen, blurred, batch["blurred"])
        return {"blurred": blurred, "sharp": batch["sharp"]}


def _synthesized_sets(
    config: DataConfig, opened: Sequence[OpenSplit], synthesis: Synthesis | None
) -> tuple[bool, ...]:
    """Returns which data sets have their blur synthesized; see `DataConfig.synthesize`."""
    chosen = config.synthesize
    if chosen is None:
        unblurred = tuple(not one.manifest.is_degraded for one in opened)
        chosen = unblurred if any(unblurred) else (True,) * len(opened)
        return chosen if synthesis else (False,) * len(opened)
    if len(chosen) != len(opened):
        raise ConfigError(
            f"data.synthesize: must be one switch, on or off, for each of {len(opened)} data sets. "
            f"Received: {len(chosen)}."
        )
    if any(chosen) and synthesis is None:
        raise ConfigError(
            "data.synthesize: no blur is configured. Choose synthesis.blur: trajectory, gaussian, "
            "disc, or shares of several."
        )
    return chosen


def _sample_size(config: DataConfig, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Returns height and width of a sample: the crop, or the common size of the images."""
    crop = config.crop
    if crop is not None:
        check_positive(crop_height=crop[0], crop_width=crop[1])
        for path, (height, width) in zip(config.paths, sizes, strict=True):
            if height < crop[0] or width < crop[1]:
                raise DataError(
                    f"data.crop: the images of {path} are {width}x{height} (width x height), "
                    f"smaller than the crop of {crop[1]}x{crop[0]}. Use a smaller crop, or build "
                    "larger tiles."
                )
        return crop
    if len(set(sizes)) > 1:
        listed = ", ".join(
            f"{path} {width}x{height}"
            for path, (height, width) in zip(config.paths, sizes, strict=True)
        )
        raise DataError(
            f"data.crop: is required, since the images of the data sets differ in size ({listed})."
        )
    return sizes[0]


def _share(batch_size: int, global_batch: int | None, hosts: int, host: int) -> tuple[int, int]:
    """Returns begin and end of a host's share of each global batch."""
    if not 0 <= host < hosts:
        raise ConfigError(f"host must be from 0 to {hosts - 1}. Received: {host}.")
    if not global_batch or global_batch % (hosts * batch_size):
        raise ConfigError(
            f"global_batch must be a multiple of {hosts} hosts x {batch_size} samples. Received: "
            f"{global_batch}."
        )
    share = global_batch // hosts
    return host * share, (host + 1) * share


def check_parts(parts: int, global_batch: int | None, hosts: int) -> None:
    """Raises a ConfigError if hosts that read only their own files cannot share a global batch."""
    if hosts > 1 and parts % hosts == 0 and (not global_batch or global_batch % parts):
        raise ConfigError(
            f"data.parts: {parts} parts cannot share a global batch of {global_batch} images "
            f"equally. Use a number of parts that divides it."
        )


def _host_parts(parts: int, global_batch: int | None, hosts: int, host: int) -> range:
    """Returns the parts of each data set that a host reads."""
    check_parts(parts, global_batch, hosts)
    each = parts // hosts
    return range(host * each, (host + 1) * each)
