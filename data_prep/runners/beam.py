"""Makes shards in an Apache Beam pipeline: on this machine, Dataflow, Flink, Spark.

The pipeline is a list of plans, dealt out anew so that each can go to any worker, and one step
that makes a shard. The step writes into the folder of the data set and enters the shard in the
journal, exactly as a local worker does; nothing flows on after it. So this side learns of finished
shards from the journal, on every runner alike, and a pipeline that was killed goes on from there.

Beam needs the extra `beam`. A runner on other machines needs a folder that all of them reach, such
as ``gs://``, and this package in its image or by Beam's own ``--setup_file``.

Reference: https://beam.apache.org/documentation/programming-guide, sections 4.2.1 and 4.3.
"""

import contextlib
import io
import pickle
import shlex
import threading
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.runners import create_runner

from data_prep import journal
from data_prep.frames import Task
from data_prep.plan import ShardPlan
from data_prep.runners._memory import keep_freed_memory
from tfdeblur.data.tfrecord import Shard
from tfdeblur.errors import ConfigError, UserError

# How often the journal is looked at, in seconds; a look costs one listing of its folder.
LOOK_SECONDS = 1.0
REMOTE_LOOK_SECONDS = 20.0
# Beam's `DirectRunner` would first fetch a program from the network to run the pipeline in.
LOCAL_RUNNER = "FnApiRunner"


def pack(plan: ShardPlan) -> bytes:
    """Returns a plan as few bytes: some runners limit the size of a whole pipeline."""
    return zlib.compress(pickle.dumps(plan))


def unpack(packed: bytes) -> ShardPlan:
    """Returns the plan that `pack` was given."""
    plan: ShardPlan = pickle.loads(zlib.decompress(packed))
    return plan


class MakeShard(beam.DoFn):
    """Makes one shard from its packed plan.

    Args:
        task: What to make it from, and where.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def setup(self) -> None:
        """Builds the source, once a worker."""
        keep_freed_memory()
        self._source = self._task.job.build_source()

    def process(self, packed: bytes) -> None:
        """Makes a shard; a fault that trying again would not mend is entered in the journal."""
        plan = unpack(packed)
        try:
            self._task.make_shard(self._source, plan)
        except UserError as error:
            journal.enter_failure(self._task.directory, plan.file, str(error))


def pipeline_options(words: Sequence[str], workers: int) -> PipelineOptions:
    """Reads Beam's own options.

    Args:
        words: Options as ``NAME=VALUE`` or, for a switch, ``NAME``; hyphens in front do not count.
        workers: Processes of the runner on this machine, where no other runner is named.

    Raises:
        ConfigError: An option cannot be read, or there is no such runner.
    """
    try:
        parts = [part for word in words for part in shlex.split(word)]
    except ValueError as error:
        raise ConfigError(f"beam_options: {' '.join(words)} cannot be read ({error}).") from error
    options = PipelineOptions([f"--{part.lstrip('-')}" for part in parts])
    said = io.StringIO()
    try:
        # Beam reads most options later, and leaves with pages of usage where one is bad.
        with contextlib.redirect_stderr(said):
            options.get_all_options()
    except SystemExit as error:
        reason = said.getvalue().strip().rsplit("error: ", 1)[-1]
        raise ConfigError(f"beam_options: {reason}.") from error
    standard = options.view_as(StandardOptions)
    if standard.runner is None:
        standard.runner = LOCAL_RUNNER
    try:
        create_runner(standard.runner)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"beam_options: {error}") from error
    chosen = any(part.lstrip("-").startswith("direct_") for part in parts)
    if standard.runner == LOCAL_RUNNER and not chosen:
        direct = options.view_as(DirectOptions)
        direct.direct_num_workers = workers
        direct.direct_running_mode = "multi_processing" if workers > 1 else "in_memory"
    return options


class _Running(threading.Thread):
    """A pipeline under way, on a thread of its own: some runners return only when all is done."""

    def __init__(self, task: Task, plans: Sequence[ShardPlan], options: PipelineOptions) -> None:
        super().__init__(daemon=True)
        self._task, self._options = task, options
        self._packed = [pack(plan) for plan in plans]
        self._result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Builds the pipeline, runs it, and keeps what it raises."""
        try:
            pipeline = beam.Pipeline(options=self._options)
            _ = (
                pipeline
                | "Plans" >> beam.Create(self._packed)
                | "DealOut" >> beam.Reshuffle()
                | "MakeShard" >> beam.ParDo(MakeShard(self._task))
            )
            self._result = pipeline.run()
            self._result.wait_until_finish()
        except BaseException as error:
            self.error = error

    def cancel(self) -> None:
        """Asks the runner to stop, where it has begun and listens."""
        if self._result is not None:
            self._result.cancel()


def make_shards(
    task: Task, plans: Sequence[ShardPlan], options: PipelineOptions
) -> Iterator[Shard]:
    """Makes shards and yields each one when it is in its place, in any order.

    Args:
        task: What to make them from, and where.
        plans: The shards to make.
        options: Beam's own options; see `pipeline_options`.

    Raises:
        ConfigError: The folder cannot be reached from other processes.
        UserError: A shard could not be made; all others are finished first.
    """
    if task.directory.startswith("ram://"):
        raise ConfigError(
            f"out: {task.directory} lies in the memory of this process, where workers of Apache "
            "Beam cannot write. Give a folder that they reach, or --runner local."
        )
    wanted = {plan.file for plan in plans}
    known: dict[str, Shard] = {}
    seen: set[str] = set()
    remote = "://" in task.directory
    running = _Running(task, plans, options)
    running.start()
    try:
        while True:
            alive = running.is_alive()
            # Looked at once more after the end: shards may have come since the last look.
            known = journal.made(task.directory, known)
            for file in sorted((known.keys() & wanted) - seen):
                seen.add(file)
                yield known[file]
            if not alive:
                break
            running.join(REMOTE_LOOK_SECONDS if remote else LOOK_SECONDS)
    except BaseException:
        running.cancel()
        raise
    failure = journal.first_failure(task.directory)
    if failure is not None:
        raise failure from running.error
    if running.error is not None:
        raise running.error
    if seen != wanted:
        raise UserError(
            f"The pipeline has ended, but {len(wanted - seen)} of {len(wanted)} shards are not "
            "there. Finished ones are kept: run the same command again, and look at the "
            "runner's log if they stay away."
        )
