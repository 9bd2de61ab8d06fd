"""Judging: every number that is ever reported is measured here, under a named protocol."""

from tfdeblur.evaluation.checkpoints import CheckpointTable, Strip
from tfdeblur.evaluation.score_card import METRICS, Row, ScoreCard
from tfdeblur.evaluation.whole_split import PairSource, SplitEvaluator, Triple, evaluate_split

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
