"""Finding the interval: for now by trying several.

run -> [tuning] -> lab
"""
