"""What a control means in Python: the call of a public method, and the line a learner could have typed.

page/panel.js -> panel -> [orders] -> lab, run
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from mblab.engine.settings import KNOBS
from mblab.errors import SettingError, did_you_mean, shown
from mblab.lab import Lab
from mblab.runs.view import headline
from mblab.timing.durations import duration_ns, format_s
from mblab.tuning.advice import Advice

__all__ = ["Answer", "Argument", "Order", "order_of"]

N = TypeVar("N", int, float)
Argument = str | float | Sequence[float] | Advice | None  # what comes with a use of a control


@dataclass(frozen=True, slots=True)
class Answer:
    """What an order brought.

    Attributes:
        text: One line for the reader, or empty.
        advice: The tuner's, which the reader may apply; None from all other orders.
    """

    text: str = ""
    advice: Advice | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One use of a control.

    Attributes:
        code: The line of Python it stands for.
        call: Does it; may take its time when `slow`.
        slow: Whether it must not run in the thread that hears the page.
    """

    code: str
    call: Callable[[], Answer]
    slow: bool = False


def _does(call: Callable[..., Any], *arguments: Any) -> Callable[[], Answer]:
    def act() -> Answer:
        call(*arguments)
        return Answer()

    return act


def _number(typed: Argument, knob: str, kind: type[N]) -> N:
    """Return a number that somebody typed."""
    text = str(typed).strip().replace(",", "").replace("_", "")
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise SettingError(f"{knob} must be {what}, got {shown(typed)}.") from None


def _play(lab: Lab, var: str) -> Order:
    run = lab.last_run
    if run is not None and run.status in ("paused", "halted"):
        return Order(f"{var}.resume()", _does(lab.resume), slow=True)
    return Order(f"{var}.start()", _does(lab.start), slow=True)


def _step(lab: Lab, var: str) -> Order:
    def call() -> Answer:
        rows = lab.step()
        if not len(rows):
            return Answer("no batch was left")
        last = rows.iloc[-1]
        return Answer(f"batch {last.batch_id}: {last.num_input_rows:,} rows in {format_s(last.batch_duration_s)}")

    return Order(f"{var}.step()", call, slow=True)


def _tune(lab: Lab, var: str, target: str | None) -> Order:
    code = f"advice = {var}.tune({'' if target is None else f'p95={target!r}'})"

    def call() -> Answer:
        advice = lab.tune(p95=target)
        return Answer(f"{advice.verdict}: {advice.why}", advice)

    return Order(code, call, slow=True)


def _apply(lab: Lab, var: str, advice: Advice | None) -> Order:  # noqa: ARG001  the advice knows its lab
    if advice is None:
        raise SettingError("there is no advice yet; press Tune first.")
    return Order("advice.apply()", _does(advice.apply))


def _diagnose(lab: Lab, var: str) -> Order:
    def call() -> Answer:
        run = lab.last_run
        return Answer("there is no run yet; press Play first." if run is None else str(run.diagnose()))

    return Order(f"{var}.last_run.diagnose()", call, slow=True)


def _export(lab: Lab, var: str) -> Order:
    path = (re.sub(r"[^A-Za-z0-9_]+", "_", lab.name).strip("_") or "pipeline") + ".py"

    def call() -> Answer:
        return Answer(f"wrote {lab.export(path)}")

    return Order(f"{var}.export({path!r})", call, slow=True)


def _summary(lab: Lab, var: str, span: Sequence[float]) -> Order:
    low, high = (float(s) for s in span)

    def call() -> Answer:
        run = lab.last_run
        if run is None:
            return Answer("there is no run")
        return Answer(f"{low:g} to {high:g} s: {headline(run.summary(low, high))}")

    return Order(f"{var}.last_run.summary({low:g}, {high:g})", call, slow=True)


def _knob(lab: Lab, var: str, knob: str, typed: Argument) -> Order:
    """Return the order that moves a knob to what was typed."""
    value: Any = typed
    if knob == "max_rows_per_batch":
        value = None if typed is None else _number(typed, knob, int)
    elif typed is None:
        raise SettingError(f"{knob} needs a value.")
    elif knob == "speedup":
        value = _number(typed, knob, float)
    code = f"{value:g}" if isinstance(value, float) else repr(value)
    return Order(f"{var}.{knob} = {code}", _does(lambda: lab.change(**{knob: value})))


def _target(lab: Lab, var: str, typed: str | None) -> Order:
    """Return the order that only looks: which share of the records misses the target."""
    if typed is None:
        return Order("", Answer)
    duration_ns(typed, "p95 target", minimum_ns=1)

    def call() -> Answer:
        run = lab.last_run
        share = float("nan") if run is None else run.share_over(typed)
        return Answer("" if math.isnan(share) else f"{share:.1%} of the records took longer")

    return Order(f"{var}.last_run.share_over({typed!r})", call, slow=True)


def order_of(lab: Lab, var: str, verb: str, arg: Argument) -> Order:
    """Return what a control asks for.

    Args:
        lab: Whose control it is.
        var: The name the notebook knows the lab by.
        verb: A key of `BUTTONS` or `ASKING`, or a knob of the lab.
        arg: What was typed or chosen: text or None; [from, to] in seconds for `summary`, the advice for `apply`.

    Raises:
        SettingError: What was typed is no value for the knob.
    """
    if verb in KNOBS:
        return _knob(lab, var, verb, arg)
    if verb in BUTTONS:
        return BUTTONS[verb](lab, var)
    if verb in ASKING:
        return ASKING[verb](lab, var, arg)
    raise SettingError(f"{shown(verb)} is no control{did_you_mean(verb, [*KNOBS, *BUTTONS, *ASKING])}")


BUTTONS: Final[dict[str, Callable[[Lab, str], Order]]] = {
    "play": _play,
    "pause": lambda lab, var: Order(f"{var}.pause()", _does(lab.pause)),
    "step": _step,
    "stop": lambda lab, var: Order(f"{var}.stop()", _does(lab.stop), slow=True),
    "reset": lambda lab, var: Order(f"{var}.reset()", _does(lab.reset), slow=True),
    "export": _export,
    "diagnose": _diagnose,
}
ASKING: Final[dict[str, Callable[[Lab, str, Any], Order]]] = {
    "tune": _tune,
    "apply": _apply,
    "summary": _summary,
    "target": _target,
}
