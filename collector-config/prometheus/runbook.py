"""Makes RUNBOOK.html from RUNBOOK.md: a page in which the link of an alert opens at its section.

    python runbook.py

Prometheus serves it from the folder of --web.user-assets. Needs markdown-it-py, which rich brings along.
"""

from __future__ import annotations

import re
from pathlib import Path

from markdown_it import MarkdownIt

SOURCE = Path(__file__).parent / "RUNBOOK.md"
MADE = SOURCE.with_suffix(".html")
PAGE = """<!doctype html>
<!-- Made by runbook.py from RUNBOOK.md: change that. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runbook</title>
<style>
body {{ max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }}
code {{ background: #eee; padding: 0 .2em; overflow-wrap: anywhere; }}
pre {{ background: #eee; padding: .5em; overflow-x: auto; }}
li {{ margin: .3em 0; }}
h2 a {{ color: inherit; text-decoration: none; }}
h2:target, h2:has(:target) {{ background: #fe9; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def main() -> None:
    MADE.write_text(page(SOURCE.read_text()))


def page(markdown: str) -> str:
    """The runbook as HTML. A section is found by its alert's name, and by that in lower case, as on GitHub."""
    body = MarkdownIt("commonmark").render(markdown)
    return PAGE.format(body=re.sub(r"<h2>(\w+)</h2>", lambda found: _heading(found[1]), body))


def _heading(alert: str) -> str:
    return f'<h2 id="{alert.lower()}"><a id="{alert}" href="#{alert}">{alert}</a></h2>'


if __name__ == "__main__":
    main()
