"""Writes a pipeline as a script that stands alone: what its functions read, the text, and what that text calls.

pipeline -> [capture] -> [script] -> pipeline.py -> [runtime] -> lab
"""
