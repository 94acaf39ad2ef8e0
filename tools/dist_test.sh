#!/usr/bin/env bash
# Test on the GPUs of one or more machines:
#     tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# For several machines set NNODES, NODE_RANK and MASTER_ADDR (and PORT) on each of them.
set -euo pipefail
config=$1
checkpoint=$2
gpus=$3
python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$gpus" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
