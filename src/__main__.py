"""``python -m mri_ad``: the command of an installed package, as torchrun starts it."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
