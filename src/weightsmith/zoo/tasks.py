"""Tasks: the runs of a zoo that is to be built, and the groups in which they are trained together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from weightsmith.architectures import Architecture
from weightsmith.datasets import DatasetRequest, load_dataset
from weightsmith.ensemble import Member, Method, TrainingPlan, can
from weightsmith.hashed import canonical_json, fingerprint
from weightsmith.seeds import derive_seed

GROUP_BYTES = 256_000_000  # of captured weights that one group may hold in memory
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class RunSpec:
    """One run: what it trains, on what, and how. Its seed is derived from the zoo's and its number alone.

    `data`: the fingerprint that its data set must have wherever it is trained; any, where none is given.
    """

    run: int
    architecture: Architecture
    dataset: DatasetRequest
    plan: TrainingPlan
    learning_rate: float
    weight_decay: float = 0.0
    momentum: float = 0.9
    data: str | None = None

    @property
    def company(self) -> str:
        """Runs of equal company can be trained together."""
        # `vars`, for they are flat: `asdict` copies deeply, which takes half a second for 10,000 runs
        return canonical_json([self.architecture.to_json(), vars(self.dataset), vars(self.plan)])

    def seed(self, zoo_seed: int) -> int:
        return derive_seed(zoo_seed, "zoo", "run", self.run)

    def member(self, zoo_seed: int) -> Member:
        return Member(self.seed(zoo_seed), self.learning_rate, self.weight_decay, self.momentum)


@dataclass(frozen=True)
class StatePlace:
    """Where a group's unfinished state is kept: a file in the folder of the zoo with this id."""

    file: Path
    zoo: Path
    zoo_id: str


@dataclass(frozen=True)
class GroupTask:
    """Everything that a group of runs depends on, so that any process on any machine trains it alike."""

    runs: tuple[RunSpec, ...]
    seed: int
    method: Method
    device: str
    state: StatePlace | None = None

    @property
    def first(self) -> RunSpec:
        """What holds of one run as to architecture, data set and plan holds of all."""
        return self.runs[0]

    @property
    def fingerprint(self) -> str:
        """What must not change between the parts of an interrupted training."""
        data = self.first.data or load_dataset(self.first.dataset).fingerprint
        members = [[spec.run, asdict(spec.member(self.seed))] for spec in self.runs]
        plan = asdict(self.first.plan)
        return fingerprint([members, self.first.architecture.to_json(), data, plan, self.method])


def group_runs(specs: Sequence[RunSpec], seed: int, method: Method, group_size: int, device: str) -> list[GroupTask]:
    """Deal runs into the groups that are trained together, in the order of their first run.

    Runs of one architecture, data set and plan go together, `group_size` at most and as evenly as can be, fewer where
    what they capture would fill the memory; what the method cannot compute is trained one by one. The groups depend on
    these arguments alone, and so do the networks.
    """
    companies: dict[str, list[RunSpec]] = {}
    for spec in specs:
        companies.setdefault(spec.company, []).append(spec)
    groups = [
        GroupTask(part, seed, "loop" if len(part) == 1 and limit == 1 else method, device)
        for company in companies.values()
        for limit in [_limit(company, method, group_size)]
        for part in _dealt(company, limit)
    ]
    return sorted(groups, key=lambda group: group.first.run)


def captures_of(plan: TrainingPlan, images: int) -> int:
    """How many networks one run gives, its initial one included."""
    steps = -(-images // plan.batch_size)
    if not plan.capture_steps:
        return plan.epochs + 1
    between = sum(
        1 for step in range(1, plan.epochs * steps + 1) if step % plan.capture_steps == 0 or step % steps == 0
    )
    return between + 1


def _limit(company: Sequence[RunSpec], method: Method, group_size: int) -> int:
    spec = company[0]
    if method == "loop" or group_size < 2 or len(company) == 1 or not can(method, spec.architecture.build(0)):
        return 1
    images = len(load_dataset(spec.dataset).train)
    held = captures_of(spec.plan, images) * spec.architecture.layout.parameters * _FLOAT_BYTES
    return max(2, min(group_size, GROUP_BYTES // held))


def _dealt(company: Sequence[RunSpec], limit: int) -> list[tuple[RunSpec, ...]]:
    groups = -(-len(company) // limit)
    cuts = [len(company) * i // groups for i in range(groups + 1)]
    return [tuple(company[start:end]) for start, end in pairwise(cuts)]
