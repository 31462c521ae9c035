"""Planning a zoo: what every run trains on what and how, and the ways of computing that are fastest on this machine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from weightsmith.architectures import Architecture
from weightsmith.datasets import Dataset, DatasetRequest, load_dataset
from weightsmith.engines.local import share_cores, usable_cores
from weightsmith.ensemble import (
    GROUP_SIZES,
    Method,
    Rate,
    TrainingPlan,
    candidates,
    choose_device,
    choose_precision,
    measure_rate,
    worth_trying,
)
from weightsmith.errors import BadInput
from weightsmith.interruption import check_interrupted
from weightsmith.reporter import counted
from weightsmith.seeds import derive_seed
from weightsmith.settings.experiment import learns_zoo, told_datasets
from weightsmith.settings.recipe import Recipe, ZooSettings
from weightsmith.settings.sections import DatasetSettings
from weightsmith.settings.universal_section import UniversalSettings
from weightsmith.settings.vary import settings_of_run
from weightsmith.zoo.tasks import GroupTask, RunSpec, group_runs

WORTH_MEASURING = 8  # runs of one form; fewer are trained one by one
_WORTH_SECONDS = 60  # of work on one core; less is shared out as if threads were as good as processes
_ENOUGH_TASKS = 8  # a worker: with so many, how evenly they share out hardly matters


def request_of(recipe: Recipe, dataset: DatasetSettings | None = None) -> DatasetRequest:
    """What to load for a recipe, or for one of the data sets that it varies; two equal requests load once."""
    wanted = dataset or recipe.dataset
    return DatasetRequest(wanted.name, wanted.validation, recipe.seed, wanted.image_size)


def requests_of(recipe: Recipe) -> list[DatasetRequest]:
    """Every data set that a recipe's zoo may draw, each once."""
    return list(dict.fromkeys(request_of(recipe, one) for one in recipe.vary.dataset or [recipe.dataset]))


def require_one_shape(recipe: Recipe) -> None:
    """Raise `BadInput` where a generator is told data sets that no one architecture reads: of other images, classes."""
    if len(told_datasets(recipe)) < 2:
        return
    first, *others = [(request.name, load_dataset(request)) for request in requests_of(recipe)]
    for name, data in others:
        if (data.input_shape, data.classes) != (first[1].input_shape, first[1].classes):
            raise BadInput(
                f"data set {name!r} has images {list(data.input_shape)} of {data.classes} classes, and {first[0]!r} "
                f"has images {list(first[1].input_shape)} of {first[1].classes}: one architecture cannot read both",
                "resize all to one image_size in vary.dataset, and choose data sets of equally many classes",
            )


@dataclass(frozen=True)
class ZooPlan:
    """The runs of a recipe's zoo; `typed_by_user` as for a run's folder."""

    recipe: Recipe
    typed_by_user: bool

    @cached_property
    def datasets(self) -> dict[DatasetRequest, Dataset]:
        return {request: load_dataset(request) for request in requests_of(self.recipe)}

    @cached_property
    def specs(self) -> list[RunSpec]:
        """Every run, drawn from the recipe's seed and its number alone."""
        return [self._spec(run) for run in range(self.recipe.zoo.runs)]

    @property
    def tasks(self) -> list[GroupTask]:
        """The groups in which the runs are trained, by the method and group size of a resolved recipe."""
        zoo = self.recipe.zoo
        method = "loop" if zoo.method == "auto" else zoo.method
        return group_runs(self.specs, self.recipe.seed, method, max(1, zoo.group_size), self.recipe.device)

    @cached_property
    def commonest(self) -> tuple[RunSpec, int]:
        """A run of the form, data and plan that most runs have, and how many have them."""
        counts = Counter(spec.company for spec in self.specs)
        company, count = counts.most_common(1)[0]
        return next(spec for spec in self.specs if spec.company == company), count

    def _spec(self, run: int) -> RunSpec:
        recipe, drawn = self.recipe, settings_of_run(self.recipe, run)
        zoo, request = recipe.zoo, request_of(recipe, drawn.dataset)
        data = self.datasets[request]
        form = Architecture(
            drawn.architecture.name, data.input_shape, data.classes, drawn.architecture.options, self.typed_by_user
        )
        precision = choose_precision(zoo.precision, choose_device(recipe.device))
        order = derive_seed(recipe.seed, "zoo", "shared batches") if zoo.shared_batches else None
        plan = TrainingPlan(zoo.epochs, drawn.batch_size, drawn.optimizer, precision, zoo.capture_steps, order)
        return RunSpec(
            run, form, request, plan, drawn.learning_rate, drawn.weight_decay, drawn.momentum, data.fingerprint
        )


