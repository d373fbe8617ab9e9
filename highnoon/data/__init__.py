"""Files, hubs and the embedded corpus to batches, as a pure function of (seed, step)."""

from highnoon.data.bad_rows import BadRows
from highnoon.data.cleaning import CleanedSource
from highnoon.data.contamination import find_contamination
from highnoon.data.distinct_names import require_distinct_names
from highnoon.data.document import DataError, Document, DocumentSource, SourceNotFoundError
from highnoon.data.domain_folder import DomainFolder
from highnoon.data.files import Files
from highnoon.data.filtered import FilteredSource
from highnoon.data.hugging_face import HuggingFaceDataset
from highnoon.data.mixture import balanced_shares
from highnoon.data.packed_rows import PackedRows
from highnoon.data.preference_pair import PreferencePair
from highnoon.data.preparation import prepare
from highnoon.data.prepared_tokens import PreparedTokens
from highnoon.data.read_options import ReadOptions
from highnoon.data.registry import open_source
from highnoon.data.rows_view import RowsView
from highnoon.data.standard_library import StandardLibrary
from highnoon.data.streamed_rows import StreamedRows
from highnoon.data.text_dataset import TextDataset
from highnoon.data.tfds_source import TfdsDataset
from highnoon.data.token_store import TokenStore
from highnoon.data.tokenizer_training import train_tokenizer
from highnoon.data.tokenizing import tokenize

__all__ = [
    "BadRows",
    "CleanedSource",
    "DataError",
    "Document",
    "DocumentSource",
    "DomainFolder",
    "Files",
    "FilteredSource",
    "HuggingFaceDataset",
    "PackedRows",
    "PreferencePair",
    "PreparedTokens",
    "ReadOptions",
    "RowsView",
    "SourceNotFoundError",
    "StandardLibrary",
    "StreamedRows",
    "TextDataset",
    "TfdsDataset",
    "TokenStore",
    "balanced_shares",
    "find_contamination",
    "open_source",
    "prepare",
    "require_distinct_names",
    "tokenize",
    "train_tokenizer",
]
