"""Attacks on the program: damaged files, killed stages, hostile machines. `python -m campaigns`."""
