"""The user's handle: put a pipeline together, run it, find its interval, ask about it, export it.

inspect -> control -> tune -> [lab] -> overrides
"""

from mblab.lab.lab import Lab, known_labs, load_run

__all__ = ["Lab", "known_labs", "load_run"]
