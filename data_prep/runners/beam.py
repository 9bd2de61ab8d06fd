"""Makes shards in an Apache Beam pipeline: on this machine, Dataflow, Flink or Spark.

The pipeline is a list of plans, reshuffled so that any worker can take any plan, and one step that
makes a shard. The step writes to the folder of the data set and enters the shard in the journal,
exactly as a local worker does; it has no output. The main process learns of finished shards from
the journal, which works with every runner, and a killed pipeline resumes from it.

Beam requires the extra `beam`. A runner on other machines requires a folder that all of them can
access, such as ``gs://``, and this package in its image or in Beam's own ``--setup_file``.

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
from data_prep.frames import Job
from data_prep.plan import ShardPlan
from data_prep.processes import keep_freed_memory
from tfdeblur.data.tfrecord import Shard
from tfdeblur.errors import ConfigError, UserError

# How often the journal is polled, in seconds; each poll lists its folder once.
POLL_SECONDS = 1.0
REMOTE_POLL_SECONDS = 20.0
# Beam's `DirectRunner` would first download a program to run the pipeline in.
LOCAL_RUNNER = "FnApiRunner"


def pack(plan: ShardPlan) -> bytes:
    """Compresses a plan, because some runners limit the size of a pipeline."""
    return zlib.compress(pickle.dumps(plan))


def unpack(packed: bytes) -> ShardPlan:
    """Returns the plan that `pack` compressed."""
    plan: ShardPlan = pickle.loads(zlib.decompress(packed))
    return plan


class MakeShard(beam.DoFn):
    """Makes one shard from its packed plan.

    Args:
        job: The source, the settings and the folder of the data set.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def setup(self) -> None:
        """Builds the source, once per worker."""
        keep_freed_memory()
        self._source = self._job.build_source()

    def process(self, packed: bytes) -> None:
        """Makes a shard; errors that a retry cannot fix are entered in the journal."""
        plan = unpack(packed)
        try:
            self._job.make_shard(self._source, plan)
        except UserError as error:
            journal.enter_failure(self._job.directory, plan.file, str(error))


def pipeline_options(words: Sequence[str], workers: int) -> PipelineOptions:
    """Parses options of Beam.

    Args:
        words: Options as ``NAME=VALUE`` or, for a switch, ``NAME``; leading hyphens are optional.
        workers: Processes of the local runner, which is used if no runner is named.

    Raises:
        ConfigError: An option is invalid, or the runner does not exist.
    """
    try:
        parts = [part for word in words for part in shlex.split(word)]
    except ValueError as error:
        raise ConfigError(f"beam_options: {' '.join(words)} cannot be read ({error}).") from error
    options = PipelineOptions([f"--{part.lstrip('-')}" for part in parts])
    usage = io.StringIO()
    try:
        # On a bad option, Beam exits after printing pages of usage.
        with contextlib.redirect_stderr(usage):
            options.get_all_options()
    except SystemExit as error:
        reason = usage.getvalue().strip().rsplit("error: ", 1)[-1]
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
    """A running pipeline, in its own thread: some runners block until it is finished."""

    def __init__(self, job: Job, plans: Sequence[ShardPlan], options: PipelineOptions) -> None:
        super().__init__(daemon=True)
        self._job, self._options = job, options
        self._packed = [pack(plan) for plan in plans]
        self._result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Builds and runs the pipeline, and keeps any exception in `error`."""
        try:
            pipeline = beam.Pipeline(options=self._options)
            _ = (
                pipeline
                | "Plans" >> beam.Create(self._packed)
                | "DealOut" >> beam.Reshuffle()
                | "MakeShard" >> beam.ParDo(MakeShard(self._job))
            )
            self._result = pipeline.run()
            self._result.wait_until_finish()
        except BaseException as error:
            self.error = error

    def cancel(self) -> None:
        """Cancels the pipeline if it has started and the runner supports it."""
        if self._result is not None:
            self._result.cancel()


def make_shards(job: Job, plans: Sequence[ShardPlan], options: PipelineOptions) -> Iterator[Shard]:
    """Makes shards and yields each one when it is finished, in any order.

    Args:
        job: The source, the settings and the folder of the data set.
        plans: The shards to make.
        options: Options of Beam; see `pipeline_options`.

    Raises:
        ConfigError: The folder is not accessible from other processes.
        UserError: A shard could not be made; all others are finished first.
    """
    if job.directory.startswith("ram://"):
        raise ConfigError(
            f"out: {job.directory} is in the memory of this process, where workers of Apache "
            "Beam cannot write. Choose a folder that they can access, or --runner local."
        )
    wanted = {plan.file for plan in plans}
    known: dict[str, Shard] = {}
    seen: set[str] = set()
    remote = "://" in job.directory
    running = _Running(job, plans, options)
    running.start()
    try:
        while True:
            alive = running.is_alive()
            # Polled once more after the end, for shards finished since the last poll.
            known = journal.made(job.directory, known)
            for file in sorted((known.keys() & wanted) - seen):
                seen.add(file)
                yield known[file]
            if not alive:
                break
            running.join(REMOTE_POLL_SECONDS if remote else POLL_SECONDS)
    except BaseException:
        running.cancel()
        raise
    # A failure does not count if another worker has made the shard.
    if seen != wanted and (failure := journal.first_failure(job.directory)) is not None:
        raise failure from running.error
    if running.error is not None:
        raise running.error
    if seen != wanted:
        raise UserError(
            f"The pipeline has ended, but {len(wanted - seen)} of {len(wanted)} shards are "
            "missing. Finished ones are kept: run the same command again, and check the runner's "
            "log if the others are still missing."
        )