def resolve(recipe: Recipe, note: Callable[[str], None] = lambda text: None) -> Recipe:
    """Write down what `auto` means on this machine, so that a resumed run computes as the first did.

    Where runs can be trained in more than one way, each is tried for a moment and the fastest taken. `note` is told.
    """
    device = choose_device(recipe.device)
    zoo = recipe.zoo.model_copy(update={"precision": choose_precision(recipe.zoo.precision, device)})
    recipe = recipe.model_copy(update={"device": device.type, "zoo": zoo})
    evaluation = recipe.evaluation.model_copy(
        update={"precision": choose_precision(recipe.evaluation.precision, device)}
    )
    if not learns_zoo(recipe):
        return recipe.model_copy(update={"universal": _with_workers(recipe), "evaluation": evaluation})
    if zoo.folder is None:
        zoo = _with_method(zoo, ZooPlan(recipe, typed_by_user=True), note)
        plan = ZooPlan(recipe.model_copy(update={"zoo": zoo}), typed_by_user=True)
        zoo = zoo.model_copy(update=_shares(plan, note))
    return recipe.model_copy(update={"zoo": zoo, "evaluation": evaluation})


def _with_workers(recipe: Recipe) -> UniversalSettings:
    """As many processes as cores, where nothing else is asked for; a GPU is not shared."""
    universal = recipe.universal
    if recipe.device != "cpu":
        if universal.workers > 1:
            raise BadInput(
                f"universal.workers={universal.workers} is for a CPU, and this runs on {recipe.device}",
                "leave it out, or use device=cpu",
            )
        return universal.model_copy(update={"workers": 1})
    workers = universal.workers or min(usable_cores(), universal.architectures)
    return universal.model_copy(update={"workers": workers})


def _with_method(zoo: ZooSettings, plan: ZooPlan, note: Callable[[str], None]) -> ZooSettings:
    spec, count = plan.commonest
    if zoo.method == "loop" or (zoo.method == "auto" and count < WORTH_MEASURING):
        return zoo.model_copy(update={"method": "loop", "group_size": 1})
    if zoo.method != "auto" and zoo.group_size:
        return zoo
    device = choose_device(plan.recipe.device)
    workers = zoo.workers or (usable_cores() if device.type == "cpu" else 1)
    most = zoo.group_size or math.ceil(count / workers)
    methods = worth_trying(device) if zoo.method == "auto" else (zoo.method,)
    ways = candidates(spec.architecture.build(0), methods, most)
    if zoo.group_size:
        ways = [(method, size) for method, size in ways if method == "loop" or size == max(s for _, s in ways)]
    if not ways:  # the commonest network does not allow it; others may
        return zoo.model_copy(update={"group_size": GROUP_SIZES[0]})
    if len(ways) == 1:
        return zoo.model_copy(update={"method": ways[0][0], "group_size": ways[0][1]})
    rates = [_rate(spec, plan, method, size, threads=zoo.threads or 1) for method, size in ways]
    best = min(rates, key=lambda rate: _rounds(count, rate.group_size, workers) * rate.group_size / rate.steps)
    note(_said(rates, best))
    return zoo.model_copy(update={"method": best.method, "group_size": best.group_size})


def _rounds(runs: int, group_size: int, workers: int) -> int:
    """How often a worker takes up a group."""
    return math.ceil(math.ceil(runs / group_size) / workers)


def _shares(plan: ZooPlan, note: Callable[[str], None]) -> dict[str, int]:
    """Workers, and threads of each: measured where it is not plain which share of the cores is soonest done."""
    zoo, cores = plan.recipe.zoo, usable_cores()
    if zoo.workers or plan.recipe.device != "cpu":
        workers = zoo.workers or 1
        return {"workers": workers, "threads": zoo.threads or max(1, cores // workers)}
    if zoo.threads:
        return {"workers": max(1, cores // zoo.threads), "threads": zoo.threads}
    tasks = len(plan.tasks)
    if tasks % cores == 0 or tasks >= _ENOUGH_TASKS * cores:
        return {"workers": cores, "threads": 1}
    spec, first = plan.commonest[0], plan.tasks[0]

    @cache
    def speed(threads: int) -> float:
        return _rate(spec, plan, first.method, len(first.runs), threads).steps

    steps = zoo.runs * zoo.epochs * (len(plan.datasets[spec.dataset].train) / zoo.batch_size)
    long = steps / speed(1) > _WORTH_SECONDS
    workers, threads = share_cores(tasks, cores, speed if long else float)
    if long:
        shape = f"{counted(workers, 'worker')} of {counted(threads, 'thread')}"
        note(f"{shape}: soonest done of what was measured")
    return {"workers": workers, "threads": threads}


def _rate(spec: RunSpec, plan: ZooPlan, method: Method, size: int, threads: int) -> Rate:
    data, device = plan.datasets[spec.dataset], choose_device(plan.recipe.device)
    module = spec.architecture.build(0)
    return measure_rate(method, size, threads, module, data.train, spec.plan, device, check=check_interrupted)


def _said(rates: Sequence[Rate], best: Rate) -> str:
    listed = ", ".join(
        f"{rate.method}{f' of {rate.group_size}' if rate.group_size > 1 else ''} {rate.steps:,.0f}" for rate in rates
    )
    return f"optimizer steps a second by one worker: {listed}; taken: {best.method} of {best.group_size}"
