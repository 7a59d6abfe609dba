"""What an overrun does: the three policies, said once, as data.

Two questions tell policies apart, and whoever needs to know one asks its rule, never its name:

    may a trigger be skipped?     must a batch start on the grid?     then it is
    yes                           no                                  asap
    yes                           yes                                 skip
    no                            no                                  queue

    [policies] -> schedule, settings, tuning, dashboard, cli
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

__all__ = ["POLICIES", "RULES", "Policy", "Rule"]

Policy = Literal["asap", "skip", "queue"]  # a new one is a word here, and a rule below
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a policy does when a batch overruns its interval.

    Attributes:
        name: The policy.
        says: What becomes of the next batch, as one says it to a person.
        every_trigger: Each trigger gets a batch of its own, with the rows of its own range: cut at the due time and not
            at the start, and counted by it. Otherwise a batch takes all that has arrived when it starts.
        on_grid: A batch starts on the grid only. Otherwise a late one starts at once.
    """

    name: Policy
    says: str
    every_trigger: bool = False
    on_grid: bool = False

    @property
    def caps(self) -> bool:
        """Whether `max_rows_per_batch` can hold: not where a trigger's rows are exactly those of its range."""
        return not self.every_trigger


RULES: Final[dict[str, Rule]] = {
    rule.name: rule
    for rule in (
        Rule("asap", "it starts at once, then the grid goes on"),
        Rule("skip", "it waits for the next point of the grid, and what came between is missed", on_grid=True),
        Rule("queue", "it waits in line, and every trigger keeps its own rows", every_trigger=True),
    )
}
