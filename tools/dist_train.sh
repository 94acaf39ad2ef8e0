#!/usr/bin/env bash
# Train on the GPUs of one or more machines:
#     tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# For several machines set NNODES, NODE_RANK and MASTER_ADDR (and PORT) on each of them.
set -euo pipefail
config=$1
gpus=$2
python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$gpus" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "${@:3}"
