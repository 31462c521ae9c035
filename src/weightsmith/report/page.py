"""report.html: one self-contained page, readable without a network."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.files import write_bytes
from weightsmith.record import Record
from weightsmith.report.figures import as_png, as_svg
from weightsmith.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS = """
body{font:16px/1.5 system-ui,sans-serif;color:#222;max-width:78rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.85rem}
.scroll{overflow-x:auto}
th,td{padding:.25rem .45rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal}
.scroll+.scroll{margin-top:1.5rem}figure{margin:1.2rem 0}caption{text-align:left;padding-bottom:.3rem}
th{border-bottom:2px solid #888;vertical-align:bottom;white-space:normal;min-width:4rem}
.verdict{background:#f4f1e8;border-left:4px solid #d55e00;padding:.5rem 1.2rem}
svg{max-width:100%;height:auto}dt{font-weight:600}dd{margin:0 0 .4rem 1.5rem}small,caption{color:#555}
pre{white-space:pre-wrap;background:#f6f6f6;padding:.7rem}
"""


@dataclass(frozen=True)
class Section:
    """A heading, and tables and figures (by name) under it."""

    title: str
    tables: Sequence[Table] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """What stands on a page: `introduction` is HTML, all else text that is escaped."""

    name: str
    introduction: str
    verdict: Sequence[str]
    sections: Sequence[Section]
    definitions: Mapping[str, str]
    origin: Record

    def write(self, path: Path, plots: Path) -> None:
        """Write the page, and each figure as a PNG in the folder `plots`."""
        for section in self.sections:
            for title, figure in section.figures.items():
                write_bytes(plots / f"{title}.png", as_png(figure))
        write_bytes(path, self._html().encode())

    def _html(self) -> str:
        sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.verdict)
        definitions = "".join(
            f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in self.definitions.items()
        )
        environment = json.dumps(json.loads(self.origin.environment), indent=1)
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(self.name)} - weightsmith</title><style>{CSS}</style></head><body>
<h1>{html.escape(self.name)}</h1>
{self.introduction}
<h2>Verdict</h2><div class="verdict">{sentences}</div>
{"".join(_section(section) for section in self.sections)}
<h2>What the columns mean</h2><dl>{definitions}</dl>
<h2>How it was made</h2><pre>{html.escape(self.origin.command)}
{html.escape(environment)}</pre>
</body></html>
"""


def _section(section: Section) -> str:
    figures = "".join(f"<figure>{as_svg(figure)}</figure>" for figure in section.figures.values())
    return f"<h2>{html.escape(section.title)}</h2>{''.join(map(_table, section.tables))}{figures}\n"


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    caption = f"<caption>{html.escape(table.title)}</caption>"
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
