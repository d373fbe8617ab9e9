"""Files, hubs and the embedded corpus to batches, as a pure function of (seed, step)."""

from highnoon.data.document import DataError, Document, DocumentSource
from highnoon.data.domain_folder import DomainFolder
from highnoon.data.files import Files
from highnoon.data.filtered import FilteredSource
from highnoon.data.hugging_face import HuggingFaceDataset
from highnoon.data.packed_rows import PackedRows
from highnoon.data.preparation import prepare
from highnoon.data.prepared_tokens import PreparedTokens
from highnoon.data.registry import SourceNotFoundError, open_source
from highnoon.data.rows_view import RowsView
from highnoon.data.standard_library import StandardLibrary
from highnoon.data.text_dataset import TextDataset
from highnoon.data.tfds_source import TfdsDataset
from highnoon.data.token_store import TokenStore
from highnoon.data.tokenizer_training import train_tokenizer
from highnoon.data.tokenizing import tokenize

__all__ = [
    "DataError",
    "Document",
    "DocumentSource",
    "DomainFolder",
    "Files",
    "FilteredSource",
    "HuggingFaceDataset",
    "PackedRows",
    "PreparedTokens",
    "RowsView",
    "SourceNotFoundError",
    "StandardLibrary",
    "TextDataset",
    "TfdsDataset",
    "TokenStore",
    "open_source",
    "prepare",
    "tokenize",
    "train_tokenizer",
]
