"""How a file says that it is a recording: what was recorded, and which column holds the arrivals.

record -> .parquet -> [recording] -> replay
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mblab.errors import SourceError, shown

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARRIVAL", "MARK", "Recording", "recording_in"]

MARK: Final = b"mblab.recording"
ARRIVAL: Final = "__arrival_ns"


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file says about the stream it holds.

    Attributes:
        arrival: Column with int64 nanoseconds from the start of the recording.
        event_time: Column with the time things happened, or None.
        source: What was recorded, in words.
        beside: Whether the rows did not have the column with the event time, which the file holds beside them.
    """

    arrival: str
    event_time: str | None
    source: str
    beside: bool = False

    @property
    def hidden(self) -> tuple[str | None, ...]:
        """The columns of the file that the rows did not have."""
        return (self.arrival, self.event_time) if self.beside else (self.arrival,)


def recording_in(schema: pa.Schema) -> Recording | None:
    """Return what an Arrow schema says about a recording, None when the file is none.

    Raises:
        SourceError: What it says cannot be read.
    """
    text = (schema.metadata or {}).get(MARK)
    if text is None:
        return None
    try:
        found = Recording(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        found = None
    if found is None or found.arrival not in schema.names or not isinstance(found.event_time, str | None):
        raise SourceError(
            f"the file is marked as a recording, but what it says of itself, {shown(text)}, cannot be read; record it "
            "again, or replay pd.read_parquet(path)."
        )
    return found
