"""Check the words of documents, docstrings and messages; part of `make lint`.

proselint's checks of non-words, redundancy and malapropisms, and this project's list of phrases.
"""

import subprocess
import sys
from pathlib import Path

from proselint.checks import __register__
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check, types
from proselint.tools import LintFile

ROOT = Path(__file__).resolve().parents[1]
# Regular expressions of phrases, and what the documents say instead.
PREFERRED = {
    r'data\s+set': 'dataset',
    r'data\s+sets': 'datasets',
    r'trainings': 'runs',
    r'another\s+training': 'another run',
    r'resumes\s+the\s+training': 'resumes the run',
    r'(is|are)\s+looked\s+for': 'we look for',
    r'held\s+against': 'compared with',
    r'one\s+a\s+line': 'one per line',
    r'a\s+class\s+an\s+image': 'per class and image',
    r'figures\s+a\s+class': 'figures per class',
    r'(which|that)\s+mends': 'that fixes',
    r'telephones?': 'phone',
    r'beside': 'next to',
    r'holds?\s+0': 'include 0',
    r'which\s+pass(es)?\s+since': 'since fixed',
    r'is\s+waited\s+for': 'waits for',
    r'which\s+files\s+you\s+must\s+trust': 'which files run code',
    r'cut\s+short': 'truncated',
}
LIBRARY_CHECKS = ('nonwords', 'redundancy', 'malapropisms')
SUFFIXES = ('.md', '.py', '.yml')


def main() -> None:
    """Print each phrase to change; exit with 1 if there is one."""
    registry = CheckRegistry()
    registry.register_many(__register__)
    forms = types.PreferredForms(PREFERRED)
    registry.register(Check(forms, path='project', message="Say '{}' instead of '{}'."))
    enabled = {'checks': dict.fromkeys((*LIBRARY_CHECKS, 'project'), True), 'max_errors': 1000}
    found = 0
    files = subprocess.check_output(['git', 'ls-files', '-z'], cwd=ROOT, text=True).split('\0')
    for name in files:
        if not name.endswith(SUFFIXES) or name == 'dev/check_prose.py':
            continue
        file = LintFile(source=name, content=(ROOT / name).read_text(encoding='utf-8'))
        file.quote_bounds = ()  # proselint skips quotations: docstrings and messages, in code
        for result in file.lint(enabled):
            line, _ = result.pos
            print(f'{name}:{line}: {result.check_result.message}')
            found += 1
    sys.exit(bool(found))


if __name__ == '__main__':
    main()
