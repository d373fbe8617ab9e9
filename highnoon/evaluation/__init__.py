"""How good a model is on text that it has not seen."""

from highnoon.evaluation.gzip_baseline import gzip_bits_per_byte
from highnoon.evaluation.held_out_figures import held_out_figures
from highnoon.evaluation.perplexity import EvaluationResult, evaluate_model

__all__ = ["EvaluationResult", "evaluate_model", "gzip_bits_per_byte", "held_out_figures"]
