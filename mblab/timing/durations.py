"""How people write a duration, and the nanoseconds it becomes.

A duration is a string with a unit ("500ms", "1.5 s", "PT5S"), a `timedelta`, or a number of seconds. Everything inside
mblab counts int64 nanoseconds; everything a user reads is float seconds. `pd.Timedelta("5")` is 5 ns, so strings never
reach pandas unchecked.

    user's text -> [durations] -> every room that knows time
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
import re
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

from mblab.errors import SettingError, SettingTypeError, shown

__all__ = ["MIN_INTERVAL_NS", "NS", "Duration", "duration_ns", "exact_text", "format_s", "interval_ns", "seconds"]

NS = 1_000_000_000
MIN_INTERVAL_NS = 1_000_000
MAX_NS = 2**62  # 146 years: sums of two durations still fit int64

type_names = "a string with a unit such as '500ms', a timedelta, or a number of seconds"
Duration: TypeAlias = str | float | dt.timedelta  # a pd.Timedelta is a timedelta; NumPy's own are taken too

UNIT_NS = {
    "ns": 1,
    "us": 1_000, "µs": 1_000, "μs": 1_000,
    "ms": 1_000_000,
    "s": NS, "sec": NS, "second": NS, "seconds": NS,
    "m": 60 * NS, "min": 60 * NS, "minute": 60 * NS, "minutes": 60 * NS,
    "h": 3600 * NS, "hour": 3600 * NS, "hours": 3600 * NS,
    "d": 86_400 * NS, "day": 86_400 * NS, "days": 86_400 * NS,
}  # fmt: skip
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
PART = re.compile(rf"\s*({NUMBER})\s*([a-zµμ]+)\s*", re.IGNORECASE)
ISO = re.compile(rf"([+-]?)P(?:({NUMBER})D)?(?:T(?:({NUMBER})H)?(?:({NUMBER})M)?(?:({NUMBER})S)?)?", re.IGNORECASE)


def _text_ns(text: str, knob: str) -> Decimal:
    """Return nanoseconds, unrounded, for text such as '1h30m' or 'PT5S'."""
    iso = ISO.fullmatch(text.strip())
    if iso and any(iso.groups()[1:]):
        sign = -1 if iso[1] == "-" else 1
        scales = (86_400 * NS, 3600 * NS, 60 * NS, NS)
        return sign * sum((Decimal(v) * k for v, k in zip(iso.groups()[1:], scales, strict=True) if v), Decimal(0))
    total, at = Decimal(0), 0
    while at < len(text) and (part := PART.match(text, at)):
        unit = UNIT_NS.get(part[2].lower())
        if unit is None:
            break
        total += Decimal(part[1]) * unit
        at = part.end()
    if at == len(text) and text.strip():
        return total
    if re.fullmatch(rf"\s*{NUMBER}\s*", text):
        number = "" if knob.startswith("--") else " or a plain number of seconds"  # a terminal knows text only
        raise SettingError(f"{knob}={shown(text)} has no unit; write {text.strip() + 's'!r}{number}.")
    raise SettingError(
        f"{knob}={shown(text)} is no duration; write a number and a unit (ns us ms s min h d), such as '500ms'."
    )


def _exact_ns(value: object, knob: str) -> Decimal:
    if isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")):
        raise SettingTypeError(f"{knob} must be a duration ({type_names}), got {shown(value)}.")
    if type(value).__name__ == "NaTType":
        raise SettingError(f"{knob} must be a duration, got NaT.")
    if isinstance(value, str):
        return _text_ns(value, knob)
    if isinstance(value, dt.timedelta):  # pd.Timedelta is one and carries nanoseconds of its own
        if hasattr(value, "as_unit"):
            return Decimal(int(value.as_unit("ns").value))
        return Decimal((value.days * 86_400 + value.seconds) * NS + value.microseconds * 1_000)
    if type(value).__module__ == "numpy" and type(value).__name__ == "timedelta64" and hasattr(value, "astype"):
        whole = value.astype("timedelta64[ns]").astype("int64")
        if whole == -(2**63):
            raise SettingError(f"{knob} must be a duration, got NaT.")
        return Decimal(int(whole))
    if isinstance(value, numbers.Integral):
        return Decimal(int(value)) * NS
    if isinstance(value, numbers.Real | Decimal):
        number = float(value)
        if math.isnan(number) or math.isinf(number):
            raise SettingError(f"{knob} must be a finite duration, got {number}.")
        return Decimal(repr(number) if not isinstance(value, Decimal) else str(value)) * NS
    raise SettingTypeError(f"{knob} must be {type_names}, got {shown(value)} ({type(value).__name__}).")


def duration_ns(value: Duration, knob: str = "duration", *, minimum_ns: int = 0) -> int:
    """Return a duration in nanoseconds, rounded half to even, once.

    Args:
        value: `number unit` text (several may follow each other), ISO 8601, a `timedelta`, or a number of seconds.
        knob: The argument's name, for the message.
        minimum_ns: Smallest value allowed, in nanoseconds.

    Raises:
        SettingError: No unit, not finite, negative or below the minimum.
        SettingTypeError: Not one of the types above; bool is refused.

    >>> duration_ns("1.5s"), duration_ns("1h30m"), duration_ns("PT5S"), duration_ns(0.25)
    (1500000000, 5400000000000, 5000000000, 250000000)
    """
    try:
        exact = _exact_ns(value, knob)
        ns = int(exact.to_integral_value(rounding="ROUND_HALF_EVEN"))
    except (InvalidOperation, OverflowError):
        raise SettingError(f"{knob}={shown(value)} is out of range; the longest is 146 years.") from None
    if ns > MAX_NS:
        raise SettingError(f"{knob}={shown(value)} is out of range; the longest is 146 years.")
    if ns < 0 or exact < 0:
        raise SettingError(f"{knob} must not be negative, got {shown(value)}.")
    if ns < minimum_ns:
        least = "above 0" if minimum_ns == 1 else f"at least {format_s(minimum_ns / NS)}"
        raise SettingError(f"{knob} must be {least}, got {shown(value)}.")
    return ns


def interval_ns(value: Duration, knob: str = "interval") -> int:
    """Return a trigger interval in nanoseconds; at least 1 ms.

    >>> interval_ns("500ms")
    500000000
    """
    try:
        return duration_ns(value, knob, minimum_ns=MIN_INTERVAL_NS)
    except SettingTypeError:
        raise
    except SettingError as error:
        if "at least" in str(error):
            raise SettingError(
                f"{knob} must be at least 1 ms, got {shown(value)}; for a batch per row use max_rows_per_batch=1."
            ) from None
        raise


def seconds(ns: int) -> float:
    """Return nanoseconds as float seconds, exact to the last bit that a float holds."""
    return ns / NS


def exact_text(ns: int) -> str:
    """Return nanoseconds as the shortest text that `duration_ns` reads back exactly.

    >>> exact_text(20 * NS), exact_text(1_500_000), exact_text(7)
    ('20s', '1500us', '7ns')
    """
    for unit, size in (("s", NS), ("ms", 1_000_000), ("us", 1_000)):
        if ns % size == 0:
            return f"{ns // size}{unit}"
    return f"{ns}ns"


def format_s(value: float) -> str:
    """Return a duration in seconds as a person writes it.

    >>> format_s(0.25), format_s(90), format_s(3600), format_s(0), format_s(1.5)
    ('250 ms', '1 min 30 s', '1 h', '0 s', '1.5 s')
    """
    if value < 0:
        return "-" + format_s(-value)
    if value == 0:
        return "0 s"
    for unit, size in (("µs", 1e-6), ("ms", 1e-3)):
        if value < size * 999.5:
            return f"{value / size:.3g} {unit}"
    if value < 60:
        return f"{value:.3g} s"
    left, parts = round(value), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
