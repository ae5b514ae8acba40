#!/usr/bin/env python3
"""Stage Alzheimer's disease from brain MRI: ``python main.py --help``."""

import sys

from src.cli import main

if __name__ == "__main__":
    sys.exit(main())
