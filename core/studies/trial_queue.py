"""The durable queue of a study: an Optuna study in a journal file, updated from the states of the runs.

Several processes may have it open. It is read and written only while holding the study's lock, so that nobody writes to
a journal under repair, and Optuna's own lock, which a killed process would leave behind, is not needed.
"""

from __future__ import annotations

import json
import os
import statistics
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from ..errors import BusyError
from ..utils.files import DISK, is_regular, open_to_append, write_all
from .model import Search, Study, StudyRun

JOURNAL = "optuna-journal.log"
FIRST_PRUNED_EPOCH = 2
STOP = "torchdeck study-stop"
Figure = Callable[[StudyRun], float | None]


def repair_journal(path: Path, *, alone: bool = True) -> None:
    """Repair a journal after a crash: cut off an incomplete last line; rename a journal that is damaged otherwise.

    Raises:
        BusyError: it is damaged otherwise, and this process is not `alone` in having it open.
    """
    if not os.path.lexists(path):
        return
    if not is_regular(path):
        os.replace(path, path.with_suffix(".damaged"))
        return
    whole, damaged = 0, False
    with open(path, "r+b") as file:
        for line in file:
            if not line.endswith(b"\n") or not _is_json(line):
                damaged = file.tell() < os.fstat(file.fileno()).st_size
                break
            whole += len(line)
        if not damaged:
            file.truncate(whole)
    if damaged and not alone:
        raise BusyError(f"{path} is damaged while others work on the study", f"stop them: {STOP} {path.parent.name}")
    if damaged:
        os.replace(path, path.with_suffix(".damaged"))


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


class _NoLock:
    """Replaces the lock of Optuna's journal."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Journal(JournalFileBackend):
    """An Optuna journal that is written through `Disk`; a failed write leaves an incomplete last line."""

    def __init__(self, path: Path) -> None:
        lock: Any = _NoLock()
        super().__init__(str(path), lock_obj=lock)
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        file = open_to_append(self._path)
        try:
            write_all(file, b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs))
            DISK.sync(file)
        finally:
            DISK.close(file)


class TrialQueue:
    """The trials of one study; a trial is one attempt at one run."""

    def __init__(self, folder: Path, study: Study, epochs: int, *, alone: bool = True) -> None:
        """Repair and open the journal; `epochs` is the maximum that a run of a search trains.

        Raises:
            BusyError: it is damaged, and this process is not `alone` in having it open.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._journal = folder / JOURNAL
        repair_journal(self._journal, alone=alone)
        storage = JournalStorage(_Journal(self._journal))
        self.search = study.search
        direction = study.search.direction if study.search else "maximize"
        self._optuna = optuna.create_study(
            storage=storage,
            study_name=study.name,
            direction=direction,
            load_if_exists=True,
            pruner=_pruner(study.search, epochs),
        )
        space = study.search.space if study.search else {}
        self.distributions = {path: _distribution(item) for path, item in space.items()}

    def repair(self) -> None:
        """Cut off a line that another process was writing when it was killed."""
        with open(self._journal, "rb") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
            if file.read(1) in (b"", b"\n"):
                return
        repair_journal(self._journal, alone=False)

    def reconcile(self, runs: Sequence[StudyRun], figure: Figure, kept: Collection[int] = ()) -> None:
        """Update the queue from the runs: only trials of runs that train or are to be done stay open.

        Trials of the runs in `kept`, which a cluster still has, are not closed either.
        """
        latest = self._latest()
        for trial in self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            number = trial.user_attrs.get("run")
            if number in kept:
                continue
            # A trial without a run was drawn by a process that died before it could start the run.
            if number is None or number >= len(runs) or latest[number].number != trial.number:
                self._optuna.tell(trial.number, state=TrialState.FAIL)
        for run in runs:
            if run.number not in kept or self.open_trial(run.number) is None:
                self._reconcile(run, latest.get(run.number), figure)

    def open_trial(self, number: int) -> Trial | None:
        """The trial of a run that an earlier process claimed and that is still open."""
        running = self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ids = [trial._trial_id for trial in running if trial.user_attrs.get("run") == number]  # pyright: ignore[reportPrivateUsage]
        return Trial(self._optuna, ids[-1]) if ids else None

    def _latest(self) -> dict[int, FrozenTrial]:
        """The last trial of each run."""
        return {trial.user_attrs["run"]: trial for trial in self._trials() if "run" in trial.user_attrs}

    def _trials(self) -> list[FrozenTrial]:
        return self._optuna.get_trials(deepcopy=False)

    def settle(self, run: StudyRun, figure: Figure) -> None:
        """Update the queue from one run that is no longer active; a run that can be resumed is enqueued again."""
        self._reconcile(run, self._latest().get(run.number), figure)

    def _reconcile(self, run: StudyRun, trial: FrozenTrial | None, figure: Figure) -> None:
        if run.state == "running":
            return
        running = trial is not None and trial.state == TrialState.RUNNING
        if run.state in ("waiting", "stopped"):
            if trial and running:
                self._optuna.tell(trial.number, state=TrialState.FAIL)
            if run.to_do and (trial is None or trial.state != TrialState.WAITING):
                self.enqueue(run)
            return
        if trial and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            return
        state, value = _outcome(run, figure)
        if trial and running:
            self._optuna.tell(trial.number, value, state)
        elif trial is None or (trial.state == TrialState.FAIL and state != TrialState.FAIL):
            self._add(run, state, value)

    def _add(self, run: StudyRun, state: TrialState, value: float | None) -> None:
        made = optuna.trial.create_trial(
            state=state,
            value=value,
            params=self._params(run),
            distributions=self.distributions,
            user_attrs={"run": run.number},
        )
        self._optuna.add_trial(made)

    def enqueue(self, run: StudyRun) -> None:
        """Append a run to the queue."""
        self._optuna.enqueue_trial(self._params(run), user_attrs={"run": run.number})

    def _params(self, run: StudyRun) -> dict[str, Any]:
        return {path: run.overrides[path] for path in self.distributions}

    def claim(self, may_draw: bool) -> tuple[Trial, int | None, dict[str, Any]] | None:
        """Take the next trial, with the number of its run and its settings; a newly drawn one has no number yet."""
        if not may_draw and not self._optuna.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return None
        # With the same seed for each trial, or in each process, a sampler would draw the same settings again.
        self._optuna.sampler = _sampler(self.search, len(self._trials()))
        trial = self._optuna.ask(self.distributions)
        return trial, trial.user_attrs.get("run"), dict(trial.params)

    def number(self, trial: Trial, run_number: int) -> None:
        """Set the run number of a newly drawn trial."""
        trial.set_user_attr("run", run_number)

    def report(self, trial: Trial, epoch: int, value: float) -> None:
        """Report the metric of an epoch, once."""
        if epoch not in self._optuna.get_trials(deepcopy=False)[trial.number].intermediate_values:
            trial.report(value, epoch)

    def prune_reason(self, trial: Trial) -> str:
        """Why a trial should be pruned, as text; "" where it should not."""
        assert self.search
        seen = self._optuna.get_trials(deepcopy=False)[trial.number].intermediate_values
        if not seen or not trial.should_prune():
            return ""
        epoch = max(seen)
        return _prune_text(self.search, seen, epoch, self._others(trial.number, epoch))

    def _others(self, number: int, epoch: int) -> list[float]:
        """The metric of other trials at an epoch: of completed ones for the median, of all for hyperband."""
        assert self.search
        states = (TrialState.COMPLETE,) if self.search.pruner == "median" else None
        trials = self._optuna.get_trials(deepcopy=False, states=states)
        return [t.intermediate_values[epoch] for t in trials if t.number != number and epoch in t.intermediate_values]

    def importance(self) -> dict[str, float] | None:
        """The importance of each setting (PED-ANOVA); None where there are too few trials."""
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        # Too few trials, or trials that are all equal, raise one of these.
        with warnings.catch_warnings(), suppress(ValueError, RuntimeError, ZeroDivisionError):
            warnings.simplefilter("ignore")
            found = get_param_importances(self._optuna, evaluator=PedAnovaImportanceEvaluator())
            return {path: float(share) for path, share in found.items() if share == share} or None
        return None


