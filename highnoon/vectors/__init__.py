"""Nearest vectors: exact search, FAISS, and folders that are complete or absent.

- `vector_index`: `VectorIndex`, exact search in NumPy. `faiss_index`: `FaissIndex`, the same with FAISS.
- `load_index`: opens a saved index. `index_folder`: its files.
- `stored_vectors`: vectors with ids and groups. `vector_checks`: refuses others.
- `exact_search`, `neighbors`, `similarity`: scores, and the best of them.
"""

from highnoon.vectors.faiss_index import FaissIndex
from highnoon.vectors.load_index import load_index
from highnoon.vectors.neighbors import Neighbors
from highnoon.vectors.vector_checks import VectorIndexError
from highnoon.vectors.vector_index import VectorIndex

__all__ = ["FaissIndex", "Neighbors", "VectorIndex", "VectorIndexError", "load_index"]
