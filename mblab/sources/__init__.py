"""Rows with arrival times: a real data set, or made-up rows, what goes wrong on the way, and streams under way.

arrivals -> [sources] -> feed -> engine
"""

from mblab.sources.base import Block, Exportable, Source
from mblab.sources.live.base import Live
from mblab.sources.live.poll import poll
from mblab.sources.live.watch import watch
from mblab.sources.replay import SourceWarning, replay
from mblab.sources.simulate import simulate

__all__ = ["Block", "Exportable", "Live", "Source", "SourceWarning", "poll", "replay", "simulate", "watch"]
