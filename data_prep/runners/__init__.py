"""Runners make the shards of a build, locally or on other machines, with identical bytes.

A runner is a function `make_shards(job, plans, ...)` that yields each shard once it is written
and entered in the journal, in any order. `local` uses a pool of processes, `beam` Apache Beam.
"""

from collections.abc import Callable, Iterator, Sequence

from data_prep.frames import Job
from data_prep.plan import ShardPlan
from tfdeblur.data.tfrecord import Shard

Runner = Callable[[Job, Sequence[ShardPlan]], Iterator[Shard]]
