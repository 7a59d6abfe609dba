"""Rows with arrival times: a real data set, or made-up rows, what goes wrong on the way, and streams under way.

arrivals -> [sources] -> feed -> engine
"""

from mblab.sources.base import Block, Source
from mblab.sources.live import Live
from mblab.sources.poll import poll
from mblab.sources.record import record
from mblab.sources.replay import SourceWarning, replay
from mblab.sources.simulate import simulate
from mblab.sources.watch import watch

__all__ = ["Block", "Live", "Source", "SourceWarning", "poll", "record", "replay", "simulate", "watch"]
