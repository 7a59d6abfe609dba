"""What JSON can say, once it is read and before it is checked.

[json] -> saved runs, markers, rows of JSON lines
"""

from typing import TypeAlias

__all__ = ["Json"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
