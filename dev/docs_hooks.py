"""What `make docs` changes in the pages, and what it refuses."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r'\[([^\]]+)\]\(([^)#:]+)\)')
ROLE = re.compile(r':(?:attr|class|data|func|meth|mod):<code>~?\.?([\w.]+)</code>')
LOADED = re.compile(r'<(?:img|link|script)\b[^>]*\b(?:href|src)="(https?:[^"]+)"')


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Show links to folders as text: a site has no page for them."""
    folder = (ROOT / page.file.src_uri).parent
    return LINK.sub(lambda link: link[1] if (folder / link[2]).is_dir() else link[0], markdown)


def on_page_content(html: str, **kwargs: Any) -> str:
    """Show the names in docstrings as code, without the roles that Sphinx knows."""
    return ROLE.sub(r'<code>\1</code>', html)


def on_post_page(output: str, **kwargs: Any) -> str:
    """Refuse a page that loads something from the network."""
    if loaded := LOADED.findall(output):
        raise ValueError(f'a page must work without network, but loads {loaded}.')
    return output
