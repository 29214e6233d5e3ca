"""A scorer of one's own, beside the three of the kit: the last word counts, and only that.

python docs/examples/last_word.py answers.jsonl
"""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from spar_kit.bench.interop.prediction_files import read_predictions
from spar_kit.bench.scorers.table import overall, score_rows, summarize_scores


def last_word_score(row: Mapping[str, Any]) -> float:
    """1 where the last word of the prediction is the true answer, else 0; NaN where this scorer has
    no rule: answers of several words."""
    answer = str(row["answer"]).strip().lower()
    if len(answer.split()) != 1:
        return float("nan")
    words = re.findall(r"[\w.+-]*\w", str(row["prediction"]).lower())
    return float(words[-1:] == [answer])


def score_last_word(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The kit's table of scores with this scorer's in the column `score`. What failed has no score,
    as in every scorer of the kit."""
    table = score_rows(rows, "strict")
    failed = table.metric.eq("failed")
    return table.assign(score=[last_word_score(row) for row in rows]).assign(
        score=lambda made: made.score.mask(failed)
    )


if __name__ == "__main__":
    scores = score_last_word(read_predictions(sys.argv[1]))
    print(summarize_scores(scores).to_string(index=False))
    print(overall(scores))
