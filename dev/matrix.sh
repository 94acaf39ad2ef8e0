#!/usr/bin/env bash
# Runs the suite with other Pythons, the oldest torch, and the maintained forks of OpenMMLab's
# packages.
#
#   make matrix                  # all rows
#   ROWS='forks' make matrix     # some of them
#
# The results become rows of the table in docs/environments.md. uv finds the Pythons, or downloads
# them. Arguments are passed on to `uv pip install`.
set -u
cd "$(dirname "$0")/.."
tools=(-r requirements-test.txt setuptools==80.8.0 pip uv click==8.2.1 colorama model-index pandas requests tabulate opencv-python-headless)
official=(mmdet==3.3.0 mmengine==0.10.7 mmcv-lite==2.1.0)
forks=(onedl-mmdetection==3.5.1 onedl-mmengine==0.10.12 onedl-mmcv==2.3.6)

run() { # NAME PYTHON PACKAGE...
    local name=$1 python=$2 venv=build/matrix/$1
    shift 2
    [[ " ${ROWS:-$name} " == *" $name "* ]] || return 0
    rm -f "$venv.log"
    uv venv --quiet --clear --python "$python" "$venv" &&
        uv pip install --quiet --python "$venv" "${locations[@]}" "$@" "${tools[@]}" &&
        uv pip install --quiet --python "$venv" --no-deps --no-build-isolation openmim==0.3.9 --editable . &&
        "$venv/bin/python" -m pytest --numprocesses auto --maxprocesses 8 --dist loadgroup --no-loadscope-reorder >"$venv.log" 2>&1
    local result versions
    result=$(sed -n '$s/^=* \(.*\) in [0-9.]*s.*/\1/p' "$venv.log" 2>/dev/null)
    versions=$(uv pip freeze --python "$venv" 2>/dev/null |
        sed -nE 's/^((onedl-)?(torch|torchvision|numpy|mmdet|mmdetection|mmengine|mmcv|mmcv-lite))==/\1 /p' | paste -sd, | sed 's/,/, /g')
    echo "$name: ${result:-not installed}"
    [[ $result ]] || return 0 # the table keeps what was found earlier
    sed -i "/^| $name |/d; /^|---|---|---|---|\$/a | $name | Python $python, $versions | $(date -I) | $result |" docs/environments.md
}

locations=("$@")
for version in 3.10 3.11 3.12 3.13; do
    run "python-$version" $version -r requirements.txt
done
run oldest-torch 3.10 torch==2.1.2 'numpy<2' "${official[@]}"
run newest-torch 3.11 torch==2.13.0 "${official[@]}"
run forks 3.11 torch==2.13.0 "${forks[@]}"
