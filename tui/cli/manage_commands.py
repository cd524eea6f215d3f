"""The commands that manage runs: tags and notes, the trash, disk use, and deleting old checkpoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...core.errors import InputError, nearest
from .options import LOGS, Json, Logs, RunReference, RunReferences, print_json

if TYPE_CHECKING:
    from ...core.runs.index import RunRow

Filter = Annotated[list[str] | None, typer.Argument(metavar="[FILTER]...", help="Terms as in `torchdeck runs`.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: torchdeck tag @last paper --remove draft")(tag)
    app.command(epilog='Example: torchdeck note @last "batch 64 was too noisy"')(note)
    app.command(epilog="Example: torchdeck rm 4yzy @last")(rm)
    app.command(epilog="Example: torchdeck restore 4yzy")(restore)
    app.command(epilog="Example: torchdeck du lenet")(du)
    app.command(epilog="Example: torchdeck prune status:completed --older-than 30d --dry-run")(prune)


def tag(
    reference: RunReference,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG]...", help="Tags to add.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="A tag to remove; may be repeated.")] = None,
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """Add tags to a run or remove some, and print its tags. Tags given at the start cannot be removed."""
    from ...core.runs.index import find_run, read_row
    from ...core.runs.manage import read_notes, write_notes

    row = find_run(logs, reference)
    own, text = read_notes(row.folder)
    if tags or remove:
        write_notes(row.folder, [name for name in [*own, *(tags or [])] if name not in (remove or [])], text)
    found = read_row(row.folder).tags
    print_json({"run": row.id, "tags": list(found)}) if as_json else typer.echo(" ".join(found))


def note(
    reference: RunReference,
    text: Annotated[
        str | None, typer.Argument(help='The new note, or "" to delete it. Without it the note is printed.')
    ] = None,
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """Print the note of a run, or replace it."""
    from ...core.runs.index import find_run
    from ...core.runs.manage import read_notes, write_notes
    from ..format.values import safe

    row = find_run(logs, reference)
    tags, found = read_notes(row.folder)
    if text is not None:
        write_notes(row.folder, tags, text)
        _, found = read_notes(row.folder)
    print_json({"run": row.id, "note": found}) if as_json else typer.echo(safe(found))


def rm(references: RunReferences, logs: Logs = LOGS, as_json: Json = False) -> None:
    """Move runs to the trash of the logs folder; `restore` brings them back, `prune --trash` deletes them for good."""
    from ...core.runs.index import find_run
    from ...core.runs.manage import trash

    rows = [find_run(logs, reference) for reference in references]
    for row in rows:
        trash(row.folder)
    _print_ids([row.id for row in rows], as_json)


def restore(references: RunReferences, logs: Logs = LOGS, as_json: Json = False) -> None:
    """Bring runs back from the trash."""
    from ...core.runs.manage import restore as bring_back
    from ...core.runs.manage import trash_ids

    known = trash_ids(logs)
    found = [_find_trashed(reference, known) for reference in references]
    for run_id in found:
        bring_back(logs, run_id)
    _print_ids(found, as_json)


def _find_trashed(reference: str, known: list[str]) -> str:
    matches = known[-1:] if reference == "@last" else []
    matches = matches or [
        name for name in known if reference and (name.startswith(reference) or name[-4:] == reference)
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError(f"'{reference}' matches {len(matches)} runs in the trash", "write more of the id")
    raise InputError(f"no run '{reference}' in the trash", nearest(reference, [*known, "@last"]))


def _print_ids(ids: list[str], as_json: bool) -> None:
    print_json({"runs": ids}) if as_json else typer.echo("\n".join(ids))


def du(filter_text: Filter = None, logs: Logs = LOGS, as_json: Json = False) -> None:
    """Show how much disk space runs use: logs, checkpoints and the rest."""
    from ...core.runs.manage import disk_use
    from ..format.tables import table
    from ..format.values import size
    from .output import print_table

    found = [(row.id, disk_use(row.folder)) for row in _matching(filter_text, logs)]
    found.sort(key=lambda item: -sum(item[1].values()))
    if as_json:
        return print_json([{"run": run_id, **use} for run_id, use in found])
    kinds = ("log", "checkpoints", "other")
    total = {kind: sum(use[kind] for _, use in found) for kind in kinds}
    lines = [
        (run_id, *(size(use[kind]) for kind in kinds), size(sum(use.values())))
        for run_id, use in [*found, ("all", total)]
    ]
    return print_table(table(["run", *kinds, "total"], lines, right="1234"))


def prune(
    filter_text: Filter = None,
    older_than: Annotated[str, typer.Option(help="Only runs that ended at least this long ago: 30d, 12h.")] = "",
    keep_best: Annotated[bool, typer.Option(help="Keep the checkpoint of the best epoch, which export needs.")] = True,
    with_trash: Annotated[bool, typer.Option("--trash", help="Also delete the runs in the trash for good.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """Delete checkpoints of ended runs to free disk space.

    A run that can still be resumed keeps its newest checkpoint. Logs, metrics and predictions are kept.
    """
    from ...core.runs.manage import disk_use, empty_trash, prunable, trash_ids
    from ...core.runs.manage import prune as delete
    from ..format.values import size
    from .study_options import parse_duration

    age = parse_duration(older_than) or 0.0
    rows = [row for row in _matching(filter_text, logs) if _ended_before(row, age)]
    doomed = {row.id: [folder.name for folder in prunable(row, keep_best)] for row in rows}
    rows = [row for row in rows if doomed[row.id]]
    trash = trash_ids(logs) if with_trash else []
    if dry_run:
        freed = sum(
            sum(disk_use(row.folder / "checkpoints" / name).values()) for row in rows for name in doomed[row.id]
        )
    else:
        freed = sum(delete(row, keep_best) for row in rows)
        trash = empty_trash(logs) if with_trash else []
    pruned = {row.id: doomed[row.id] for row in rows}
    if as_json:
        return print_json({"runs": pruned, "trash": trash, "bytes": freed, "dry_run": dry_run})
    for run_id, names in pruned.items():
        typer.echo(f"{run_id}: {', '.join(names)}")
    for run_id in trash:
        typer.echo(f"{run_id}: deleted from the trash")
    return typer.echo(f"{'would free' if dry_run else 'freed'} {size(freed)} of checkpoints", err=True)


def _matching(filter_text: list[str] | None, logs: Path) -> list[RunRow]:
    from ...core.runs.index import list_runs, parse_filter

    holds = parse_filter(" ".join(filter_text or []))
    return [row for row in list_runs(logs) if holds(row)]


def _ended_before(row: RunRow, seconds: float) -> bool:
    """Whether a run's last event is that old; any run for 0."""
    updated = row.summary.get("updated")
    return not seconds or (isinstance(updated, int | float) and time.time() - updated >= seconds)
