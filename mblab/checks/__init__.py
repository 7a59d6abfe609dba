"""What the steps would do otherwise: other cuts, the same batch again, a new version beside the old.

pipeline, history -> trial -> [checks]: recut, rerun, inspection, shadow -> lab, testing
"""
