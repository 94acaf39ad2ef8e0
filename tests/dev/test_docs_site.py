"""The site of the documents: its pages, and what is changed in them."""

from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace

import docs_hooks
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / 'dev' / 'mkdocs.yml').read_text().replace('!ENV', ''))
API_PAGES = sorted(ROOT.glob('docs/api/*.md'))


def pages(nav):
    for entry in nav:
        target = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from [target] if isinstance(target, str) else pages(target)


def test_navigation_has_every_document():
    documents = {
        *ROOT.glob('*.md'),
        *ROOT.glob('docs/**/*.md'),
        *ROOT.glob('docs/*.ipynb'),
        *ROOT.glob('configs/*/README.md'),
    }
    assert sorted(pages(CONFIG['nav'])) == sorted(str(path.relative_to(ROOT)) for path in documents)


def documented_names(page):
    return [line[4:] for line in page.read_text().splitlines() if line.startswith('::: ')]


@pytest.mark.parametrize('page', API_PAGES, ids=lambda path: path.stem)
def test_documented_objects_exist(page):
    names = documented_names(page)
    assert names
    assert all(resolve_name(name).__doc__ for name in names)


def test_every_folder_of_the_package_is_documented():
    folders = {path.parent.name for path in ROOT.glob('mmdet_detnet/*/__init__.py')}
    parts = [name.split('.') for page in API_PAGES for name in documented_names(page)]
    assert folders <= {part[1] for part in parts if len(part) > 1}


def test_links_to_folders_are_text():
    page = SimpleNamespace(file=SimpleNamespace(src_uri='docs/usage.md'))
    markdown = '[`custom/`](../configs/custom), [checks](checks.md) and [x](https://arxiv.org/)'
    expected = '`custom/`, [checks](checks.md) and [x](https://arxiv.org/)'
    assert docs_hooks.on_page_markdown(markdown, page=page) == expected


def test_roles_of_sphinx_are_left_out():
    html = 'see :class:<code>.ConfidenceBranch</code> and <code>x</code>'
    expected = 'see <code>ConfidenceBranch</code> and <code>x</code>'
    assert docs_hooks.on_page_content(html, config=SimpleNamespace(repo_url=None)) == expected


def test_sources_link_to_the_repository_that_the_setting_names():
    html = 'Source code in <code>mmdet_detnet/models/detnet.py</code>'
    config = SimpleNamespace(repo_url='https://example.org/team/project/')
    address = 'https://example.org/team/project/blob/main/mmdet_detnet/models/detnet.py'
    assert f'<a href="{address}">' in docs_hooks.on_page_content(html, config=config)


@pytest.mark.parametrize('tag', ['<script defer src="{}">', '<link rel="stylesheet" href="{}">'])
def test_page_that_needs_the_network_is_refused(tag):
    assert docs_hooks.on_post_page(tag.format('../assets/a.css')) == tag.format('../assets/a.css')
    with pytest.raises(ValueError, match=r'without network.*https://unpkg\.com/a'):
        docs_hooks.on_post_page(tag.format('https://unpkg.com/a'))
