"""Commands run one after another; the first that fails ends the benchmark."""

from __future__ import annotations


class StepFailed(Exception):
    """A command ended with an error, which it has told.

    Attributes
    ----------
    code : int
        Its exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def check(code: int) -> None:
    """Raise `StepFailed` unless a command ended well."""
    if code:
        raise StepFailed(code)
