"""Known changes of a scan, asked of a model: does it answer to disease, and not to the scanner?

`scans` opens what images are made of and makes them again; `fields` and `acquisition` change it;
`plan` says what is tried; `answers` asks the model, person by person; `summary` and `verdicts` say
what came of it.
"""
