"""Training samples from shards: parse, modify, split, cache, augment, shuffle, batch, prefetch.

| stage | what happens | where |
| --- | --- | --- |
| split | one split of each data set is opened and checked | `opening.open_to_train` |
| cache | the stored records are kept in memory | `reading.Source.load` |
| shuffle | records come in the computed order, from shards or memory | `order`, `records` |
| parse | records become uint8 pairs | `schema.parse_example`, `schema.parse_batch` |
| modify | the caller's own function changes pairs | the argument `modify` |
| augment | crops, flips and quarter turns, fixed by the position | `augment.Augmentation` |
| batch | pairs of fixed shape become batches of fixed shape | `TrainingData.dataset` |
| synthesis | the blurred half is made from the sharp one, if asked for | `synthesis.Synthesis` |
| prefetch | batches are made while the device computes | `TrainingData.dataset` |

Pixels stay uint8 throughout, a quarter of float32's bytes on their way to the device.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfdeblur.data import schema
from tfdeblur.data.augment import Augmentation, Pair
from tfdeblur.data.dataset import (
    READ_ERRORS,
    OpenSplit,
    check_positive,
    explain_read_error,
    open_to_train,
)
from tfdeblur.data.evaluation import EvaluationData
from tfdeblur.data.mixture import Records, default_shuffle_block
from tfdeblur.data.reader import BOXED_BYTES, unboxed
from tfdeblur.data.shuffle import AUGMENTATION, SYNTHESIS, key_of, subkey_tensor
from tfdeblur.data.synthesis import synthesis_of
from tfdeblur.degradation.degradation import Degradation
from tfdeblur.errors import ConfigError, DataError

__all__ = [
    "READ_ERRORS",
    "EvaluationData",
    "TrainingData",
    "default_shuffle_block",
    "explain_read_error",
]

Modify = Callable[[Pair], Pair]

HALVES = ("blurred", "sharp")


class TrainingData:
    """An endless, repeatable sequence of training pairs from one or several data sets.

    The sequence is a function of the data sets, the split and the arguments marked with an
    asterisk below. Batch size, number of threads, replicas, hosts, caching and the position at
    which reading starts have no influence on it.

    With several data sets, a draw for each position decides which one gives the sample, and each
    keeps a count of its own, by which its epochs are reckoned.

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
        self,
        paths: str | Sequence[str],
        *,
        weights: Sequence[float] | None = None,
        split: str = "train",
        crop: tuple[int, int] | None = None,
        horizontal_flips: bool = True,
        vertical_flips: bool = True,
        quarter_turns: bool = False,
        seed: int = 0,
        shuffle_block: int | None = None,
        open_shards: int = 16,
        parts: int = 1,
        cache: bool = False,
        modify: Modify | None = None,
        synthesis: Degradation | None = None,
        readers: int | None = None,
        threads: int | None = None,
        deterministic: bool = True,
        train_on_test: bool = False,
    ) -> None:
        """Opens the data sets and checks all that can be checked before reading.

        Args:
            paths: Folders made by `data_prep.build`, one or several.
            weights: * How often each folder is drawn from, in any unit; by the number of its
                records where not given.
            split: * The split to read.
            crop: * Height and width of random crops; the whole image where not given.
            horizontal_flips: * Mirror half of the pairs.
            vertical_flips: * Turn half of the pairs upside down.
            quarter_turns: * Turn by 0, 90, 180 or 270 degrees; square samples only.
            seed: * Fixes order, mixture and augmentation.
            shuffle_block: * Records that are permuted among each other; see
                `default_shuffle_block` for what is taken where not given.
            open_shards: * Shards that are read at once, so that their scenes mix.
            parts: * Divide each data set by file into parts that take turns. Hosts whose number
                divides this one read only the files of their own parts; see `records`.
            cache: Keep all records in memory, in the form in which they are stored. They are
                loaded when `dataset` is called for the first time.
            modify: * Changes pairs right after parsing. It is called while a graph is built, with
                uint8 [height, width, 3] for `blurred` and for `sharp`, and must give uint8 of one
                fixed size for both. The result is not cached, so it must be repeatable.
            synthesis: * Makes the blurred half from the sharp one, after augmentation and with
                other draws at each position; the stored blurred half is not even read. What
                does nothing, as the default options do, leaves the stored half in its place.
            readers: Shards that are read in parallel; TensorFlow's choice where not given.
            threads: Threads for the whole pipeline; TensorFlow's shared ones where not given.
            deterministic: Keep the sequence exactly. False lets samples overtake each other where
                that is faster.
            train_on_test: Allow the test split, or test scenes of another one of the data sets.

        Raises:
            DataError: A data set is missing, incomplete, of another version, without the split,
                too small for the crop, or of another size than the others.
            ConfigError: Arguments that contradict each other.
        """
        self.paths = (paths,) if isinstance(paths, str) else tuple(paths)
        self.split = split
        self.parts = parts
        check_positive(shuffle_block=shuffle_block, open_shards=open_shards, parts=parts)
        check_positive(readers=readers, threads=threads)
        self._opened = open_to_train(self.paths, split, train_on_test)
        self.manifests = tuple(opened.manifest for opened in self._opened)
        self.records = sum(opened.split.records for opened in self._opened)
        sizes = [_size_after(modify, opened) for opened in self._opened]
        self.height, self.width = _sample_size(self.paths, sizes, crop)
        if quarter_turns and self.height != self.width:
            raise ConfigError(
                f"quarter_turns needs square samples, and these are {self.width}x{self.height} "
                "(width x height): give a square crop or leave quarter_turns out."
            )
        self._augmentation = Augmentation(horizontal_flips, vertical_flips, quarter_turns)
        self._modify = modify
        self._synthesis = synthesis_of(synthesis)
        # `modify` may use both halves.
        sharp_alone = self._synthesis is not None and modify is None
        self._halves = ("sharp",) if sharp_alone else HALVES
        layouts = {(o.split.height, o.split.width, o.split.encoding) for o in self._opened}
        self._one_layout = len(layouts) == 1
        boxes = any(opened.record_bytes >= BOXED_BYTES for opened in self._opened)
        self._in_batches = (
            self._one_layout
            and self._opened[0].split.encoding == "raw"
            and modify is None
            and sizes[0] == (self.height, self.width)
            and not boxes
        )
        self._seed = seed
        self._slacks = [(high - self.height, wide - self.width) for high, wide in sizes]
        self._records = Records(
            self._opened,
            seed,
            self._describe,
            weights=weights,
            parts=parts,
            shuffle_block=shuffle_block,
            open_shards=open_shards,
            readers=readers,
            boxes=boxes,
            cache=cache,
        )

        self._options = tf.data.Options()
        self._options.deterministic = deterministic
        if threads is not None:
            self._options.threading.private_threadpool_size = threads
        # Positions decide who reads what; TensorFlow shall not divide the files once more.
        off = tf.data.experimental.AutoShardPolicy.OFF
        self._options.experimental_distribute.auto_shard_policy = off

    def identity(self, validation_split: str | None = None) -> dict[str, Any]:
        """Says which images there are (`sets`) and what decides on their order (`order`), for JSON.

        Args:
            validation_split: Another split that is described as well, where there is one.
        """
        blocks = self._records.blocks
        several = len(self.paths) > 1
        return {
            "sets": [opened.identity(validation_split) for opened in self._opened],
            "order": {
                "seed": self._seed,
                "data.shuffle_block": blocks if several else blocks[0],
                "data.weights": list(self._records.drawn_by) if several else None,
                "data.parts": self.parts if self.parts > 1 else None,
            },
        }

    def dataset(
        self,
        batch_size: int,
        start_image: int = 0,
        *,
        global_batch: int | None = None,
        hosts: int = 1,
        host: int = 0,
    ) -> tf.data.Dataset:
        """Returns the sequence of samples as batches, from any position on.

        One element is the batch of one replica, and consecutive elements are those of consecutive
        replicas: whether 1, 2 or 8 replicas share a global batch, it holds the same samples.

        With several hosts each takes its share of every global batch, so that together they see
        what one host alone would see. Where their number divides `parts`, a share is the samples
        of a host's own parts, and only their files are read. Else it is a contiguous part: every
        host reads all records of the shared order (or holds them all in memory) and drops those of
        the others unparsed; parsing, decoding and augmenting are divided.

        Args:
            batch_size: Samples in one element.
            start_image: Position of the first sample: images since training began, over all
                hosts. Records before it are not parsed, and those of shards and blocks before it
                are not read.
            global_batch: Samples that all hosts together take at a time; needed with several
                hosts, and a multiple of `hosts * batch_size` then, and of `parts` where they divide
                the files.
            hosts: Number of hosts, each with a dataset of its own.
            host: Number of this host, from 0.

        Returns:
            Endless `{"blurred", "sharp"}`, uint8 [batch_size, height, width, 3] each. Damaged data
            raise one of `opening.READ_ERRORS`, for `opening.explain_read_error` to explain.

        Raises:
            ConfigError: The numbers do not fit together.
            DataError: The records were to be kept in memory and are damaged.
        """
        check_positive(batch_size=batch_size, hosts=hosts)
        if start_image < 0:
            raise ConfigError(f"start_image must not be negative, and is {start_image}.")
        if hosts > 1:
            begin, end = _share(batch_size, global_batch, hosts, host)
        if self.divides_files(hosts):
            own = _own_parts(self.parts, global_batch, hosts, host)
            records = self._stream(start_image, own)
        elif hosts > 1:
            records = self._stream(start_image).batch(global_batch, drop_remainder=True)
            records = records.map(lambda *batch: tuple(part[begin:end] for part in batch)).unbatch()
        else:
            records = self._stream(start_image)
        if self._in_batches:
            batches = records.batch(batch_size, drop_remainder=True)
            batches = batches.map(self._sample_batch, tf.data.AUTOTUNE)
        else:
            samples = records.map(self._sample, tf.data.AUTOTUNE)
            batches = samples.batch(batch_size, drop_remainder=True)
        if self._synthesis is not None:
            batches = batches.map(self._synthesized, tf.data.AUTOTUNE)
        return batches.prefetch(tf.data.AUTOTUNE).with_options(self._options)

    @property
    def remote(self) -> bool:
        """Whether any of the data sets lies behind a network."""
        return any(opened.remote for opened in self._opened)

    def divides_files(self, hosts: int) -> bool:
        """Tells whether each of several hosts reads files of its own alone."""
        return hosts > 1 and self.parts > 1 and self.parts % hosts == 0

    def _stream(self, start: int, own: Sequence[int] | None = None) -> tf.data.Dataset:
        """Returns the stream of stored records, each with its description."""
        try:
            return self._records.stream(start, own)
        except READ_ERRORS as error:  # of those that are kept in memory
            raise explain_read_error(error, self.paths, self.split) or error from error

    def _describe(self, positions: tf.Tensor, path: tuple[int, ...]) -> tf.Tensor:
        """Returns what goes with a record: number of its data set, placement, key of its blur."""
        number = path[0]
        key = key_of(self._seed, AUGMENTATION, *path)
        placements = self._augmentation.draw(key, positions, self._slacks[number])
        parts = [tf.fill([tf.size(positions), 1], number), placements]
        if self._synthesis is not None:
            key = key_of(self._seed, SYNTHESIS, *path)
            parts.append(tf.bitcast(subkey_tensor(key, positions), tf.int32))
        return tf.concat(parts, axis=1)

    def _sample(self, record: tf.Tensor, description: tf.Tensor) -> Pair:
        """Parses, modifies and augments one record."""
        if self._one_layout:
            return self._sample_from(self._opened[0].split, record, description)
        branches = [
            functools.partial(self._sample_from, opened.split, record, description)
            for opened in self._opened
        ]
        sample: Pair = tf.switch_case(description[0], branches)
        return sample

    def _sample_from(self, stored: schema.Split, record: tf.Tensor, description: tf.Tensor) -> Pair:
        pair = schema.parse_example(
            unboxed(record), stored.height, stored.width, stored.encoding, self._halves
        )
        pair = {half: pair[half] for half in self._halves}
        if self._modify is not None:
            pair = self._modify(pair)
        pair = self._augmentation.place(pair, description[1:], (self.height, self.width))
        return self._keyed(pair, description)

    def _sample_batch(self, records: tf.Tensor, descriptions: tf.Tensor) -> Pair:
        """Does what `_sample` does for a batch of small raw records, at far less cost for each."""
        parsed = schema.parse_batch(records, self.height, self.width, "raw", self._halves)
        pair = {half: parsed[half] for half in self._halves}
        pair = self._augmentation.place_batch(pair, descriptions[:, 1:])
        return self._keyed(pair, descriptions)

    def _keyed(self, pair: Pair, description: tf.Tensor) -> Pair:
        """Lets a sample, or a batch of them, carry the key of its blur where it needs one."""
        if self._synthesis is None:
            return pair
        return {"key": tf.bitcast(description[..., -2:], tf.uint64), "sharp": pair["sharp"]}

    def _synthesized(self, batch: Pair) -> Pair:
        """Makes the blurred half of a batch."""
        assert self._synthesis is not None
        return {
            "blurred": self._synthesis(batch["sharp"], batch["key"]),
            "sharp": batch["sharp"],
        }


