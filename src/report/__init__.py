"""What people look at: figures, documents, the page of a run. Nothing is computed, no model loaded.

`score_figures` and `map_figures` draw, `documents` writes tables and checklists, `page` makes
``report.html``; `canvas` is what all figures share.
"""
