"""Runners: where the shards of a build are made. Both make the same files.

A runner is one function, `make_shards(task, plans, workers, ...)`, that yields each shard when it
lies in its place and is entered in the journal, in any order. `local` has a pool of processes,
`beam` hands the shards to Apache Beam.
"""

from collections.abc import Callable, Iterator, Sequence

from data_prep.frames import Task
from data_prep.plan import ShardPlan
from tfdeblur.data.tfrecord import Shard

Runner = Callable[[Task, Sequence[ShardPlan]], Iterator[Shard]]