def _size_after(modify: Modify | None, opened: OpenSplit) -> tuple[int, int]:
    """Returns height and width of the pairs that come out of the stage `modify`."""
    shape = [opened.split.height, opened.split.width, 3]
    if modify is None:
        return shape[0], shape[1]
    given = {half: tf.TensorSpec(shape, tf.uint8) for half in HALVES}
    made = tf.function(modify).get_concrete_function(given).structured_outputs
    sizes = set()
    for half in HALVES:
        spec = made.get(half) if isinstance(made, dict) else None
        if spec is not None and spec.dtype == tf.uint8 and spec.shape.is_fully_defined():
            sizes.add(tuple(spec.shape))
        else:
            sizes.add(())
    size = sizes.pop()
    if sizes or len(size) != 3 or size[2] != 3:
        raise ConfigError(
            "modify must return 'blurred' and 'sharp' as uint8 images of one fixed size "
            f"[height, width, 3]; it returned {made}."
        )
    return size[0], size[1]


def _sample_size(
    paths: Sequence[str], sizes: Sequence[tuple[int, int]], crop: tuple[int, int] | None
) -> tuple[int, int]:
    """Returns height and width of a sample."""
    if crop is not None:
        check_positive(crop_height=crop[0], crop_width=crop[1])
        for path, (height, width) in zip(paths, sizes, strict=True):
            if height < crop[0] or width < crop[1]:
                raise DataError(
                    f"The images of {path} are {width}x{height} (width x height), smaller than "
                    f"the crop of {crop[1]}x{crop[0]}: ask for a smaller crop or build larger "
                    "tiles."
                )
        return crop
    if len(set(sizes)) > 1:
        listed = ", ".join(
            f"{path} {width}x{height}" for path, (height, width) in zip(paths, sizes, strict=True)
        )
        raise DataError(
            f"The images of the data sets differ in size ({listed}): give a crop that fits all."
        )
    return sizes[0]


def _share(batch_size: int, global_batch: int | None, hosts: int, host: int) -> tuple[int, int]:
    """Returns begin and end of a host's part of each global batch."""
    if not 0 <= host < hosts:
        raise ConfigError(f"host must be from 0 to {hosts - 1}, and is {host}.")
    if not global_batch or global_batch % (hosts * batch_size):
        raise ConfigError(
            f"global_batch must be a multiple of {hosts} hosts x {batch_size} samples, and is "
            f"{global_batch}."
        )
    part = global_batch // hosts
    return host * part, (host + 1) * part


def _own_parts(parts: int, global_batch: int | None, hosts: int, host: int) -> range:
    """Returns the parts of each data set that a host reads."""
    if not global_batch or global_batch % parts:
        raise ConfigError(
            f"data.parts: {parts} parts cannot share a global batch of {global_batch} images "
            f"equally. Use a number of parts that divides it."
        )
    each = parts // hosts
    return range(host * each, (host + 1) * each)
