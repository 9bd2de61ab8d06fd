"""Judging: every number that is ever reported is measured here, under a named protocol."""

from tfdeblur.evaluation.checkpoints import CheckpointTable, Strip
from tfdeblur.evaluation.evaluator import PairSource, SplitEvaluator, Triple, evaluate_split
from tfdeblur.evaluation.scores import METRICS, Row, ScoreCard

__all__ = [
    "METRICS",
    "CheckpointTable",
    "PairSource",
    "Row",
    "ScoreCard",
    "SplitEvaluator",
    "Strip",
    "Triple",
    "evaluate_split",
]
