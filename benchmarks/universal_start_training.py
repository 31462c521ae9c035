"""Train a synthesizer that begins at given weights, for the 421,642-parameter CNN, and save it.

`--out FOLDER` holds all of it: run again, the same command goes on where it stopped. The synthesizer comes to lie in
`FOLDER/synthesizer`, and with `--compact` in bfloat16 where that says, as the one that comes with the package. Nothing
is selected: networks written from other inits are watched on validation images.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import weightsmith as ws
from benchmarks.phases import Phase, Shared, Watched, conduct, seconds_per_update
from weightsmith.architectures import Architecture
from weightsmith.artifact import require_new_folder
from weightsmith.datasets import Dataset, DatasetRequest, Split
from weightsmith.ensemble import choose_device
from weightsmith.environment import command_line
from weightsmith.errors import BadInput, WeightsmithError
from weightsmith.generators.universal import StartedGenerator, make_started
from weightsmith.hashed import read_sealed_json, write_sealed_json
from weightsmith.hypernetworks import HypernetworkSizes
from weightsmith.hypernetworks.pool import ChosenPool
from weightsmith.objectives.shifted import Shifted
from weightsmith.objectives.task import TaskLoss
from weightsmith.seeds import derive_seed
from weightsmith.tensorfile import read_tensors
from weightsmith.training import Monitor, TrainingProgress
from weightsmith.universal import Coverage, UniversalSynthesizer

UPDATES, RATE = 12_000, 1e-3
INITS, IMAGES = 4, 2000  # watched, and on so many validation images
PLAN, SYNTHESIZER = "plan.json", "synthesizer"


@dataclass(frozen=True)
class Wanted:
    """How a training goes: `draws` of fresh inits an update, for each of which so many `images` at least.

    `shift` and `shifted` are as in `Shifted`, 0 for none.

    `minutes`: in place of `updates`, as many as fit, by how long an update takes when it begins.
    """

    start_share: float = 0.5
    updates: int | None = None
    minutes: float | None = None
    rate: float = RATE
    draws: int = 4
    images: int = 64
    shift: int = 0
    shifted: float = 0.5
    workers: int = 2
    begin: str | None = None
    device: str = "cpu"
    epoch: int = 100

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("updates", "minutes", "draws", "images", "workers", "rate")}
        for name, value in counts.items():
            if value is not None and value <= 0:
                raise BadInput(f"{name}={value} is too small", "use more than 0")
        if not 0 <= self.start_share < 1:
            raise BadInput(f"start_share={self.start_share} is out of range", "use 0 to below 1")


def train(wanted: Wanted, form: Architecture, data: Dataset, request: DatasetRequest, out: Path) -> Path:
    """Do what is missing of a training for one architecture; the folder of the synthesizer that came of it.

    Raises `BadInput` where `out` holds a training that was begun otherwise.
    """
    if (out / SYNTHESIZER).exists():
        return out / SYNTHESIZER
    generator, pool = begun(wanted), ChosenPool((form,))
    generator.network.to(choose_device(wanted.device))
    objective = objective_of(wanted, pool)
    phase = planned(wanted, generator, pool, data, out)
    watched = Watched({"validation": watching(form, data.validation.head(IMAGES))})
    _, told = conduct(phase, generator, objective, data, out, watched)
    generator.network.cpu()
    provenance = {
        "command": command_line(),
        **before(wanted.begin),
        "trained on": f"fresh initialisations of {form.name}",
        **{key: value for key, value in asdict(wanted).items() if value is not None},
        "updates": phase.updates,
        "data set fingerprint": data.fingerprint,
        **told,
    }
    covers = Coverage.of([pool.extent(0)], request, data)
    UniversalSynthesizer(generator, covers, provenance).save(out / SYNTHESIZER)
    return out / SYNTHESIZER


def begun(wanted: Wanted) -> StartedGenerator:
    """The generator at its start: its body, or all of it, from a trained one where `begin` names one."""
    if wanted.begin is None:
        return make_started(0, HypernetworkSizes(start_share=wanted.start_share))
    sizes, tensors = _trained(wanted.begin)
    generator = make_started(0, replace(sizes, start_share=wanted.start_share))
    whole = any(name.startswith("body.") for name in tensors)
    try:
        (generator.network if whole else generator.network.body).load_state_dict(tensors)
    except RuntimeError:
        raise BadInput(
            f"the tensors of {wanted.begin} are not those of a hypernetwork of the usual sizes",
            "give the folder of a universal synthesizer, which says its sizes",
        ) from None
    return generator


def _trained(name: str) -> tuple[HypernetworkSizes, Mapping[str, torch.Tensor]]:
    """Sizes and tensors of a synthesizer by its folder or name, or of a file of averaged weights."""
    if Path(name).is_file():
        return HypernetworkSizes(), read_tensors(Path(name))[0]
    network = UniversalSynthesizer.load(name).generator.network
    return network.sizes, network.state_dict()


def before(name: str | None) -> dict[str, Any]:
    """The command that trained what is gone on from, where that begins at given weights, too."""
    if name is None or Path(name).is_file():
        return {}
    trained = UniversalSynthesizer.load(name)
    if not isinstance(trained.generator, StartedGenerator):
        return {}
    return {"before": trained.provenance.get("command")}


def objective_of(wanted: Wanted, pool: ChosenPool) -> Shared:
    """The task loss of networks written from fresh inits, of images that may be shifted."""
    workers = wanted.workers if choose_device(wanted.device).type == "cpu" else 1
    task = TaskLoss(pool, wanted.draws, workers=workers, fewest=wanted.images)
    return Shifted(task, wanted.shift, wanted.shifted) if wanted.shift else task


def planned(wanted: Wanted, generator: StartedGenerator, pool: ChosenPool, data: Dataset, out: Path) -> Phase:
    """The phase, of as many updates as were planned when this training began, so that its cosine comes to its end."""
    stated = {key: value for key, value in asdict(wanted).items() if key not in ("workers", "device")}
    phase = _of(Phase("started", UPDATES, wanted.rate, "cosine", epoch=wanted.epoch), wanted.updates or UPDATES)
    if (out / PLAN).exists():
        plan = read_sealed_json(out / PLAN)
        for key, value in plan["wanted"].items():
            if stated.get(key) != value:
                raise BadInput(
                    f"{out} holds a training with {key}={value}, not {stated.get(key)}",
                    "go on with the options that it was begun with, or choose a new folder with --out",
                )
        return _of(phase, plan["updates"])
    if wanted.minutes is not None:
        seconds = seconds_per_update(phase, generator, objective_of(wanted, pool), data)
        epochs = max(1, round(60 * wanted.minutes / seconds / phase.epoch))
        phase = _of(phase, epochs * phase.epoch)
        print(f"{seconds:.3f} s an update, {phase.updates:,} updates", file=sys.stderr, flush=True)
    out.mkdir(parents=True, exist_ok=True)
    write_sealed_json(out / PLAN, {"wanted": stated, "updates": phase.updates})
    return phase


def _of(phase: Phase, updates: int) -> Phase:
    """The same of whole epochs, of which a tenth at most is warm-up."""
    whole = -(-updates // phase.epoch) * phase.epoch
    return replace(phase, updates=whole, warmup=min(phase.warmup, whole // 10))


def watching(form: Architecture, validation: Split) -> Monitor:
    """The accuracy of networks from inits that are never learned: their mean, and the worst."""
    pool = ChosenPool((form,))

    def accuracy(generator: Any, number: int) -> float:
        device, one = generator.network.device, pool[0]
        start = one.start(derive_seed(number, "watched init of a start-conditioned training"))
        weights = generator.from_start(one.blueprint, start, torch.Generator())
        found = one(weights, validation.images.to(device)).argmax(1)
        return float((found == validation.labels.to(device)).float().mean())

    def look(generator: Any, progress: TrainingProgress) -> Mapping[str, float | str]:
        found = [accuracy(generator, number) for number in range(INITS)]
        return {"accuracy": statistics.fmean(found), "worst": min(found)}

    return look


def options() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks.universal_start_training", description=__doc__)
    found.add_argument("--out", type=Path, required=True, help="the folder of this training")
    found.add_argument("--compact", metavar="FOLDER", type=Path, help="write it there, too, in bfloat16: a new folder")
    found.add_argument("--begin", metavar="SYNTHESIZER", help="a trained one to go on from, or averaged.safetensors")
    length = found.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="as many updates as fit")
    length.add_argument("--updates", type=int, help=f"default {UPDATES}")
    found.add_argument("--start-share", type=float, default=0.5, help="of what is written, the start itself")
    found.add_argument("--rate", type=float, default=RATE, help="peak learning rate of Muon")
    found.add_argument("--draws", type=int, default=4, help="fresh initialisations an update")
    found.add_argument("--images", type=int, default=64, help="that each of their networks sees, at least")
    found.add_argument("--shift", type=int, default=0, help="images are moved by up to so many pixels")
    found.add_argument("--shifted", type=float, default=0.5, help="the share of the images that is moved")
    found.add_argument("--workers", type=int, default=2)
    found.add_argument("--device", default="cpu", help="cpu, cuda, or auto")
    found.add_argument("--dataset", default="mnist", help="mnist, or digits where MNIST cannot be had")
    return found


def main() -> None:
    given = vars(options().parse_args())
    torch.set_num_threads(1)
    out, compact, request = given.pop("out"), given.pop("compact"), DatasetRequest(given.pop("dataset"))
    try:
        data = ws.load_dataset(request.name)
        form = Architecture("target_cnn", data.input_shape, data.classes)
        if compact is not None:
            require_new_folder(compact)
        folder = train(Wanted(**given), form, data, request, out)
        if compact is not None:
            UniversalSynthesizer.load(folder).save(compact, compact=True)
        print(folder)
    except WeightsmithError as error:
        print(f"{error.message}; {error.remedy}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
