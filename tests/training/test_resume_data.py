"""Every kind of source gives the same next batches from any step, for any number of workers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from highnoon.config import TrainingConfig
from highnoon.data import DocumentSource, prepare
from highnoon.data.sources.prepared_tokens import PreparedTokens
from highnoon.tokenization import ByteTokenizer
from highnoon.training.plans.stage_preparation import StagePreparation
from highnoon.training.plans.stage_sources import open_stage_sources
from highnoon.training.plans.stages import CurriculumStage

NUM_STEPS = 60
NUM_DOCUMENTS = 90
WORDS = "noon sun moon star light shade river stone field wind rain cloud".split()


def texts() -> list[str]:
    rng = np.random.default_rng(7)
    return [" ".join(rng.choice(WORDS, size=rng.integers(3, 60))) + f" {n}." for n in range(NUM_DOCUMENTS)]


def jsonl() -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts()).encode()


def write_text(folder: pathlib.Path) -> Any:
    (folder / "a.txt").write_text("\n\n".join(texts()))
    return {"name": str(folder / "a.txt"), "split": "blank-line"}


def write_jsonl(folder: pathlib.Path) -> Any:
    (folder / "a.jsonl").write_bytes(jsonl())
    return str(folder / "a.jsonl")


def write_gz(folder: pathlib.Path) -> Any:
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(jsonl()))
    return str(folder / "a.jsonl.gz")


def write_zst(folder: pathlib.Path) -> Any:
    import zstandard

    (folder / "a.jsonl.zst").write_bytes(zstandard.compress(jsonl()))
    return str(folder / "a.jsonl.zst")


def write_csv(folder: pathlib.Path) -> Any:
    with (folder / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["text"], *([text] for text in texts())])
    return str(folder / "a.csv")


def write_parquet(folder: pathlib.Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": texts()}), folder / "a.parquet", row_group_size=17)
    return str(folder / "a.parquet")


def _examples() -> list[bytes]:
    import tensorflow as tf

    def example(text: str) -> bytes:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
        return tf.train.Example(features=tf.train.Features(feature={"text": feature})).SerializeToString()

    return [example(text) for text in texts()]


def write_tfrecord(folder: pathlib.Path) -> Any:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for record in _examples():
            writer.write(record)
    return str(folder / "a.tfrecord")


def write_array_record(folder: pathlib.Path) -> Any:
    from array_record.python import array_record_module

    writer = array_record_module.ArrayRecordWriter(str(folder / "a.array_record"), "group_size:4")
    for record in _examples():
        writer.write(record)
    writer.close()
    return str(folder / "a.array_record")


def write_domains(folder: pathlib.Path) -> Any:
    for number, domain in enumerate(("a", "b")):
        (folder / "domains" / domain).mkdir(parents=True, exist_ok=True)
        lines = io.BytesIO(jsonl()).readlines()[number::2]
        (folder / "domains" / domain / "x.jsonl").write_bytes(b"".join(lines))
    return str(folder / "domains")


def write_chat(folder: pathlib.Path) -> Any:
    turns = [
        [{"role": "user", "content": text[:9]}, {"role": "assistant", "content": text}] for text in texts()
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps({"messages": turn}) + "\n" for turn in turns))
    return str(folder / "chat.jsonl")


def write_remote(folder: pathlib.Path) -> Any:
    import fsspec

    with fsspec.open("memory://resume/a.jsonl", "wb") as stream:
        stream.write(jsonl())
    return "memory://resume/a.jsonl"


def write_stream(folder: pathlib.Path) -> Any:
    return {"name": write_jsonl(folder), "stream": True}


def write_prepared(folder: pathlib.Path) -> Any:
    from highnoon.data import open_source

    shutil.rmtree(folder / "prepared", ignore_errors=True)
    prepare(open_source(write_jsonl(folder)), ByteTokenizer(), folder / "prepared", num_workers=1)
    return PreparedTokens(folder / "prepared")


KINDS: dict[str, Callable[[pathlib.Path], Any]] = {
    name.removeprefix("write_"): value for name, value in list(globals().items()) if name.startswith("write_")
}


def batches(
    dataset: str | DocumentSource | dict, cache: pathlib.Path, num_workers: int, first: int, count: int
) -> list[dict[str, np.ndarray]]:
    """Batches as `num_workers` newly started processes would read them, put together."""
    stage = CurriculumStage("all", [dataset], steps=NUM_STEPS)
    config = TrainingConfig(batch_size=2, global_batch_size=8, max_seq_length=64)
    opened = open_stage_sources([stage], None)[0]
    parts = []
    for worker in range(num_workers):
        data = StagePreparation(True, ByteTokenizer(), cache, num_workers).prepare(stage, opened, config, 3)
        own = []
        for planned in data.timeline(1):
            view = data.view(planned.epoch, planned.num_documents)
            for step in range(planned.num_steps):
                if first <= planned.first_step + step < first + count:
                    rows = data.rows_per_replica
                    own.append(data.batch(view, step, worker * rows, rows))
        parts.append(own)
    return [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]


@pytest.mark.filterwarnings("ignore:.*starts again in another order")
@pytest.mark.parametrize("kind", KINDS)
def test_the_next_fifty_batches_are_the_same(kind: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "files").mkdir()
    dataset = KINDS[kind](tmp_path / "files")
    whole = batches(dataset, tmp_path / "cache", 1, 0, NUM_STEPS)
    assert len(whole) == NUM_STEPS
    for num_workers, first in ((1, 7), (2, 10), (4, 3)):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        dataset = KINDS[kind](tmp_path / "files")
        again = batches(dataset, tmp_path / "cache", num_workers, first, 50)
        assert len(again) == 50
        for step, (one, other) in enumerate(zip(again, whole[first:], strict=False), start=first):
            for key, values in one.items():
                np.testing.assert_array_equal(values, other[key], err_msg=f"{key} of step {step}")
