"""Write a report to disk, atomically, and without overwriting existing files unless forced."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import InputError
from ...core.runs.index import RunRow
from ...core.studies.model import Study
from ...core.utils.files import write_atomically
from .document import Document
from .html import to_html
from .markdown import files_of, to_markdown
from .plots import require_matplotlib
from .sections import run_document, study_document


def write_report(found: RunRow | Study, logs: Path, target: Path, force: bool) -> list[Path]:
    """Write the report on a run or a study to an .html or .md file; returns the files written.

    Raises:
        InputError: matplotlib is missing, the run cannot be read, or the target exists or cannot be written.
    """
    require_matplotlib()
    folder = target.with_name(f"{target.stem}-figures")
    existing = [path for path in ((target, folder) if target.suffix == ".md" else (target,)) if path.exists()]
    if existing and not force:
        raise InputError(f"{existing[0]} exists already", "overwrite it with --force, or choose another file")
    document = _document(found, logs)
    try:
        return _write_markdown(document, target, folder) if target.suffix == ".md" else _write_html(document, target)
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error.strerror})", "choose another file with --to") from None


def _document(found: RunRow | Study, logs: Path) -> Document:
    if isinstance(found, Study):
        return study_document(found, logs)
    if found.status == "unreadable":
        raise InputError(f"run {found.id} cannot be reported: {found.problem}", "choose another run")
    return run_document(found)


def _write_html(document: Document, target: Path) -> list[Path]:
    write_atomically(target, to_html(document).encode(), durable=True)
    return [target]


def _write_markdown(document: Document, target: Path, folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    files = files_of(document)
    for name, content in files.items():
        write_atomically(folder / name, content)
    write_atomically(target, to_markdown(document, folder.name).encode(), durable=True)
    return [target, *(folder / name for name in files)]
