"""Finding the interval: by trying several, and by trying batches and predicting all.

sweep   several intervals, really run, side by side
probe   batches of many sizes, tried for seconds     → fit, cost   the law of what n rows cost
trace   when rows arrive                             → lanes, bundle, whatif   every interval, many times over
tuner   tries where the decision lies                → advice, judge   which interval, how sure, and why
verification, ledger    a prediction against a real run, and what that says of the next
autopilot               the interval moved while a run is on
diagnosis               why a run falls behind

run -> [tuning] -> lab
"""
