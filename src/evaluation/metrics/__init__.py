"""Numbers: scores with intervals from resampled people, reliability, tests of significance.

`scores.METRICS` lists every score; `intervals.interval` says how sure it is.
"""
