"""Records become frames: waits, quantiles, rates, the summary and its regime.

records -> waits, quantiles -> batches -> log -> summary -> charts, run
"""

from mblab.metrics.batches import BATCH_COLUMNS, COLUMNS
from mblab.metrics.log import EXACT_LIMIT, RECORD_COLUMNS, RunLog
from mblab.metrics.quantiles import LogBuckets
from mblab.metrics.summary import KEEPS_UP, Totals, behind_of, behind_rows, regime, summarise, totals_between

__all__ = [
    "BATCH_COLUMNS",
    "COLUMNS",
    "EXACT_LIMIT",
    "KEEPS_UP",
    "RECORD_COLUMNS",
    "LogBuckets",
    "RunLog",
    "Totals",
    "behind_of",
    "behind_rows",
    "regime",
    "summarise",
    "totals_between",
]