def _outcome(run: StudyRun, figure: Figure) -> tuple[TrialState, float | None]:
    """The state and value of a trial for a run that ended; one that completed without the metric counts as failed."""
    if run.state == "completed":
        value = figure(run)
        return (TrialState.FAIL, None) if value is None else (TrialState.COMPLETE, value)
    return (TrialState.PRUNED, None) if run.state == "pruned" else (TrialState.FAIL, None)


def _prune_text(search: Search, seen: Mapping[int, float], epoch: int, others: list[float]) -> str:
    if search.pruner == "hyperband" or not others:
        return f"not among the best third of its bracket at epoch {epoch}"
    up = search.direction == "maximize"
    own = max(seen.values()) if up else min(seen.values())
    gap = (statistics.median(others) - own) * (1 if up else -1)
    gap_text = f"{gap * 100:.1f} points" if search.metric.endswith("/accuracy") else f"{gap:.4f}"
    return f"worse than the median at epoch {epoch} by {gap_text}"


def _distribution(item: Mapping[str, Any]) -> BaseDistribution:
    match item["kind"]:
        case "choice":
            return CategoricalDistribution(item["choices"])
        case "int":
            return IntDistribution(item["low"], item["high"])
        case kind:
            return FloatDistribution(item["low"], item["high"], log=kind == "log")


def _sampler(search: Search | None, trials: int) -> BaseSampler:
    # Widely spaced, so that searches with neighbouring seeds have no draw in common.
    seed = ((search.seed if search else 0) * 1_000_003 + trials) % 2**32
    if search is None or search.sampler == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        # `constant_liar` is experimental; without it parallel slots would draw similar settings.
        warnings.simplefilter("ignore")
        return TPESampler(constant_liar=True, seed=seed)


def _pruner(search: Search | None, epochs: int) -> BasePruner:
    if search is None or search.pruner == "none":
        return NopPruner()
    if search.pruner == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=max(epochs, 1), reduction_factor=3)
    return MedianPruner(n_startup_trials=min(5, max(1, search.trials // 4)), n_warmup_steps=FIRST_PRUNED_EPOCH)
