"""Build script for tools that still look for one; everything is said in pyproject.toml."""

from setuptools import setup

setup()
