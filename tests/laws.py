"""On how many examples a law is tried: the quick run draws few, always the same; `-m slow` draws all, always others.

A run of `pytest -m slow` is a campaign: every law is a slow test then, and has the examples that its file says.
"""

from hypothesis import HealthCheck, settings

__all__ = ["QUICK_OF_A_CAMPAIGN", "examples"]

QUICK_OF_A_CAMPAIGN = 25
LEAST = 20  # below that, one in 25 would be none

# how fast examples come is the machine's affair, which may be busy
patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", derandomize=True, max_examples=LEAST, **patient)
settings.register_profile("campaign", max_examples=100, print_blob=True, **patient)


def examples(number: int) -> settings:
    """Return the settings of a law that a campaign tries on this many examples."""
    quick = max(number // QUICK_OF_A_CAMPAIGN, min(number, LEAST))
    return settings(max_examples=quick if settings.default.derandomize else number)
