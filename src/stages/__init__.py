"""One module per ``--mode``: each has ``run(config)``, which yields the files that it wrote.

A stage tells a story in the words of the rooms below; it imports no other stage. `preflight` is
what they check before any image is opened.
"""
