"""The errors that users can cause, and which one to raise when.

Every message answers four questions: where, what was expected, what was found, what to do.
Commands print the message as one line and exit with status 2 (``--debug`` shows the trace).
Programmer mistakes are not listed here: they raise ``TypeError`` or fail an ``assert``.
"""

from __future__ import annotations


class AstroError(Exception):
    """Base of every error that a user can mend; never raised itself."""


class ImageError(AstroError, ValueError):
    """An image cannot be read or used: wrong bands, shapes, no good pixel, truncated file."""


class CatalogError(AstroError, ValueError):
    """A table lacks a column, or a column has the wrong kind of value."""


class DatasetError(AstroError, ValueError):
    """A training set is missing, incomplete or inconsistent with itself."""


class ConfigError(AstroError, ValueError):
    """A configuration key is unknown, or its value is out of range."""


class WeightsError(AstroError, ValueError):
    """A weights file is missing, changed, or does not fit the network."""


class InputNotFoundError(AstroError, FileNotFoundError):
    """A path given by the user does not exist."""


class OutputExistsError(AstroError, FileExistsError):
    """A result is there already and ``--overwrite`` was not given."""


class BackendError(AstroError, ImportError):
    """An optional library that this request needs is not installed."""
