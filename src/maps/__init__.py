"""Which places spoke for a class, and can that be trusted?

`gradcam` is for notebooks; `map_run` is what the steps of stage ``gradcam`` share, `explain` holds
them; `methods` and `attribution` make maps, `grading` tests them, `regions` and `groups` say what
they hold together.
"""

from __future__ import annotations
