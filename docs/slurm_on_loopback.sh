#!/bin/bash
# A Slurm of two nodes on this machine, and what docs/slurm.md shows of it: bash docs/slurm_on_loopback.sh
# It needs root, Debian's slurm-wlm and munge, and Torchdeck with its extra named slurm. Nothing stays behind.
set -e
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
place=$(mktemp -d)
export TORCHDECK_LOGS=$place/logs TORCHDECK_DATA=$place/data COLUMNS=120
"$python" tests/support/slurm_cluster.py "$place/slurm" > "$place/variables" &
cluster=$!
trap 'kill $cluster; wait $cluster; rm -rf "$place"' EXIT
until [ -s "$place/variables" ]; do sleep 1; kill -0 $cluster; done
. "$place/variables"

torchdeck() { "$python" -P -m torchdeck.tui.cli.main "$@"; }
short() { sed -e "s#$place/##g" -e "s#$PWD/##g"; }
show() { echo; echo "\$ $*" | short; "$@" 2>&1 | short; }
attempts() {
    "$python" - "$1" <<'END'
import sys
from pathlib import Path

from torchdeck.core.events import RunCompleted, RunStarted
from torchdeck.core.runs.reader import EventReader

for event in EventReader(Path(sys.argv[1])).read():
    match event:
        case RunStarted():
            print("attempt", event.attempt, "begins at step", event.resumed_from or 0)
        case RunCompleted():
            print("attempt", event.attempt, "ends at step", event.step, event.status, event.reason)
END
}
ids() { squeue -h -o %i -t "$1"; }
# Slurm lets a requeued job wait for two minutes; nobody else wants these nodes.
at_once() { for job in $(ids PENDING); do scontrol update "jobid=$job" StartTime=now; done; }

show sinfo

echo; echo "# A study of three runs, a GPU each; it is watched from its directories below"
study="torchdeck sweep quickstart optimizer.lr=0.001,0.01,0.02 training.epochs=60 training.device=cpu"
study="$study --on slurm --partition low --time 10m --max-parallel 3 --gpus-per-run 1"
echo "\$ $study &"
$study > "$place/study" 2>&1 &
running=$!
until [ "$(grep -c 'epoch 3/60' "$place/study")" = 3 ]; do sleep 0.5; done
show squeue --format="%.5i %.9P %.9T %.6D %.4N %b"

echo; echo "# A job of more weight takes both nodes: those that train stop with a checkpoint and requeue themselves"
show sbatch --wait --partition high --nodes 2 --exclusive --output /dev/null --wrap "srun sleep 2"
show squeue --format="%.5i %.9P %.9T %.6D %.4N %r"
at_once
wait $running || true
show grep -v epoch "$place/study"
run=$(basename "$(ls -d "$place"/logs/*quickstart-????/ | head -n 1)")
echo; echo "# Where a run was interrupted, and where it went on"
show attempts "$TORCHDECK_LOGS/$run"

echo; echo "# One run on two nodes"
sbatch_command="torchdeck sbatch quickstart --nodes 2 --devices cpu training.epochs=30 --partition low --time 10m"
echo; echo "\$ $sbatch_command > job.sbatch; cat job.sbatch"
$sbatch_command > "$place/job.sbatch" 2> /dev/null
short < "$place/job.sbatch"
show sbatch --wait "$place/job.sbatch"
show torchdeck runs --logs "$TORCHDECK_LOGS"
