"""Alignment: objectives that learn from preferences between answers.

- `dpo`, `kto`, `orpo`, `simpo`: objectives of a policy. `pairwise_reward`: of a reward model.
- `preference_documents`, `labeled_answers`: records as pairs of documents.
- `pair_rows`, `pair_view`, `pair_layout`: pairs as rows of two lanes.
- `reference`: the model that a policy starts from, by derived column, by copy, or without LoRA.
"""

from highnoon.alignment.dpo import DPO
from highnoon.alignment.kto import KTO
from highnoon.alignment.labeled_answers import LabeledAnswers
from highnoon.alignment.orpo import ORPO
from highnoon.alignment.pair_rows import PairRows
from highnoon.alignment.pairwise_reward import PairwiseReward
from highnoon.alignment.preference_documents import PreferenceDocuments
from highnoon.alignment.reference import Reference
from highnoon.alignment.reward_model import RewardModel
from highnoon.alignment.simpo import SimPO

__all__ = [
    "DPO",
    "KTO",
    "LabeledAnswers",
    "ORPO",
    "PairRows",
    "PairwiseReward",
    "PreferenceDocuments",
    "Reference",
    "RewardModel",
    "SimPO",
]
