"""A memory of training text: what came after similar states of a model."""

from __future__ import annotations

import json
import os
import pathlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.config import ConfigError, require_count
from highnoon.data import PackedRows, TokenStore
from highnoon.experts.memory_mix import MemoryMix, mixed_log_probs, softmin
from highnoon.experts.memory_stores import DOCUMENT_NUMBERS, MemoryStores, Stores, train_stores
from highnoon.experts.model_states import state_model
from highnoon.experts.own_tokens import own_tokens
from highnoon.experts.state_reader import Batch, StateReader
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.training.frozen_models import weights_hash
from highnoon.vectors import Neighbors, VectorIndex, VectorIndexError, load_index

MEMORY_FILE = "memory.json"
_VALUES_FILE = "values.npy"
_SHORTEST_ROW = 16


class VectorMemory:
    """The states of a frozen language model over training documents, each with the token that came next.

    ```
    p(next) = (1 - weight) p_model(next) + weight p_memory(next)
    ```

    with a memory of `h_t -> x[t+1]`, see `MemoryMix`. Built by `build`, opened by `load`; scoring never
    changes it or its folder.

    A document is known by the fingerprint of its store and its index there. Rows of `memory.rows` have the
    number of the document of each token, and a token finds no neighbor of its own document. Two documents
    with the same text have different numbers and find each other: remove duplicates before, with
    `highnoon.data.cleaning`. The same holds for a text in another store than the one of the memory.

    The memory keeps `4 * width + 20` bytes a token.

    Khandelwal et al. 2020, "Generalization through memorization: nearest neighbor language models"
    (arXiv:1911.00172).

    Example:

    ```python
    import pathlib
    import highnoon as hn
    from highnoon.data import Files, tokenize
    from highnoon.experts.vector_memory import VectorMemory
    from highnoon.tokenization import ByteTokenizer

    pathlib.Path("a.txt").write_text("To be, or not to be")
    store = tokenize(Files("a.txt"), ByteTokenizer(), "cache", validation_split=0.0)
    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1, vocab_size=store.tokenizer.vocab_size)
    memory = VectorMemory.build(model, store, "memory", row_length=32)
    batch = memory.rows(store, row_length=32, split="train").view(0).read(0, 1)
    assert memory.log_probs(model, batch).shape == (1, 32)
    ```
    """

    def __init__(self, index: VectorIndex, values: npt.NDArray[np.int32], stores: MemoryStores) -> None:
        self.index = index
        self.stores = stores
        # In the order of the ids of the index when it was made; removed ones stay until it is saved.
        self._ids, self._values = index.ids, values
        self._readers: weakref.WeakKeyDictionary[Any, StateReader] = weakref.WeakKeyDictionary()

    @classmethod
    def build(
        cls,
        model: Any,
        stores: Stores,
        folder: str | os.PathLike[str],
        row_length: int | None = None,
        batch_size: int = 8,
        make_index: Callable[..., VectorIndex] = VectorIndex,
    ) -> VectorMemory:
        """Computes the states of all training documents and saves the memory.

        A document is read alone, in rows of `row_length` tokens, so its states depend on nothing else.
        Supervised tokens are stored; the others are context.

        Args:
            model: A causal language model, or a mixture of such.
            stores: Token stores, or the training rows of some; held-out documents are left out.
            folder: Where the memory is saved: complete, or as it was before.
            row_length: Tokens that the model sees at once; None takes `max_seq_length`.
            batch_size: Rows computed together.
            make_index: Called with a width, a metric and the model's hash, such as `FaissIndex`.

        Returns:
            The memory, opened from the folder.

        Raises:
            ConfigError: another kind of model, or rows of held-out documents.
            DataError: the stores have no training document.
            VectorIndexError: `folder` holds something else.
        """
        reader = StateReader(model)
        length = model.max_seq_length if row_length is None else row_length
        require_count("row_length", length, most=model.max_seq_length)
        require_count("batch_size", batch_size)
        known = MemoryStores.of(train_stores(stores))
        rows = known.rows(train_stores(stores), length, split="train", packing=False)
        index = make_index(reader.width, "l2", reader.model_hash)
        values = [np.zeros(0, np.int32)]
        view = rows.view(0)
        for start in range(0, view.num_rows, batch_size):
            batch = _shortened(view.read(start, batch_size))
            is_stored = batch["loss_weights"] > 0
            ids = len(index) + np.arange(int(is_stored.sum()))
            index.add(ids, reader.states(batch)[is_stored], batch[DOCUMENT_NUMBERS][is_stored])
            values.append(batch["labels"][is_stored])
        cls(index, np.concatenate(values), known).save(folder)
        return cls.load(folder, model)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        model: Any = None,
        index_class: type[VectorIndex] | None = None,
    ) -> VectorMemory:
        """Opens a memory, memory-mapped, after comparing every file with its hash.

        Args:
            folder: What `build` wrote.
            model: The model; None compares its hash when it is first used.
            index_class: As in `load_index`.

        Raises:
            VectorIndexError: no memory, one of another model, or a file that has changed.
        """
        reader = None if model is None else StateReader(model)
        index = load_index(folder, None if reader is None else reader.model_hash, index_class)
        memory = cls(index, *_read_memory(pathlib.Path(os.path.expanduser(folder)), len(index)))
        if reader is not None:
            memory._readers[model] = reader
        return memory

    def save(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Writes the memory as a folder that is complete, or as it was before; see `VectorIndex.save`."""

        def write_more(path: pathlib.Path) -> None:
            np.save(path / _VALUES_FILE, self.values(self.index.ids), allow_pickle=False)
            text = json.dumps({"version": 1, "stores": self.stores.describe()}, indent=1)
            (path / MEMORY_FILE).write_text(text, encoding="utf-8")

        return self.index.save(folder, write_more)

    def __len__(self) -> int:
        return len(self.index)

    def values(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Returns the token of each id; 0 for -1, which is no id."""
        if not len(self._ids):
            return np.zeros(ids.shape, np.int32)
        positions = np.searchsorted(self._ids, np.maximum(ids, 0))
        return np.where(ids >= 0, self._values[np.minimum(positions, len(self._ids) - 1)], 0)

    def rows(
        self,
        stores: TokenStore | Sequence[TokenStore],
        row_length: int,
        split: str = "validation",
        **options: Any,
    ) -> PackedRows:
        """Returns rows whose batches have `document_numbers`, by which a document does not find itself.

        Args:
            stores: Token stores; documents of stores that the memory does not know have the number 0.
            row_length: Input tokens per row.
            split: `"train"` or `"validation"`.
            **options: Further arguments of `PackedRows`.
        """
        return self.stores.rows(stores, row_length, split=split, **options)

    def remove_documents(self, numbers: Sequence[int]) -> int:
        """Removes documents by their numbers, see `MemoryStores.number`; returns how many tokens they had.

        The folder does not change until `save`, which leaves no token of them.
        """
        return self.index.remove_groups(numbers)

    def log_probs(self, model: Any, batch: Batch, mix: MemoryMix | None = None) -> npt.NDArray[np.float32]:
        """Returns the log probability of each label with the memory.

        Args:
            model: The model whose states the memory holds.
            batch: A batch of packed rows, with `document_numbers` from `memory.rows`; zeros for text that is
                in no store.
            mix: The weights; None takes the defaults.

        Returns:
            (b, t) float32; 0 where there is no supervised label.

        Raises:
            VectorIndexError: another model.
            ConfigError: a batch without `document_numbers`.
        """
        mix = MemoryMix() if mix is None else mix
        is_label = np.asarray(batch["loss_weights"]) > 0
        states, log_probs = self.reader(model).with_label_log_probs(batch)
        labels = np.asarray(batch["labels"])
        distances, tokens = self.neighbors(states[is_label], batch, is_label, mix.num_neighbors)
        memory = (softmin(distances, mix.temperature) * (tokens == labels[is_label][:, None])).sum(axis=-1)
        cache, has_cache = np.zeros(is_label.shape), np.zeros(is_label.shape, np.bool_)
        if mix.cache_weight:
            for row, (own, following) in enumerate(own_tokens(states, batch)):
                weights = softmin(own, mix.temperature)
                cache[row] = (weights * (following == labels[row][:, None])).sum(axis=-1)
                has_cache[row] = np.isfinite(own).any(axis=-1)
        mixed = np.zeros(is_label.shape, np.float32)
        mixed[is_label] = mixed_log_probs(
            mix,
            log_probs[is_label],
            (memory, np.isfinite(distances).any(axis=-1)),
            (cache[is_label], has_cache[is_label]),
        )
        return mixed

    def log_distribution(
        self, model: Any, batch: Batch, mix: MemoryMix | None = None
    ) -> npt.NDArray[np.float32]:
        """Returns the log probability of every next token after each token, (b, t, v).

        At padding it is what the model says. Arguments and errors are those of `log_probs`.
        """
        mix = MemoryMix() if mix is None else mix
        is_token = np.asarray(batch["segment_ids"]) > 0
        states, log_probs = self.reader(model).with_log_probs(batch)
        distances, tokens = self.neighbors(states[is_token], batch, is_token, mix.num_neighbors)
        memory, cache = np.zeros(log_probs.shape), np.zeros(log_probs.shape)
        has_memory, has_cache = np.zeros((2, *is_token.shape, 1), np.bool_)
        of_row, of_token = (positions[:, None] for positions in np.nonzero(is_token))
        np.add.at(memory, (of_row, of_token, tokens), softmin(distances, mix.temperature))
        has_memory[is_token] = np.isfinite(distances).any(axis=-1, keepdims=True)
        if mix.cache_weight:
            for row, (own, following) in enumerate(own_tokens(states, batch)):
                times = np.arange(len(own))[:, None]
                np.add.at(cache[row], (times, following), softmin(own, mix.temperature))
                has_cache[row] = np.isfinite(own).any(axis=-1, keepdims=True)
        mixed = mixed_log_probs(mix, log_probs, (memory, has_memory), (cache, has_cache))
        return mixed.astype(np.float32)

    def neighbors(
        self,
        states: npt.NDArray[np.float32],
        batch: Batch,
        is_chosen: npt.NDArray[np.bool_],
        num_neighbors: int,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Returns the distances and tokens of the nearest states, (n, k) each; infinite where there is none.

        Args:
            states: (n, d) states of the chosen tokens.
            batch: The batch.
            is_chosen: (b, t) which tokens they are.
            num_neighbors: k.
        """
        if DOCUMENT_NUMBERS not in batch:
            raise ConfigError(
                f"a batch must hold `{DOCUMENT_NUMBERS}`, so that no document finds itself; received "
                f"{', '.join(batch)}: read rows from `memory.rows`, or give zeros for text in no store"
            )
        numbers = np.asarray(batch[DOCUMENT_NUMBERS])[is_chosen]
        found: Neighbors = self.index.search(states, num_neighbors, np.where(numbers > 0, numbers, -1))
        return -found.scores / np.float32(self.index.width), self.values(found.ids)

    def reader(self, model: Any) -> StateReader:
        """Returns what reads a model's states, after comparing its hash when its structure is new.

        Raises:
            VectorIndexError: it is not the model whose states the memory holds.
        """
        reader = self._readers.get(model)
        if reader is None or not reader.is_current:
            reader = StateReader(model)
            self._require_hash(reader.model_hash)
            self._readers[model] = reader
        return reader

    def require_model(self, model: Any) -> None:
        """Compares the hash of a model's weights as they are now.

        Raises:
            VectorIndexError: it is not the model whose states the memory holds.
        """
        self._require_hash(weights_hash(state_model(model)))

    def _require_hash(self, model_hash: str) -> None:
        if model_hash != self.index.model_hash:
            raise VectorIndexError(
                f"the memory holds the states of the model {self.index.model_hash}; received the model "
                f"{model_hash}; give that model, or build the memory again"
            )


def _shortened(batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Leaves out columns of padding, down to one of few lengths, so that few shapes are compiled."""
    used, length = int((batch["segment_ids"] > 0).sum(axis=1).max()), _SHORTEST_ROW
    while length < used:
        length *= 2
    return {name: array[:, :length] for name, array in batch.items()}


def _read_memory(folder: pathlib.Path, count: int) -> tuple[npt.NDArray[np.int32], MemoryStores]:
    """Reads the files of a memory, whose hashes `load_index` has compared."""
    try:
        described = read_json(folder / MEMORY_FILE)
        values = np.load(folder / _VALUES_FILE, allow_pickle=False)
        stores = MemoryStores.from_description(described["stores"])
    except (OSError, ForeignDataError, ValueError, KeyError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise VectorIndexError(
            f"{folder} must be the folder of a memory; it is an index without one ({problem}); build it by "
            "VectorMemory.build"
        ) from None
    if values.dtype != np.int32 or values.shape != (count,):
        raise VectorIndexError(
            f"{folder / _VALUES_FILE} must hold {count} tokens; received {values.dtype} of shape "
            f"{values.shape}; build the memory again"
        )
    return values, stores
