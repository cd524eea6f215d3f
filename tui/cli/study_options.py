"""The options that all commands that run a study share: where its runs train, for how long, and the output."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from ...core.errors import InputError
from .options import DATA, LOGS, Data, Json, Logs

if TYPE_CHECKING:
    from ...core.studies.executor import StudyOptions

Devices = Annotated[
    str,
    typer.Option(
        help="Where: cpu:2 (two runs at a time), 0,1 (a run on each of these GPUs), 0+1,2+3 (two GPUs a run), or auto."
    ),
]
On = Annotated[
    Literal["here", "slurm", "ray"],
    typer.Option(help="Where to run: this machine, or a cluster that shares the logs and data folders."),
]
Partition = Annotated[str, typer.Option(help="Slurm: the partition of the jobs.", show_default="Slurm's")]
Time = Annotated[
    str, typer.Option(help="Slurm: the time limit of a job, such as 4h; a run resumes after it.", show_default="4h")
]
Address = Annotated[
    str, typer.Option(help="Ray: the cluster's address, HOST:PORT.", show_default="the one of this machine")
]
MaxParallel = Annotated[
    int | None,
    typer.Option(min=1, max=1000, help="Cluster: how many runs at a time, queued ones included.", show_default="16"),
]
GpusPerRun = Annotated[
    int | None, typer.Option(min=0, max=64, help="Cluster: GPUs for each run; 0 trains on the CPU.", show_default="1")
]
CpusPerRun = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Cluster: CPU cores for each run.", show_default="1")
]
Budget = Annotated[str, typer.Option(help="Stop with checkpoints after this time, such as 2h, 90m or 1h30m.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Retry failed runs.")]
Join = Annotated[
    bool,
    typer.Option(
        "--join", help="Run the study together with other processes, on this or other machines that share the folder."
    ),
]
New = Annotated[bool, typer.Option("--new", help="Start a new study, even if the same one is in the logs.")]

_BOTH = ("slurm", "ray")
_REQUIRES = {
    "partition": ("slurm",),
    "time": ("slurm",),
    "address": ("ray",),
    "max_parallel": _BOTH,
    "gpus_per_run": _BOTH,
    "cpus_per_run": _BOTH,
}


@dataclass(frozen=True, slots=True)
class StudyArguments:
    """The values of these options."""

    logs: Logs = LOGS
    data: Data = DATA
    devices: Devices = "auto"
    on: On = "here"
    partition: Partition = ""
    time: Time = ""
    address: Address = ""
    max_parallel: MaxParallel = None
    gpus_per_run: GpusPerRun = None
    cpus_per_run: CpusPerRun = None
    budget: Budget = ""
    retry_failed: RetryFailed = False
    join: Join = False
    new: New = False
    as_json: Json = False

    def study_options(self) -> StudyOptions:
        """The options as the study takes them, checked before anything is created.

        Raises:
            InputError: options contradict each other, or name a device that is not available.
        """
        from ...core.devices.slots import parse_slots
        from ...core.studies.executor import StudyOptions

        self._check()
        budget = parse_duration(self.budget)
        if self.on == "here":
            slots = tuple(parse_slots(self.devices))
            return StudyOptions(self.data, slots, self.retry_failed, budget, join=self.join)
        return self._on_a_cluster(budget)

    def _check(self) -> None:
        """Reject options that would have no effect."""
        for name, clusters in _REQUIRES.items():
            if self.on not in clusters and getattr(self, name) not in (None, ""):
                option = f"--{name.replace('_', '-')}"
                cluster = " or --on ".join(clusters)
                raise InputError(f"{option} has no effect without --on {cluster}", f"add it, or leave {option} out")
        if self.join and self.new:
            raise InputError("--join is for a study that is running, --new creates one", "leave one of them out")
        if self.join and self.on != "here":
            raise InputError(
                f"--join has no effect with --on {self.on}: one process submits all runs", "leave one of them out"
            )
        if self.on != "here" and self.devices != "auto":
            hint = "use --gpus-per-run and --cpus-per-run"
            raise InputError(f"--devices selects devices of this machine, but --on {self.on} trains on others", hint)

    def _on_a_cluster(self, budget: float | None) -> StudyOptions:
        from ...core.clusters import RunResources, cluster_slots
        from ...core.clusters.ray_runs import Ray
        from ...core.clusters.slurm import JobResources, Slurm
        from ...core.studies.executor import StudyOptions

        share = RunResources(1 if self.gpus_per_run is None else self.gpus_per_run, self.cpus_per_run or 1)
        slots = cluster_slots(self.on, self.max_parallel or 16, share)
        if self.on == "ray":
            ray = Ray(self.address or "auto", share)
            return StudyOptions(self.data, slots, self.retry_failed, budget, start=ray.start, cluster="Ray")
        slurm = Slurm(JobResources(share, parse_duration(self.time or "4h") or 0, self.partition))
        options = StudyOptions(self.data, slots, self.retry_failed, budget, start=slurm.start, cluster="Slurm")
        return replace(options, leftover_runs=slurm.leftover_runs)


def with_study_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose last parameter is `arguments: StudyArguments`, one option for each of its fields."""
    own = inspect.signature(command, eval_str=True).parameters
    hints = get_type_hints(StudyArguments, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(StudyArguments)
    ]
    parameters = [*(parameter for name, parameter in own.items() if name != "arguments"), *shared]

    @wraps(command)
    def wrapped(**given: Any) -> None:
        arguments = StudyArguments(**{parameter.name: given.pop(parameter.name) for parameter in shared})
        command(**given, arguments=arguments)

    wrapped.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def parse_duration(text: str) -> float | None:
    """The seconds of a duration such as 30d, 2h, 90m or 1h30m; None for "".

    Raises:
        InputError: it is not of that form.
    """
    if not text:
        return None
    match = _DURATION.fullmatch(text.strip())
    seconds = (
        sum(float(part or 0) * unit for part, unit in zip(match.groups(), (86_400, 3600, 60, 1), strict=True))
        if match
        else 0
    )
    if not seconds:
        raise InputError(f"'{text}' is not a duration", "write 30d, 2h, 90m, 45s or 1h30m")
    return seconds
