"""What was predicted and what came: the record that later bands are widened or narrowed by.

verification -> [track_record] -> the next advice
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Final

import numpy as np
import pandas as pd

from mblab.errors import SettingError, shown

__all__ = ["Checked", "TrackRecord"]

Z95: Final = 1.96
PRIOR: Final = 12  # checks' worth of trust in the bands as they come
NARROWEST, WIDEST = 0.6, 4.0


@dataclass(frozen=True, slots=True)
class Checked:
    """One figure of one verified run.

    Attributes:
        interval_s: The interval it was checked at.
        measure: latency_p95_s, load, ….
        predicted: Middle of the band.
        lo: Lower end of the 95 % band, before the track record moved it.
        hi: Upper end.
        measured: What the run brought.
    """

    interval_s: float
    measure: str
    predicted: float
    lo: float
    hi: float
    measured: float

    @property
    def miss(self) -> float:
        """Distance from the middle, in half widths of the band, on a log scale; NaN where there is none."""
        ends = (self.predicted, self.lo, self.hi, self.measured)
        if not all(np.isfinite(v) and v > 0 for v in ends):
            return float("nan")
        half = max(float(np.log(self.hi / self.lo)) / 2, 1e-3)
        return abs(float(np.log(self.measured / self.predicted))) / half


class TrackRecord:
    """Predictions that were put to the test.

    >>> record = TrackRecord()
    >>> record.widen
    1.0
    >>> record.add([Checked(1.0, "load", 0.5, 0.48, 0.52, 0.60)] * 8)
    >>> record.widen > 2
    True
    """

    def __init__(self) -> None:
        self._entries: list[Checked] = []
        self._path: Path | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def table(self) -> pd.DataFrame:
        """One row a checked figure: interval_s, measure, predicted, lo, hi, measured, miss (in half widths)."""
        rows = [asdict(e) | {"miss": e.miss} for e in self._entries]
        return pd.DataFrame(rows, columns=["interval_s", "measure", "predicted", "lo", "hi", "measured", "miss"])

    @property
    def widen(self) -> float:
        """Return the factor on a band's half width with which 95 % of what was checked would have been inside.

        A dozen checks' worth of belief in the bands as they are keeps a single surprise from deciding.

        Source: split conformal prediction, V. Vovk et al., "Algorithmic Learning in a Random World" (2005).
        """
        misses = [e.miss for e in self._entries if np.isfinite(e.miss)]
        if not misses:
            return 1.0
        believed = [NormalDist().inv_cdf(0.5 + (i + 0.5) / PRIOR / 2) / Z95 for i in range(PRIOR)]
        return float(np.clip(np.quantile([*misses, *believed], 0.95), NARROWEST, WIDEST))

    def add(self, entries: list[Checked]) -> None:
        """Note some checked figures; in the file too, once there is one."""
        self._entries += entries
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(e)) + "\n" for e in entries)

    def keep(self, path: str | os.PathLike[str]) -> None:
        """Keep the record in a file of JSON lines: take in what it holds, and add what comes from now on.

        Raises:
            SettingError: The file holds something else.
        """
        target = Path(path)
        old: list[Checked] = []
        if target.exists():
            for number, line in enumerate(target.read_text(encoding="utf-8").splitlines(), 1):
                try:
                    entry = json.loads(line)
                    if not isinstance(entry, Mapping):
                        raise TypeError
                    old.append(Checked(**entry))
                except (TypeError, ValueError, RecursionError):
                    raise SettingError(
                        f"ledger.keep needs a new file or one that it wrote, but line {number} of {str(target)!r} is "
                        f"{shown(line, 40)}."
                    ) from None
        mine, self._path = self._entries, target
        self._entries = old
        self.add(mine)

    def __repr__(self) -> str:
        where = f" in {str(self._path)!r}" if self._path else ""
        return f"TrackRecord({len(self)} figures checked{where}; bands × {self.widen:.2g})"
