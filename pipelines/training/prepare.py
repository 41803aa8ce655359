"""``prepare``: a data set to patches with pitch-shifted copies (paper sections 3.1 and 3.2).

A batch of clips becomes one shard, written whole under a name of its own, so a repeated run makes
only what is missing. Ray Data maps them; less than a minute of work is done in this process.
``clip_takes`` says which copies a clip gets and makes them.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipelines.inputs import object_stores
from pipelines.inputs.versions import Found, file_version
from pipelines.runtime.cluster import connect
from pipelines.runtime.limits import Limits, Resources
from pipelines.runtime.ray_errors import plain_errors
from pipelines.runtime.work import DECODE_CPU_S, estimated_seconds, fits_one_process
from pipelines.storage.store import Store, open_store
from pipelines.storage.uris import is_local, local_path, refuse_credentials
from pipelines.training.class_table import class_table, of_sets, too_small
from pipelines.training.clip_takes import Take, takes_of
from pipelines.training.jobs import PrepareJob
from pipelines.training.step_records import StepRecord, recorded
from pipelines.training.take_shards import make_shard
from pipelines.training.workfolder.patches import (
    CLIPS,
    FAILURES_FOLDER,
    FOLDER,
    INFO,
    open_prepared,
)
from pipelines.training.workfolder.shards import read_table, shard_path, write_table
from tagger import dataset, logmel, sampling
from tagger.dataset import Dataset
from tagger.errors import CommandError, Reason

TAKES_PER_SHARD: Final = 64  # some seconds of work

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardPlan:
    """What the workers need.

    Attributes
    ----------
    clips : one row per clip, with the columns of ``LISTING`` that reading needs and those of
        ``TAKE_COLUMNS`` that are the clip's
    takes : of each clip
    bounds : shard i holds the clips ``bounds[i]`` to ``bounds[i + 1]``
    """

    store: Store
    clips: pa.Table
    takes: list[list[Take]]
    bounds: list[int]
    limits: Limits

    @property
    def n_shards(self) -> int:
        return len(self.bounds) - 1


def run(job: PrepareJob, command: list[str], tell: Callable[[str], None] = _log.info) -> StepRecord:
    """Carry out ``prepare``.

    Parameters
    ----------
    tell : is given how many clips each class has in each part, line by line, and what that is too
        little for

    Raises
    ------
    CommandError : the data set cannot be used, or the work folder holds something else
    """
    data = load(job)
    for uri in data.clips["uri"]:
        refuse_credentials(uri, job.data)
    store = open_store(job.work)
    with recorded(store, "prepare", command, job, data.fingerprint()) as record:
        table = class_table(data)
        counts = table.to_string().split("\n")
        for line in (*data.notes, *counts, *of_sets(data), *too_small(table)):
            tell(line)
        plan = plan_shards(data, job, store)
        done = set(store.list(FOLDER))
        missing = [
            number
            for number in range(plan.n_shards)
            if shard_path(FOLDER, number) not in done or _may_succeed(store, number)
        ]
        if missing:
            _carry_out(plan, missing, job.resources)
        record.metrics |= {"n_shards_made": len(missing)} | _counts(plan)
    return record


def load(job: PrepareJob) -> Dataset:
    """The data set of a job.

    Raises
    ------
    CommandError : it cannot be used
    """
    return dataset.load(
        job.data,
        layout=job.layout,
        corrections=job.corrections,
        labels=job.labels,
        label_separator=job.label_separator,
    )


def _may_succeed(store: Store, number: int) -> bool:
    """Whether a clip of a shard failed in a way that passes: a timeout, a vanished file."""
    failures = read_table(store, shard_path(FAILURES_FOLDER, number), ["reason"])
    return not all(Reason(reason).final for reason in failures["reason"].to_pylist())


def plan_shards(data: Dataset, job: PrepareJob, store: Store) -> ShardPlan:
    """Decide on all shards, and write down what the work folder holds.

    Raises
    ------
    CommandError : it holds something else
    """
    rows = np.flatnonzero(data.has_truth())
    development = data.development()
    n_copies = np.zeros(len(data.clips), np.int64)
    if job.balance:
        n_copies[development] = sampling.copies_needed(data.truth()[development])
    n_copies[development] = np.maximum(n_copies[development], job.copies)
    clips = data.clips.iloc[rows]
    takes = [takes_of(name, n, job) for name, n in zip(clips["name"], n_copies[rows], strict=True)]
    found = _look_up(list(clips["uri"]))
    table = pa.table(
        {
            "clip": pa.array(rows, pa.int32()),
            **{name: pa.array(clips[name], pa.string()) for name in ("name", "label", "split")},
            "fold": pa.array(clips["fold"], pa.int32()),
            **{name: pa.array(clips[name], pa.float64()) for name in ("start_s", "end_s")},
            "may_be_cut": [data.layout == "audioset"] * len(rows),
            "uri": [row.uri for row in found],
            "version": [row.version for row in found],
            "size_bytes": pa.array([row.size_bytes for row in found], pa.int64()),
            "problem": pa.array([row.problem for row in found], pa.string()),
        }
    )
    ends = np.cumsum([len(of_clip) for of_clip in takes])
    shards = np.unique((ends - 1) // TAKES_PER_SHARD, return_index=True)[1]
    _pin(data, job, store, len(shards))
    return ShardPlan(store, table, takes, [*shards.tolist(), len(rows)], job.limits)


def _look_up(uris: list[str]) -> list[Found]:
    """Version and size of each clip; version "" where there is nothing."""
    others = iter(object_stores.look_up([uri for uri in uris if not is_local(uri)]))
    found: list[Found] = []
    for uri in uris:
        if is_local(uri):
            status = Path(local_path(uri)).stat()
            found.append(Found(uri, file_version(status), status.st_size))
        else:
            found.append(next(others))
    return found


def _pin(data: Dataset, job: PrepareJob, store: Store, n_shards: int) -> None:
    """Write down what the work folder holds; refuse to mix two things in it."""
    wanted = ("balance", "copies", "most_semitones", "shift_start", "seed")
    info: dict[str, Any] = {
        "layout": data.layout,
        "fingerprint": data.fingerprint(),
        "labels": [asdict(label) for label in data.labels],
        "settings": {name: getattr(job, name) for name in wanted},
        "front_end": dict(logmel.FRONT_END),
        "n_shards": n_shards,
    }
    if data.labelling == "several":
        info["labelling"] = data.labelling
    text = json.dumps(info, indent=2, ensure_ascii=False).encode()
    if not store.create(INFO, text) and json.loads(store.read(INFO)) != info:
        raise CommandError(
            f"{store.root} holds another data set, or one prepared with other settings; give "
            "another --work"
        )
    write_table(store, CLIPS, pa.Table.from_pandas(data.clips, preserve_index=False))


def _carry_out(plan: ShardPlan, missing: list[int], resources: Resources) -> None:
    """Make the shards that are missing: in this process where that is sooner, or on Ray."""
    if fits_one_process(resources, _cpu_s(plan, missing)):
        for number in missing:
            write_shard(plan, number)
        return
    connect(replace(resources, gpus=0), len(missing))
    import ray

    shared = ray.put(plan)
    shards = ray.data.from_arrow([pa.table({"shard": [n]}) for n in missing])
    write = partial(_write_shard, shared=shared)
    written = shards.map_batches(write, batch_size=1, batch_format="pyarrow", num_cpus=1)
    with plain_errors():
        for _ in written.iter_batches(batch_size=None):
            pass


def _cpu_s(plan: ShardPlan, missing: list[int]) -> float:
    """Seconds of one core that some shards probably take."""
    n_takes = np.array([len(of_clip) for of_clip in plan.takes])
    of_clips = np.add.reduceat(n_takes * estimated_seconds(plan.clips), plan.bounds[:-1])
    return DECODE_CPU_S * float(of_clips[missing].sum())


def _write_shard(row: pa.Table, shared: Any) -> pa.Table:
    """What Ray Data maps: {shard} -> {shard}, and the files."""
    import ray

    write_shard(ray.get(shared), row["shard"][0].as_py())
    return row


def write_shard(plan: ShardPlan, number: int) -> None:
    """Make and write one shard of patches and of failures."""
    start, end = plan.bounds[number : number + 2]
    patches, failures = make_shard(
        plan.clips.slice(start, end - start), plan.takes[start:end], plan.limits
    )
    write_table(plan.store, shard_path(FAILURES_FOLDER, number), failures)
    if not _is_there(plan.store, number, patches):  # what failed before may have failed again
        every = plan.store.list("embeddings")
        plan.store.remove(path for path in every if path.endswith(shard_path("", number)))
        write_table(plan.store, shard_path(FOLDER, number), patches)


def _is_there(store: Store, number: int, patches: pa.Table) -> bool:
    try:
        before = read_table(store, shard_path(FOLDER, number))
    except FileNotFoundError:
        return False
    return bool(before.equals(patches))


def _counts(plan: ShardPlan) -> dict[str, Any]:
    failures = open_prepared(plan.store).failures()
    return {
        "n_clips": len(plan.clips) - len(failures),
        "n_takes": sum(len(takes) for takes in plan.takes),
        "failures": dict(Counter(failures["reason"].to_pylist())),
    }
