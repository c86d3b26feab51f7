"""The funnel, painted as a table."""

from __future__ import annotations

from rich.table import Table

from webpairs.drops import Drop
from webpairs.quantities import counted
from webpairs.run_folder.funnel import Funnel


def funnel_table(funnel: Funnel, *, to_candidates: bool = False) -> Table:
    """Return the funnel as a table: stage by stage, what went and what stayed.

    With `to_candidates` it ends there, as `webpairs extract` does.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("what")
    table.add_column("candidates", justify="right")
    table.add_column("of found", justify="right")

    def row(stage: str, what: str, num: int, style: str | None = None) -> None:
        share = f"{num / funnel.found:.1%}" if funnel.found else "-"
        table.add_row(stage, what, f"{num:,}", share, style=style)

    where = (
        f"on {counted(funnel.pages, 'page')}" if funnel.pages or not funnel.found else "in tables"
    )
    row("extract", f"found {where}", funnel.found, "bold")
    for drop in Drop:
        if funnel.drops[drop]:
            row(drop.stage, f"- {drop}", -funnel.drops[drop])
    if to_candidates:
        row("write", "candidates", funnel.left, "bold")
    else:
        if funnel.left:
            row("", "left to do", funnel.left)
        row("write", "samples", funnel.samples, "bold")
    if funnel.broken_records:
        table.caption = (
            f"beside these, {counted(funnel.broken_records, 'record')} could not be read"
        )
    return table
