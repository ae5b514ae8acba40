#!/usr/bin/env bash
# Submit a cross-validation: an array with one task for each fold of each repeat, and a job that joins
# them when all have ended well.
#
#   FOLDS=5 REPEATS=5 AT_ONCE=10 docs/cluster/submit_crossval.sh --dataset oasis_3d --epochs 30
#
# Words after the script's name are flags of main.py. Other options of sbatch go into its variables:
# SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT, SBATCH_GPUS.
set -euo pipefail

export FOLDS=${FOLDS:-5}       # parts the people are divided into
export REPEATS=${REPEATS:-5}   # divisions
AT_ONCE=${AT_ONCE:-10}         # most tasks that run at the same time
CORES=${CORES:-4}              # of each task
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SCRIPT=$HERE/crossval.sbatch
export PROJECT=${PROJECT:-$(cd "$HERE/../.." && pwd)}

# --parsable prints "job" or "job;cluster".
ARRAY=$(sbatch --parsable --cpus-per-task="$CORES" --output=%x-%A_%a.log \
  --array="0-$((FOLDS * REPEATS - 1))%$AT_ONCE" "$SCRIPT" "$@")
ARRAY=${ARRAY%%;*}
JOIN=$(sbatch --parsable --cpus-per-task="$CORES" --dependency="afterok:$ARRAY" \
  --kill-on-invalid-dep=yes "$SCRIPT" "$@" --collect)
echo "folds: job $ARRAY, tasks 0 to $((FOLDS * REPEATS - 1)); joined by job ${JOIN%%;*}"
