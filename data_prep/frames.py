"""From one frame to its encoded tiles, and from a plan to the tiles of a whole shard.

This is the work that is spread over processes. It needs no TensorFlow, so a worker starts in a
fraction of a second and takes little memory; the main process alone writes files.
"""

import dataclasses
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from data_prep import images
from data_prep.blur import item_rng
from data_prep.plan import Settings, ShardPlan, boxes, frame_size
from data_prep.sources import REGISTRY
from data_prep.sources._source import Item, Source
from tfdeblur.data.pixels import encode_image
from tfdeblur.errors import DataError, UserError


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker needs to make any shard of a build; it crosses process borders.

    Attributes:
        source: Name of the source.
        options: The source's own `Options`.
        settings: What is done with its frames.
    """

    source: str
    options: Any
    settings: Settings

    def build_source(self) -> Source:
        """Builds the source from its options."""
        source: Source = REGISTRY.load(self.source).build(self.options)
        return source


@dataclasses.dataclass(frozen=True)
class EncodedTile:
    """One record with its images encoded; the fields are the arguments of `schema.serialize`."""

    blurred: bytes
    sharp: bytes
    scene: str
    frame: str
    top: int
    left: int
    source_height: int
    source_width: int


def frame_tiles(
    source: Source, item: Item, plan: ShardPlan, settings: Settings
) -> Iterator[EncodedTile]:
    """Yields the tiles of one frame: load, resize, blur where needed, cut, encode.

    Raises:
        DataError: A half cannot be read, or is not of the size that the listing gave.
    """
    blurred, sharp = source.load(item)
    for half, where in ((blurred, item.blurred), (sharp, item.sharp)):
        if half is not None and half.shape != (item.height, item.width, 3):
            raise DataError(
                f"{where or item.key} is {half.shape[1]}x{half.shape[0]}, but was listed as "
                f"{item.width}x{item.height}. Run the command again if the files have changed."
            )
    size = frame_size(item, settings)
    sharp = images.resize(sharp, size.width, size.height)
    if blurred is not None:
        blurred = images.resize(blurred, size.width, size.height)
    else:
        # After the resize, so that the blur is drawn in pixels of the stored pictures.
        assert source.blur is not None
        blurred = source.blur.apply(sharp, item_rng(settings.seed, item.key))
    for box in boxes(size, plan.tile, plan.stride):
        yield EncodedTile(
            blurred=encode_image(blurred[box.slices], settings.encoding),
            sharp=encode_image(sharp[box.slices], settings.encoding),
            scene=item.scene,
            frame=item.frame,
            top=box.top,
            left=box.left,
            source_height=size.height,
            source_width=size.width,
        )


def shard_tiles(source: Source, plan: ShardPlan, settings: Settings) -> list[EncodedTile]:
    """Returns the tiles of a shard in the order in which they are stored."""
    tiles = [tile for item in plan.items for tile in frame_tiles(source, item, plan, settings)]
    if plan.shuffled:
        order = item_rng(settings.seed, plan.file).permutation(len(tiles))
        tiles = [tiles[place] for place in order]
    return tiles


_worker: tuple[Job, Source] | None = None


def _start_worker(job: Job) -> None:
    global _worker
    # Ctrl-C goes to the whole group; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that was killed outright cannot tell its workers to stop.
        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    _worker = (job, job.build_source())


def _work(plan: ShardPlan) -> list[EncodedTile]:
    assert _worker is not None
    job, source = _worker
    return shard_tiles(source, plan, job.settings)


def make_tiles(
    job: Job, plans: list[ShardPlan], workers: int
) -> Iterator[tuple[ShardPlan, list[EncodedTile]]]:
    """Makes the tiles of shards and yields each shard as it is ready, in any order.

    Args:
        job: What to make them from.
        plans: The shards to make.
        workers: Number of processes; with one, or a single shard, no process is started.

    Raises:
        UserError: What a worker raised, or that one was killed. Shards that were in hand are
            yielded first, so that none of the work is lost.
    """
    workers = min(workers, len(plans))
    if workers <= 1:
        source = job.build_source()
        for plan in plans:
            yield plan, shard_tiles(source, plan, job.settings)
        return
    others = set(multiprocessing.active_children())
    # A forked process would inherit TensorFlow's locks and may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (job,))
    waiting = iter(plans)
    pending: dict[Future[list[EncodedTile]], ShardPlan] = {}
    failure: BaseException | None = None
    try:
        while True:
            # One shard more than there are workers: none waits, and few are held in memory.
            room = 0 if failure else workers + 1 - len(pending)
            for plan in itertools.islice(waiting, room):
                pending[pool.submit(_work, plan)] = plan
            if not pending:
                break
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                plan = pending.pop(future)
                error = future.exception()
                if error is None:
                    yield plan, future.result()
                else:
                    failure = failure or error
    except BaseException:
        # Ctrl-C, or whoever takes the shards gave up: do not wait for what nobody will take.
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if isinstance(failure, BrokenProcessPool):
        raise UserError(
            "A worker process was killed, most often for want of memory. Finished shards are "
            "kept: run the same command again, with fewer --workers."
        ) from failure
    if failure is not None:
        raise failure
