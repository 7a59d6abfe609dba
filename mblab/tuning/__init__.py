"""Finding the interval: by trying several, and by trying batches and predicting all.

sweep                   several intervals, really run, side by side
probe                   batches of many sizes, tried for seconds → fit, delays, cost: the law of what n rows cost
spectrum                such batches from row at a time to one batch of all: what the size costs, and what it buys
arrival_times           when rows arrive → simulate, ensemble, whatif: every interval, many times over → curve
tuner                   tries where the decision lies → target, confidence, decision: which interval, how sure, and why
advice                  the answer → verification, track_record: held against a real run, and what that says of the next
arrival_rate, drift     what changes while a run is on → autopilot: the interval moved along
diagnosis               why a run falls behind

run, pipeline -> [tuning] -> lab
"""
