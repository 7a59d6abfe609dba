"""How times are written in a column of text, and the line of pandas that reads them.

Forms are told by the texts themselves: one is named only when every text has it, and where day and month could be
either, both are. This room reads one column and parses nothing for good.

    texts -> [time_forms] -> timestamps
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Final

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["parsing_line", "strptime_forms"]

TRIED: Final = 1_000  # texts that all forms are tried on; the ones that fit are tried on all
APART: Final = " - "  # between the two times of an interval

# Most usual reading first.
DAYS: Final = (
    *(s.join(parts) for parts in (("%Y", "%m", "%d"), ("%d", "%m", "%Y"), ("%m", "%d", "%Y")) for s in "-/."),
    *(s.join(parts) for parts in (("%d", "%m", "%y"), ("%m", "%d", "%y"), ("%y", "%m", "%d")) for s in "-/."),
    *("%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d %B %Y", "%b %d %Y", "%b %d, %Y", "%B %d, %Y", "%B %d %Y"),
    *("%a %b %d", "%a %d %b %Y", "%a, %d %b %Y", "%A, %B %d, %Y", "%b-%Y", "%b %Y", "%B %Y", "%Y-%m", "%Y/%m"),
    *("%Y%m%d", "%y%m%d", "%d%m%y", "%Y%m%d%H"),
)
CLOCKS: Final = (
    *("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%H:%M:%S,%f", "%H:%M:%S:%f", "%H:%M:%S %Y"),
    *("%I:%M:%S %p", "%I:%M %p", "%I:%M:%S.%f %p", "%I:%M%p", "%I:%M:%S%p"),
    *("%H.%M.%S", "%H.%M", "%H.%M.%S.%f", "%H%M%S", "%H%M"),
)
JOINTS: Final = (" ", "T", "-", ":", ", ", "_", "")
ZONES: Final = ("", " %z", "%z", " %Z")

LOOKS: Final = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "f": r"\d{1,9}",
    "z": r"(?:Z|[+-]\d\d:?\d\d)",
    "Z": r"[A-Z]{3,4}",
    **dict.fromkeys("abABp", r"[^\W\d_]+"),
}
OFFSET: Final = re.compile(r"(?:Z|:\d\d[+-]\d\d:?\d\d)$")
CLOCK: Final = re.compile(r"\d{1,3}:\d\d(:\d\d(\.\d+)?)?")


def parsing_line(column: pd.Series) -> str | None:
    """Return the line that makes times of a column of text named `rows[…]`; None when its form is not known here.

    >>> parsing_line(pd.Series(["31.12.2025 09:00", "01.01.2026 09:00"], name="at"))
    "rows['at'] = pd.to_datetime(rows['at'], format='%d.%m.%Y %H:%M')"
    """
    it = f"rows[{column.name!r}]"
    texts = column.dropna().astype(str)
    if texts.empty:
        return None
    if texts.head(TRIED).str.fullmatch(CLOCK).all():
        seconds = "" if ":" in texts.iloc[0].partition(":")[2] else " + ':00'"
        return f"{it} = pd.to_timedelta({it}{seconds})"
    begun = it
    if texts.head(TRIED).str.contains(APART, regex=False).all():
        texts, begun = texts.str.split(APART).str[0], f"{it}.str.split({APART!r}).str[0]"
    forms = strptime_forms(texts) or [form for form in ("ISO8601",) if _fits(texts, form)]
    if not forms:
        return None
    zone = ", utc=True" if "%z" in forms[0] or (forms[0] == "ISO8601" and texts.str.contains(OFFSET).any()) else ""
    line = f"{it} = pd.to_datetime({begun}, format={forms[0]!r}{zone})"
    if len(forms) == 1:
        return line
    first = {"%d": "day", "%m": "month", "%y": "year"}.get(forms[0][:2], "day")
    return f"{line} where the {first} comes first, else with format={forms[1]!r}"


def strptime_forms(texts: pd.Series) -> list[str]:
    """Return the forms that every text has, the most usual first.

    >>> strptime_forms(pd.Series(["01/02/2026", "02/02/2026"]))
    ['%d/%m/%Y', '%m/%d/%Y']
    >>> strptime_forms(pd.Series(["Total"]))
    []
    """
    few = texts.head(TRIED)
    found = [form for form in _forms_like(str(few.iloc[0])) if _fits(few, form)]
    if any(form.startswith("%d.") for form in found):  # with points the day comes first
        found = [form for form in found if not form.startswith("%m.")]
    return [form for form in found if len(texts) <= TRIED or _fits(texts, form)]


def _forms_like(text: str) -> Iterator[str]:
    """Yield the forms that a text could have by its looks, so that few need to be tried."""
    for day in DAYS:
        begun = _shape(day).match(text)
        rest = text[begun.end() :] if begun else ""
        if begun and not rest:
            yield day
        for joint in JOINTS if rest and "%H" not in day else ():
            if rest.startswith(joint):
                both = (f"{clock}{zone}" for clock, zone in product(CLOCKS, ZONES))
                yield from (f"{day}{joint}{form}" for form in both if _shape(form).fullmatch(rest.removeprefix(joint)))


@cache
def _shape(form: str) -> re.Pattern[str]:
    """Return what a text of a form looks like; digits that nothing parts are two each."""
    parts = re.split(r"%(\w)", form)
    looks: list[str] = []
    for before, code, after in zip(parts[::2], parts[1::2], parts[2::2], strict=False):
        parted = (before or not looks) and (after or len(looks) == len(parts) // 2 - 1)
        looks += [re.escape(before) + LOOKS.get(code, r"\d{1,2}" if parted else r"\d\d")]
    return re.compile("".join(looks) + re.escape(parts[-1]))


def _fits(texts: pd.Series, form: str) -> bool:
    return bool(
        pd.to_datetime(texts, format=form, errors="coerce", utc=form == "ISO8601" or "%z" in form.lower()).notna().all()
    )
