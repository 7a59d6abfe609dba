"""Pages that stand alone: one HTML file that opens offline.

charts, frames, facts -> [report]: page, run_page -> run, demo
"""
