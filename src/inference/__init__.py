"""New scans: what lies at ``--input``, images as the model knows them, and what is said of them.

`inputs`, `prepare`, `ensemble`, `answers` in that order; `map_files`, `derivatives` and `onnx` hand
answers and networks to other programs.
"""

from __future__ import annotations
