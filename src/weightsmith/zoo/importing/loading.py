"""Loading: networks are read, fitted to a layout, measured where that is asked for, and sealed in a zoo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weightsmith.errors import BadInput
from weightsmith.layout import Weights
from weightsmith.reporter import Reporter
from weightsmith.zoo.importing.batches import batches
from weightsmith.zoo.importing.intake import Fitted, Intake
from weightsmith.zoo.importing.reporting import ImportReport, Skipped, named
from weightsmith.zoo.importing.scoring import Scorer, with_measured
from weightsmith.zoo.importing.sources import Candidate, Source, Unusable
from weightsmith.zoo.importing.survey import SOURCE, SOURCE_SHA256, Identity, Survey
from weightsmith.zoo.rows import Quarantined, Row, RowInfo
from weightsmith.zoo.writer import ZooWriter

CASTS = "casts"


@dataclass(frozen=True)
class _Taken:
    """One network that was read: its row, and its weights `[1, parameters]`."""

    info: RowInfo
    weights: Weights


class Loader:
    """Reads the networks of a source and seals them, a batch at a time; what it comes to stands in `report`."""

    def __init__(
        self,
        source: Source,
        intake: Intake,
        scorer: Scorer | None,
        facts: Mapping[str, Any],
        skip_bad: bool,
        progress: Reporter,
        check: Callable[[], None],
    ) -> None:
        self.report = ImportReport()
        self._source, self._intake, self._scorer, self._facts = source, intake, scorer, facts
        self._skip_bad, self._progress, self._check = skip_bad, progress, check
        self._present: set[Identity] = set()
        self._quarantined: dict[Identity, Quarantined] = {}

    def survey(self, stored: Sequence[Row]) -> None:
        """Look at every network before anything is written; see `Survey`. Raises `BadInput`."""
        source = self._source
        for note in source.notes:
            self._progress.note(note)
        self._progress.stage(f"checking {len(source):,} networks ({source.kind})", len(source))
        survey = Survey(stored, self._intake, self._skip_bad)
        survey.go(source, self._progress, self._check)
        self._present = survey.present

    def load(self, writer: ZooWriter) -> None:
        """Store what is missing. Raises `BadInput` for a network that cannot be read, unless such are skipped."""
        self._progress.stage(f"importing {len(self._source):,} networks", len(self._source))
        self._quarantined = {(q.run, q.step): q for q in writer.zoo.quarantined}
        for batch in batches(self._source):
            groups: dict[str, list[_Taken]] = {}
            for item in batch:
                self._check()
                taken = self._take(item)
                if taken is not None:
                    groups.setdefault(taken.weights.layout.fingerprint, []).append(taken)
            for group in groups.values():
                self._seal(writer, group)
        if self.report.skipped and not (self.report.stored or self.report.present or self.report.quarantined):
            first = self.report.skipped[0].reason
            raise BadInput(f"nothing could be imported, all {len(self.report.skipped)} are bad: {first}", "")

    def _take(self, item: Candidate | Unusable) -> _Taken | None:
        """Read one network; nothing where it is stored, or quarantined, or skipped."""
        if isinstance(item, Unusable):
            self._skip(item.name, item.error)
            return None
        if (item.info.run, item.info.step) in self._present:
            self.report.present += 1
            self.report.runs.add(item.info.run)
            self._advance(1, fresh=False)
            return None
        try:
            fitted = self._intake.fit(item.read(), item.layout)
            taken = _Taken(_described(item, fitted), fitted.layout.flatten([fitted.state]))
        except (BadInput, OSError) as error:
            self._skip(item.name, error)
            return None
        self._count_casts(item.name, fitted)
        return None if self._was_quarantined(taken) else taken

    def _was_quarantined(self, taken: _Taken) -> bool:
        """Whether an earlier import has set this network aside, and it is as bad as before."""
        before = self._quarantined.get((taken.info.run, taken.info.step))
        if before is None or bool(taken.weights.finite().all()):
            return False
        self._set_aside(before)
        self._advance(1, fresh=False)
        return True

    def _seal(self, writer: ZooWriter, group: list[_Taken]) -> None:
        weights, infos = Weights.concatenate([taken.weights for taken in group]), [taken.info for taken in group]
        if self._scorer is not None:
            infos = self._measured(self._scorer, weights, infos)
        appended = writer.append(weights, infos, self._facts)
        self.report.stored += len(appended.rows)
        self.report.runs.update(row.run for row in appended.rows)
        for refused in appended.quarantined:
            self._set_aside(refused)
        self._advance(0 if self._scorer else len(group))

    def _measured(self, scorer: Scorer, weights: Weights, infos: list[RowInfo]) -> list[RowInfo]:
        """The rows with what was measured of the networks that are finite."""

        def advance(networks: int) -> None:
            self._check()
            self._progress.advance("accuracy and loss are measured", networks)

        places = weights.finite().nonzero()[:, 0].tolist()
        self._advance(len(infos) - len(places))
        found = dict(zip(places, scorer(weights[places], advance), strict=True)) if places else {}
        return [
            replace(info, metrics=with_measured(info.metrics, found[place])) if place in found else info
            for place, info in enumerate(infos)
        ]

    def _skip(self, name: str, error: BadInput | OSError) -> None:
        error = named(name, error)
        if not self._skip_bad:
            kept = f"{self.report.stored + self.report.present} networks are stored, and stay"
            raise type(error)(error.message, f"{error.remedy}; or leave out what is bad with --skip-bad ({kept})")
        self._progress.note(f"skipped: {error.message}")
        self.report.skipped.append(Skipped(name, error.message))
        self._advance(1)

    def _set_aside(self, refused: Quarantined) -> None:
        self._progress.note(f"quarantined: run {refused.run!r}, step {refused.step}: {refused.reason}")
        self.report.quarantined.append(refused)

    def _count_casts(self, name: str, fitted: Fitted) -> None:
        for cast in fitted.casts:
            kind = cast.rpartition(": ")[2]
            if kind not in self.report.casts:
                self._progress.note(f"{name}: cast {cast} (further casts of this kind are counted, not listed)")
            self.report.casts[kind] += 1

    def _advance(self, networks: int, fresh: bool = True) -> None:
        if networks:
            self._progress.advance(f"{self.report.stored + self.report.present} networks stored", networks, fresh)


def _described(item: Candidate, fitted: Fitted) -> RowInfo:
    """The row of a network: what is stated of it, what it was read from, and the casts that were made."""
    extra = {**item.info.extra, SOURCE: item.name, SOURCE_SHA256: item.digest()}
    if fitted.casts:
        extra[CASTS] = fitted.casts
    return replace(item.info, extra=extra)
