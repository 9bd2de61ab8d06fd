"""Judging: every number that is ever reported is measured here, under a named protocol."""

from tfdeblur.evaluation.score_card import METRICS, Row, ScoreCard
from tfdeblur.evaluation.whole_split import PairSource, SplitEvaluator, Triple, evaluate_split

__all__ = [
    "METRICS",
    "PairSource",
    "Row",
    "ScoreCard",
    "SplitEvaluator",
    "Triple",
    "evaluate_split",
]
