"""The commands `torchdeck data ...`: list, inspect, check and fetch data sets; slow imports are inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...core.errors import InputError
from .options import DATA, Data, Json, Overrides, PresetName, print_json

data_app = typer.Typer(
    name="data",
    help="List, check and fetch data sets; inspect a folder of images.",
    epilog="Example: torchdeck data inspect photos",
    no_args_is_help=True,
)
DatasetName = Annotated[str, typer.Argument(help="A data set's name.")]


@data_app.command("list", epilog="Example: torchdeck data list --json")
def data_list(data: Data = DATA, as_json: Json = False) -> None:
    """List the data sets, whether they are on disk, and the size of their decoded images."""
    from ...core.data.caches import list_caches
    from ..format.tables import caches_table, datasets_table
    from .datasets import dataset_rows
    from .output import print_table

    rows, caches = dataset_rows(data), list_caches(data)
    for row in rows:
        row["cache_bytes"] = sum(cache.bytes for cache in caches if cache.folder.name.startswith(f"{row['name']}-"))
    if as_json:
        return print_json(rows)
    return print_table(datasets_table(rows), *([caches_table(caches)] if caches else []))


@data_app.command("clean", epilog="Example: torchdeck data clean --dry-run")
def data_clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Delete all; each is decoded again when it is needed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted, and delete nothing.")] = False,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Delete decoded images that no data set uses: the files changed or are gone, or decoding was interrupted."""
    from ...core.data.caches import list_caches
    from ..format.tables import caches_table
    from ..format.values import size
    from .datasets import remove_caches
    from .output import print_table

    found = [cache for cache in list_caches(data) if everything or cache.unused]
    if not dry_run:
        remove_caches(found)
    total = sum(cache.bytes for cache in found)
    if as_json:
        rows = [{"folder": str(cache.folder), "bytes": cache.bytes, "why": cache.unused} for cache in found]
        return print_json({"removed": not dry_run, "bytes": total, "caches": rows})
    if found:
        print_table(caches_table(found))
    return typer.echo(f"{'would free' if dry_run else 'freed'} {size(total)}")


@data_app.command("inspect", epilog="Example: torchdeck data inspect photos data.size=64")
def data_inspect(
    path: Annotated[
        Path, typer.Argument(help="A folder of images, or a list of them ending in .csv or .tsv.", show_default=False)
    ],
    overrides: Overrides = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Show what a folder of images contains: splits, classes, sizes, ignored and damaged files, duplicates."""
    from ...core.data.inspection import inspect
    from ..format.inspection_page import inspection_page
    from .datasets import open_folder, show_progress
    from .output import print_table

    found = show_progress(inspect(open_folder(path, overrides or [], data)))
    return print_json(found.to_json()) if as_json else print_table(inspection_page(found))


@data_app.command("show", epilog="Example: torchdeck data show resnet18 data.auto_augment=trivial --to images.png")
def data_show(
    name: PresetName,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option(min=1, max=512, help="Number of images.")] = 16,
    epoch: Annotated[int, typer.Option(min=1, help="The epoch that they are augmented for.")] = 1,
    to: Annotated[Path | None, typer.Option(help="A picture to write instead, such as images.png.")] = None,
    data: Data = DATA,
) -> None:
    """Show training images of a preset as the network sees them, augmented."""
    from ...core.data.preview import preview  # torch, seconds
    from ..charts.printed_images import joined_picture, printed_grid
    from .datasets import open_preset, show_progress, write_picture
    from .output import has_colors, print_table, terminal_width

    if not (to or has_colors()):
        raise InputError("images are shown in a terminal with colours only", "write them to a file: --to images.png")
    dataset, seed = open_preset(name, overrides or [], data)
    shown = show_progress(preview(dataset, seed, count, epoch))
    if to:
        write_picture(joined_picture(list(shown.images)), to)
        return typer.echo(f"{to}: {len(shown.images)} images")
    return print_table(printed_grid(list(shown.images), shown.classes, terminal_width()))


@data_app.command("check", epilog="Example: torchdeck data check cifar10")
def data_check(name: DatasetName, overrides: Overrides = None, data: Data = DATA, as_json: Json = False) -> None:
    """Check every file of a data set against its checksum."""
    from .datasets import check, open_named, show_progress

    _print_complete(show_progress(check(open_named(name, overrides or [], data))), as_json)


@data_app.command("fetch", epilog="Example: torchdeck data fetch mnist --data ~/data")
def data_fetch(name: DatasetName, data: Data = DATA, as_json: Json = False) -> None:
    """Download a data set and check it."""
    from .datasets import fetch, open_named, show_progress

    _print_complete(show_progress(fetch(open_named(name, [], data))), as_json)


def _print_complete(found: dict[str, Any], as_json: bool) -> None:
    images = f"{found['train_images']} training and {found['test_images']} test images"
    print_json(found) if as_json else typer.echo(f"{found['name']} is complete: {images}")
