"""Evaluation of restoration networks: scores, reports and comparisons."""

from tfdeblur.evaluation.checkpoints import CheckpointTable
from tfdeblur.evaluation.evaluator import PairSource, SplitEvaluator, Triplet
from tfdeblur.evaluation.scores import ScoreCard, Setting

__all__ = [
    "CheckpointTable",
    "PairSource",
    "ScoreCard",
    "Setting",
    "SplitEvaluator",
    "Triplet",
]
