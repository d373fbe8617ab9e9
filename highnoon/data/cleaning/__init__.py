"""Cleaning steps that drop or change documents, and the report of what they did.

- `step`: the base class of steps; `from_config` makes them from YAML.
- `length`, `letter_share`, `alphabet_share`, `language`, `repetition`: quality and language filters.
- `exact_duplicates`, `near_duplicates`: duplicates.
- `personal_data`, `personal_patterns`: masks or drops personal data.
- `contamination`, `benchmark_index`, `not_in`: benchmark examples in training text.
- `cleaned_source`: the documents of a source that pass.
- `report`, `print_report`: counts of what was kept, changed and dropped.
- `scripts`, `word_ngrams`: letters by script, and hashes of runs of words.
"""

from highnoon.data.cleaning.alphabet_share import AlphabetShare
from highnoon.data.cleaning.cleaned_source import CleanedSource
from highnoon.data.cleaning.exact_duplicates import ExactDuplicates
from highnoon.data.cleaning.from_config import from_config
from highnoon.data.cleaning.language import Language
from highnoon.data.cleaning.length import Length
from highnoon.data.cleaning.letter_share import LetterShare
from highnoon.data.cleaning.near_duplicates import NearDuplicates
from highnoon.data.cleaning.not_in import NotIn
from highnoon.data.cleaning.personal_data import PersonalData
from highnoon.data.cleaning.print_report import print_report
from highnoon.data.cleaning.repetition import Repetition
from highnoon.data.cleaning.step import Changed, StatelessStep, Step

__all__ = [
    "AlphabetShare",
    "Changed",
    "CleanedSource",
    "ExactDuplicates",
    "Language",
    "Length",
    "LetterShare",
    "NearDuplicates",
    "NotIn",
    "PersonalData",
    "Repetition",
    "StatelessStep",
    "Step",
    "from_config",
    "print_report",
]
