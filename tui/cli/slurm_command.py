"""The command sbatch: print a Slurm script for a run on one or more machines."""

from __future__ import annotations

import time as clock
from typing import Annotated

import typer

from ...core.errors import InputError
from .options import DATA, LOGS, Data, Devices, Logs, Overrides, PresetName
from .study_options import parse_duration


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog="Example: torchdeck sbatch resnet18 --nodes 2 --devices 4 > job.sbatch; sbatch job.sbatch")(
        sbatch
    )


def sbatch(
    name: PresetName,
    overrides: Overrides = None,
    nodes: Annotated[int, typer.Option(min=1, max=1024, help="Machines that train the run together.")] = 1,
    devices: Devices = "1",
    time: Annotated[str, typer.Option(help="The job's time limit, such as 4h; the run resumes after it.")] = "4h",
    partition: Annotated[str, typer.Option(help="The partition; by default Slurm's.")] = "",
    run_name: Annotated[str, typer.Option("--name", help="A name for the run.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag for the run; may be repeated.")] = None,
    logs: Logs = LOGS,
    data: Data = DATA,
) -> None:
    """Create a run, and print a Slurm script that trains it on one or more machines.

    A job that is preempted or runs out of time saves a checkpoint, requeues itself and resumes.
    """
    from ... import presets as store
    from ...core.clusters import RunResources
    from ...core.clusters.slurm_script import BatchJob, script_of
    from ...core.devices.device_spec import devices_of, parse_devices
    from ...core.processes.launch import request_run
    from ...core.runs.label import Label

    seconds, device = parse_duration(time), parse_devices(devices)
    if seconds is None:
        raise InputError("--time is empty", "write 4h, 90m or 1h30m")
    ranks = devices_of(device)
    share = RunResources(0 if ranks[0] == "cpu" else len(ranks), len(ranks))
    # A job sees only its own GPUs, numbered from 0.
    chosen = [f'training.device="{share.device if share.gpus else device}"', f"training.nodes={nodes}"]
    item = store.load(name)
    config = item.with_overrides([*(overrides or []), *chosen])
    label = Label(item.name, run_name, tuple(tag or ()), item.reported_for(config))
    folder = request_run(config, label, logs.absolute(), clock.time())
    typer.echo(script_of(folder, data.absolute(), BatchJob(nodes, share, seconds, partition)), nl=False)
    typer.echo(
        f"created {folder}; submit the script, then watch it with: torchdeck attach {folder.name[-4:]}", err=True
    )
