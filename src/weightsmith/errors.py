"""Errors a user can cause or meet: each says what is wrong, with which value, and what to do about it."""

from __future__ import annotations


class WeightsmithError(Exception):
    """Base of every error that weightsmith raises on purpose.

    `message` names the thing and its value, `remedy` says what to do; `exit_status` is what the
    command line returns.
    """

    exit_status = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n  remedy: {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        # Worker processes hand errors back by pickle; the default would pass the joined text as `message`.
        return type(self), (self.message, self.remedy)


class BadInput(WeightsmithError):
    """What was asked for cannot be done: bad usage, bad value, wrong file."""

    exit_status = 2


class ArtifactError(BadInput):
    """A file or folder is damaged, truncated, malicious or of another kind than it says."""


class LayoutMismatch(BadInput):
    """Weights do not have the names, shapes or dtypes that a layout states."""


class RecipeError(BadInput):
    """A recipe holds one or more mistakes; the message lists them all, each with its path and line."""


class EnvironmentFault(WeightsmithError):
    """The machine refused: disk full, no permission, no network."""


class Diverged(WeightsmithError):
    """Training met a loss or weights that are not finite; the last good state was kept."""


class Interrupted(WeightsmithError):
    """A signal arrived; state was saved. `exit_status` is 128 + the signal's number."""

    def __init__(self, signal_number: int, message: str = "", remedy: str = "") -> None:
        super().__init__(message or f"interrupted by signal {signal_number}, state saved", remedy)
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number

    def __reduce__(self) -> tuple[type, tuple[int, str, str]]:  # type: ignore[override]
        return type(self), (self.signal_number, self.message, self.remedy)
