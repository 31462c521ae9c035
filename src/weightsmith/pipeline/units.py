"""Units: the pieces of an evaluation whose records are written together, so that it can be resumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from weightsmith.hashed import HashedLog
from weightsmith.interruption import check_interrupted
from weightsmith.pipeline.bench import Bench, Fact
from weightsmith.pipeline.folder import RunFolder
from weightsmith.reporter import Reporter


@dataclass(frozen=True)
class Unit:
    """A piece of the evaluation whose records are written together.

    `dataset`: the name of the one whose test images it is measured on; the run's own, without.
    """

    name: str
    measure: Callable[[], Iterator[Fact]]
    dataset: str | None = None


def measure(run: RunFolder, units: Callable[[Bench], Iterable[Unit]], reporter: Reporter) -> None:
    """Write the records that are missing, one unit (a pipeline, a generator) at a time."""
    log = HashedLog(run.records)
    done = _finished_units(log)
    bench = Bench(run)
    missing = [unit for unit in units(bench) if unit.name not in done]
    if not missing:
        return
    reporter.stage("evaluating on the test images", len(missing))
    for unit in missing:
        check_interrupted()
        facts = list(unit.measure())
        log.append([bench.record(unit.name, len(facts), fact, unit.dataset).to_json() for fact in facts])
        reporter.advance(unit.name)


def _finished_units(log: HashedLog) -> set[str]:
    """The units whose records are all there; those of one that was cut short, by a kill or a full disk, are removed."""
    records = log.read().records
    counts = Counter(record["details"]["unit"] for record in records)
    cut = next((i for i, r in enumerate(records) if counts[r["details"]["unit"]] != r["details"]["unit_size"]), None)
    if cut is not None:
        log.rewind(cut)
        return _finished_units(log)
    return set(counts)
