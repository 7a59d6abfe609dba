"""Finding the interval: by trying several, and by trying batches and predicting all.

run -> [tuning] -> lab
"""
