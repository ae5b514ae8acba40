"""Is this split honest? Eight checks of our own data sets and of anybody's folders.

`audit` runs them all; every check is a module of its own, and `verdicts` says PASS, WARN or FAIL.
"""
