"""Files, hubs and the embedded corpus to batches, as a pure function of (seed, step).

The rooms, from the bottom; each imports only from those above it in this list (an import contract checks it):

- `document`: `Document`, `DocumentSource`, `DataError`. `bad_records`: raises or counts bad records.
- `reading`: files, local or remote, to bytes, lines and texts.
- `records`: records (rows of files) to documents.
- `formats`: file formats to records. `tokens`: tokenized documents on disk.
- `sources`: files, folders, hubs and prepared tokens as sources of documents.
- `tasks`: published tasks by name, with templates and generators.
- `cleaning`: steps that drop or change documents.
- `preparation`: a source to tokens on disk, once.
- `sequences`: tokens to the rows of batches.
- `text_dataset`: text and a tokenizer as one object.

A *record* is a row of a file; a *row*, or packed sequence, is a row of a batch.
"""

from highnoon.data.bad_records import BadRecords
from highnoon.data.cleaning import CleanedSource
from highnoon.data.cleaning.contamination import find_contamination
from highnoon.data.document import DataError, Document, DocumentSource, SourceNotFoundError
from highnoon.data.preparation.derive_columns import Derivation, derive_columns
from highnoon.data.preparation.prepare import prepare
from highnoon.data.preparation.tokenize import tokenize
from highnoon.data.preparation.train_tokenizer import train_tokenizer
from highnoon.data.records.preference_pair import PreferencePair
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sequences.classification_rows import ClassificationRows
from highnoon.data.sequences.mixture import balanced_shares, balanced_weights
from highnoon.data.sequences.packed_rows import PackedRows
from highnoon.data.sequences.rows_view import RowsView
from highnoon.data.sequences.streamed_rows import StreamedRows
from highnoon.data.sources.distinct_names import require_distinct_names
from highnoon.data.sources.domain_folder import DomainFolder
from highnoon.data.sources.files import Files
from highnoon.data.sources.hugging_face import HuggingFaceDataset
from highnoon.data.sources.in_memory import InMemoryDataset
from highnoon.data.sources.labeled_documents import LabeledDocuments
from highnoon.data.sources.open_source import open_source
from highnoon.data.sources.prepared_tokens import PreparedTokens
from highnoon.data.sources.standard_library import StandardLibrary
from highnoon.data.sources.tfds_source import TfdsDataset
from highnoon.data.tasks import TaskExample, open_task
from highnoon.data.text_dataset import TextDataset
from highnoon.data.tokens.derived_columns import DerivedColumn, DerivedColumns
from highnoon.data.tokens.stacked_columns import StackedColumns
from highnoon.data.tokens.token_store import TokenStore
from highnoon.files.former_names import former_names

__all__ = [
    "BadRecords",
    "ClassificationRows",
    "CleanedSource",
    "DataError",
    "Derivation",
    "DerivedColumn",
    "DerivedColumns",
    "Document",
    "DocumentSource",
    "DomainFolder",
    "Files",
    "HuggingFaceDataset",
    "InMemoryDataset",
    "LabeledDocuments",
    "PackedRows",
    "PreferencePair",
    "PreparedTokens",
    "ReadOptions",
    "RowsView",
    "SourceNotFoundError",
    "StackedColumns",
    "StandardLibrary",
    "StreamedRows",
    "TaskExample",
    "TextDataset",
    "TfdsDataset",
    "TokenStore",
    "balanced_shares",
    "balanced_weights",
    "derive_columns",
    "find_contamination",
    "open_source",
    "open_task",
    "prepare",
    "require_distinct_names",
    "tokenize",
    "train_tokenizer",
]

__getattr__ = former_names(__name__)
