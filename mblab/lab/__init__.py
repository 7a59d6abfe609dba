"""The user's handle: put a pipeline together, run it, find its interval, ask about it, export it.

pipeline, engine, drivers -> workbench -> intervals, questions -> [handle]
"""

from mblab.lab.handle import Lab, known_labs, load_run

__all__ = ["Lab", "known_labs", "load_run"]
