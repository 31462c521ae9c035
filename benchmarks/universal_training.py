"""Train the universal synthesizer that comes with the package, in phases, and save it.

Each phase goes on from the averaged weights of the one before it, and is resumed where it was stopped. The recipe
`mnist-universal` trains one of the same kind in a single phase.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import weightsmith as ws
from benchmarks.harness import WORK, parser
from benchmarks.mining import AnyPool, mined, with_heads
from benchmarks.phases import Phase, conduct
from weightsmith.architectures.families import TRAINED
from weightsmith.datasets import Dataset, DatasetRequest
from weightsmith.ensemble import choose_device
from weightsmith.environment import command_line
from weightsmith.errors import BadInput
from weightsmith.generators.universal import UniversalGenerator, make_universal
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.extent import Extent
from weightsmith.hypernetworks.pool import ArchitecturePool
from weightsmith.objectives.task import TaskLoss
from weightsmith.tensorfile import read_tensors
from weightsmith.universal import Coverage, UniversalSynthesizer

JUDGED = 256  # training images, by which the hardest architectures are found


@dataclass(frozen=True)
class PoolPhase:
    """A phase whose updates each draw some of the `pool` of architectures of these `families`.

    Of those, with `hardest`, only so many for which the phase before wrote the worst weights, and `others` of the rest;
    with `heads`, so many of each kind (see `with_heads`), `pool` in all.
    `fixed_share`, `start_share`: see `HypernetworkSizes`; `blur`, `fewest`: see `TaskLoss`.
    """

    phase: Phase
    fixed_share: float
    pool: int
    architectures: int = 8
    blur: float = 0.0
    fewest: int = 64
    families: Mapping[str, int] = field(default_factory=lambda: dict(TRAINED))
    hardest: int = 0
    others: int = 0
    heads: Mapping[str, int] = field(default_factory=dict)
    start_share: float = 0.0

    def drawn(self) -> AnyPool:
        """What is learned from, or the hardest are chosen from."""
        if self.heads:
            return with_heads(self.heads, self.families)
        return ArchitecturePool("training", self.pool, self.families)

    def learned(self, generator: UniversalGenerator, data: Dataset, folder: Path, workers: int) -> AnyPool:
        """What is learned from; the hardest are found with the generator as it stands when the phase begins."""
        if not self.hardest:
            return self.drawn()
        some = data.train.head(JUDGED)
        file = folder / "mined.json"
        return mined(self.drawn(), self.hardest, self.others, generator, some.images, some.labels, file, workers)

    def described(self) -> dict[str, Any]:
        """All of it, flat."""
        return {**asdict(self.phase), **{key: value for key, value in asdict(self).items() if key != "phase"}}


# Averaged heads in as much company as there is: of each family that has them there are few among those drawn as usual.
HEADS = {
    "cnn average": 350,
    "residual average": 250,
    "medley average": 250,
    "hybrid average": 150,
    "quarters": 300,
    "other": 1500,
}
CHOSEN = sum(HEADS.values())
WITHOUT_MEDLEYS = {name: weight for name, weight in TRAINED.items() if name != "medley"}
# Codes that are the same for all networks learn faster; then part of them is drawn anew.
PHASES = (
    PoolPhase(Phase("fixed", 7000, 7e-4), 1.0, 600, families=WITHOUT_MEDLEYS),
    PoolPhase(Phase("drawn", 2300, 7e-4), 0.5, 1200, 12, families=WITHOUT_MEDLEYS),
    PoolPhase(Phase("settled", 4000, 7e-4, "cosine"), 0.5, 1200, 12, 0.05, families=WITHOUT_MEDLEYS),
    # For a GPU; on two cores it takes hours.
    PoolPhase(Phase("widened", 6500, 1e-3, "cosine", 512), 0.5, 1200, 32, 0.1, 256, WITHOUT_MEDLEYS),
    PoolPhase(Phase("medleys", 4500, 7e-4, "cosine"), 0.5, 800, 12, 0.1),
    PoolPhase(Phase("hardest", 5500, 7e-4, "cosine"), 0.5, 1600, 12, 0.1, hardest=400, others=300),
    # For a GPU again.
    PoolPhase(Phase("deepened", 5000, 1e-3, "cosine", 512), 0.5, 2400, 32, 0.1, 256, hardest=900, others=700),
    PoolPhase(Phase("averages", 1500, 7e-4), 0.5, CHOSEN, 12, 0.1, heads=HEADS),
    PoolPhase(Phase("narrowed", 3000, 7e-4, "cosine"), 0.5, CHOSEN, 12, 0.1, heads=HEADS),
    # For a GPU again: attention in other spellings, with norms behind the sums, and with one head; and a part of every
    # matrix and kernel that is drawn anew, so that networks of one architecture differ.
    PoolPhase(Phase("spelled", 5200, 1e-3, "cosine", 512), 0.5, CHOSEN, 32, 0.1, 256, heads=HEADS, start_share=0.6),
)
# Between what the last two came to lies what writes held-out families nearly as well as the one, and bears what is
# drawn anew as the other does: it is saved, with a share of that which was chosen on validation images.
EARLIER, START_SHARE = 0.5, 0.5


def main() -> None:
    options = parser("universal_training", __doc__ or "")
    options.add_argument("--out", type=Path, default=Path(ws.__file__).parent / "pretrained" / "mnist-universal")
    options.add_argument("--begin", metavar="SYNTHESIZER", help="a trained one, which then is put through the rest")
    options.add_argument("--workers", type=int, default=2, help="processes, on a CPU")
    options.add_argument("--device", default="cpu", help="cpu, cuda, or auto")
    wanted = options.parse_args()
    torch.set_num_threads(1)
    data, work = ws.load_dataset(wanted.dataset), WORK / "universal" / "training"
    tensors, history = begun(wanted.begin)
    before = tensors
    for chosen in PHASES[len(history) :]:
        generator, folder = generator_of(chosen.fixed_share, chosen.start_share, tensors), work / chosen.phase.name
        pool = chosen.learned(generator, data, folder, wanted.workers)
        generator.network.to(choose_device(wanted.device))
        objective = TaskLoss(pool, chosen.architectures, chosen.blur, wanted.workers, fewest=chosen.fewest)
        averaged, told = conduct(chosen.phase, generator, objective, data, folder)
        tensors, before = read_tensors(averaged)[0], tensors
        history.append({**chosen.described(), **told})
    assert tensors is not None, "there was a phase left"
    shipped = generator_of(PHASES[-1].fixed_share, START_SHARE, tensors if before is None else mean_of(tensors, before))
    save(shipped, history, data, wanted.out)


def mean_of(last: Mapping[str, torch.Tensor], earlier: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Between what the last phase came to and what the one before it did."""
    return {name: torch.lerp(value.cpu().float(), earlier[name].cpu().float(), EARLIER) for name, value in last.items()}


