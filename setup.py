"""The packages under src, with the names they have when installed; the rest is pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=["mri_ad", *(f"mri_ad.{room}" for room in find_packages("src"))])
