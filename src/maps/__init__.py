"""Which places spoke for a class, and can that be trusted?

`gradcam` is for notebooks; `explain` holds the steps of stage ``gradcam``; `methods` and
`attribution` make maps, `grading` tests them, `regions` and `groups` say what they hold together.
"""

from __future__ import annotations