def begun(name: str | None) -> tuple[Mapping[str, torch.Tensor] | None, list[dict[str, Any]]]:
    """The tensors of a synthesizer and the phases that it has been through; none of either for a training from nothing.

    Raises `BadInput` where there is no phase left for it.
    """
    if name is None:
        return None, []
    trained = UniversalSynthesizer.load(name)
    history = list(trained.provenance["phases"])
    if len(history) >= len(PHASES):
        raise BadInput(f"{name} has been through all {len(history)} phases", "begin with one that has not")
    return trained.generator.network.state_dict(), history


def generator_of(
    fixed_share: float, start_share: float, tensors: Mapping[str, torch.Tensor] | None
) -> UniversalGenerator:
    """A generator that draws these shares, with these tensors or at its start."""
    generator = make_universal(0, HypernetworkSizes(fixed_share=fixed_share, start_share=start_share))
    if tensors is not None:
        generator.network.load_state_dict(tensors)
    return generator


def save(generator: UniversalGenerator, history: list[dict[str, Any]], data: Dataset, folder: Path) -> None:
    """Write the synthesizer in place of one that is there, with what was done to get it."""
    covers = Coverage.of((extent for pool in pools() for extent in _extents(pool)), DatasetRequest(data.name), data)
    peaks = [entry["peak_rss_mb"] for entry in history if entry.get("peak_rss_mb")]
    provenance = {
        "command": command_line(),
        "families": dict(PHASES[-1].families),
        "phases": history,
        "mean": f"of what the last phase and the one before it came to, with a share of {EARLIER} of the earlier",
        "peak_rss_mb": max(peaks, default=None),
    }
    shutil.rmtree(folder, ignore_errors=True)
    UniversalSynthesizer(generator, covers, provenance).save(folder, compact=True)


def pools() -> list[AnyPool]:
    """Pools that between them hold all that phases learned from, but for the hardest of larger ones."""
    largest: dict[Any, PoolPhase] = {}
    for chosen in sorted((one for one in PHASES if not one.hardest), key=lambda one: one.pool):
        largest[tuple(chosen.families.items()), tuple(chosen.heads.items())] = chosen
    return [chosen.drawn() for chosen in largest.values()]


def _extents(pool: AnyPool) -> Iterator[Extent]:
    return (pool.extent(number) for number in range(len(pool)))


if __name__ == "__main__":
    main()
