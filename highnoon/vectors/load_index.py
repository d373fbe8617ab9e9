"""Opens a saved index."""

from __future__ import annotations

import os

from highnoon.files.nearest_name import unknown_name
from highnoon.vectors.faiss_index import FaissIndex
from highnoon.vectors.index_folder import check_index_folder, read_arrays
from highnoon.vectors.vector_checks import VectorIndexError
from highnoon.vectors.vector_index import VectorIndex

_CLASSES: dict[str, type[VectorIndex]] = {cls.kind: cls for cls in (VectorIndex, FaissIndex)}


def load_index(
    path: str | os.PathLike[str],
    model_hash: str | None = None,
    index_class: type[VectorIndex] | None = None,
) -> VectorIndex:
    """Returns the index of a folder, its vectors memory-mapped.

    The model's hash is compared first, then every file with its hash; nothing else is read before.

    Args:
        path: A folder that `VectorIndex.save` wrote.
        model_hash: Identifies the model whose vectors are expected; None accepts any.
        index_class: `VectorIndex` reads a FAISS index without FAISS, `FaissIndex` makes one of an exact
            index; None takes the class that was saved.

    Raises:
        VectorIndexError: no index, vectors of another model, or a file that has changed.
        ImportError: a FAISS index, and FAISS is not installed.

    Example:

    ```python
    import numpy as np
    from highnoon.vectors import VectorIndex, load_index

    index = VectorIndex(width=2, model_hash="a")
    index.add([1, 2], np.eye(2))
    index.save("index")
    again = load_index("index", model_hash="a")
    assert again.search(np.eye(2), k=1).ids.tolist() == [[1], [2]]
    ```
    """
    folder, description = check_index_folder(path, model_hash)
    if index_class is None and description.kind not in _CLASSES:
        raise VectorIndexError(f"{folder}: {unknown_name('kind of index', description.kind, _CLASSES)}")
    made = _CLASSES[description.kind] if index_class is None else index_class
    return made.restore(folder, description, *read_arrays(folder, description))
