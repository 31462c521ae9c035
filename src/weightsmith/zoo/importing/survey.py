"""Survey: what can be known of networks to be imported before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weightsmith.errors import BadInput
from weightsmith.reporter import Reporter
from weightsmith.zoo.importing.intake import Intake
from weightsmith.zoo.importing.reporting import named
from weightsmith.zoo.importing.sources import Candidate, Source, Unusable
from weightsmith.zoo.rows import Row, Run

SOURCE, SOURCE_SHA256 = "source", "source_sha256"
Identity = tuple[Run, int]


class Survey:
    """Goes through a source once, and refuses what no import of it could end well with.

    That is: two networks of one run and step; one that is stored with other contents; and, unless bad ones are to be
    skipped, the first that shows by its name or header that it is bad. One is read whole, since what is wrong with it
    (a key that was not given, another architecture) is likely to be wrong with all.
    """

    def __init__(self, stored: Sequence[Row], intake: Intake, skip_bad: bool) -> None:
        self.present: set[Identity] = set()
        self._stored = {(row.run, row.step): row for row in stored}
        self._seen: dict[Identity, str] = {}
        self._intake, self._skip_bad = intake, skip_bad
        self._has_read = False

    def go(self, source: Source, progress: Reporter, check: Callable[[], None]) -> None:
        """Look at every network. Raises `BadInput`."""
        usable, first = 0, None
        for item in source:
            check()
            error = self._bad(item)
            if error is not None and not self._skip_bad:
                raise type(error)(error.message, _or_skip(error.remedy))
            usable, first = usable + (error is None), first or error
            progress.advance("names and headers are checked")
        if first is not None and not usable:
            raise BadInput(f"nothing can be imported from {source.folder}: {first.message}", first.remedy)

    def _bad(self, item: Candidate | Unusable) -> BadInput | None:
        if isinstance(item, Unusable):
            return named(item.name, item.error)
        self._refuse_twin(item)
        try:
            if self._is_present(item):
                self.present.add((item.info.run, item.info.step))
                return None
            state = item.inspect() if self._has_read else item.read()
            if state is not None:
                self._intake.fit(state, item.layout)
            self._has_read = True
        except OSError as error:
            return named(item.name, error)
        except BadInput as error:
            if isinstance(error, OtherContents):
                raise
            return named(item.name, error)
        return None

    def _refuse_twin(self, item: Candidate) -> None:
        info = item.info
        other = self._seen.setdefault((info.run, info.step), item.name)
        if other != item.name:
            raise BadInput(
                f"{other} and {item.name} are both run {info.run!r}, step {info.step}",
                "say what tells them apart: a column or a field {run} or {step}",
            )

    def _is_present(self, item: Candidate) -> bool:
        row = self._stored.get((item.info.run, item.info.step))
        if row is None:
            return False
        if row.extra.get(SOURCE_SHA256) != item.digest():
            origin = f", from {row.extra[SOURCE]}" if SOURCE in row.extra else ""
            raise OtherContents(
                f"{item.name}: run {row.run!r}, step {row.step} is stored already with other contents{origin}",
                "give it another run or step, or import into a new zoo; a stored network never changes",
            )
        return True


class OtherContents(BadInput):
    """A network is stored under this run and step, and it is another one."""


def _or_skip(remedy: str) -> str:
    return f"{remedy}; or leave out what is bad with --skip-bad" if remedy else "leave out what is bad with --skip-bad"
