"""What `make setup` does: everything from an empty machine to a tested environment in .venv.

Only the standard library is used: these modules run before anything is installed.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
# Logs, the key of the installed mmcv and the stamp of a complete set-up. Inside .venv, so that
# they go with it.
STATE = VENV / 'setup'
