"""The command that prints a Slurm script: one run on several machines."""

from __future__ import annotations

import time as clock
from typing import Annotated

import typer

from ...core.errors import InputError
from .options import DATA, LOGS, Data, Devices, Logs, Overrides, PresetName
from .study_options import parse_budget


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
    time: Annotated[str, typer.Option(help="The time limit, such as 4h; the run goes on after it.")] = "4h",
    partition: Annotated[str, typer.Option(help="The partition; Slurm's own choice without.")] = "",
    run_name: Annotated[str, typer.Option("--name", help="A name for the run.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag for the run; may be given again.")] = None,
    logs: Logs = LOGS,
    data: Data = DATA,
) -> None:
    """Print a Slurm script that trains a preset on several machines, and make the run's directory.

    A job that is preempted or out of time stops with a checkpoint, requeues itself and resumes.
    """
    from ... import presets as store
    from ...core.clusters import Share
    from ...core.clusters.slurm_script import Batch, script_of
    from ...core.devices.device_spec import devices_of, parse_devices
    from ...core.processes.launch import request_run
    from ...core.runs.label import Label

    seconds, device = parse_budget(time), parse_devices(devices)
    if seconds is None:
        raise InputError("--time is empty", "write 4h, 90m or 1h30m")
    ranks = devices_of(device)
    share = Share(0 if ranks[0] == "cpu" else len(ranks), len(ranks))
    # A job sees only its own GPUs, and counts them from 0.
    chosen = [f'training.device="{share.device if share.gpus else device}"', f"training.nodes={nodes}"]
    item = store.load(name)
    config = item.with_overrides([*(overrides or []), *chosen])
    label = Label(item.name, run_name, tuple(tag or ()), item.reported_for(config))
    folder = request_run(config, label, logs.absolute(), clock.time())
    typer.echo(script_of(folder, data.absolute(), Batch(nodes, share, seconds, partition)), nl=False)
    typer.echo(
        f"the run is {folder}; submit the script, and watch it with: torchdeck attach {folder.name[-4:]}", err=True
    )
