"""Rows with arrival times: a real data set, or made-up rows, and what goes wrong on the way.

arrivals -> [sources] -> feed -> engine
"""

from mblab.sources.base import Block, Source
from mblab.sources.replay import SourceWarning, replay
from mblab.sources.simulate import simulate

__all__ = ["Block", "Source", "SourceWarning", "replay", "simulate"]
