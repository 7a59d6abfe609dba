"""Writes a pipeline as a script that stands alone: what its functions read, and the text around them.

pipeline -> [export] -> pipeline.py -> script -> lab
"""

from mblab.export.compose import write_script

__all__ = ["write_script"]
