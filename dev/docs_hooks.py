"""Changes and checks of pages in `make docs`."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r'\[([^\]]+)\]\(([^)#:]+)\)')
ROLE = re.compile(r':(?:attr|class|data|func|meth|mod):<code>~?\.?([\w.]+)</code>')
SOURCE = re.compile(r'(Source code in )<code>(mmdet_detnet/[\w/]+\.py)</code>')
LOADED = re.compile(r'<(?:img|link|script)\b[^>]*\b(?:href|src)="(https?:[^"]+)"')


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Show links to folders as text, because the site has no pages for them."""
    folder = (ROOT / page.file.src_uri).parent
    return LINK.sub(lambda link: link[1] if (folder / link[2]).is_dir() else link[0], markdown)


def on_page_content(html: str, config: Any, **kwargs: Any) -> str:
    """Show names in docstrings as code, and link sources to the repository."""
    html = ROLE.sub(r'<code>\1</code>', html)
    if config.repo_url:
        link = rf'\1<a href="{config.repo_url.rstrip("/")}/blob/main/\2"><code>\2</code></a>'
        html = SOURCE.sub(link, html)
    return html


def on_post_page(output: str, **kwargs: Any) -> str:
    """Reject a page that loads anything from the network."""
    if loaded := LOADED.findall(output):
        raise ValueError(f'a page must work without network, but loads {loaded}.')
    return output
