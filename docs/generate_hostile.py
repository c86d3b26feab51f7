"""Write docs/hostile.md from the table of what the hostile web does: run it after changing one.

uv run python docs/generate_hostile.py
"""

from __future__ import annotations

from pathlib import Path

from webpairs.demo.hostile.behaviours import BEHAVIOURS, THEMES

_ABOUT = f"""# The hostile web

`webpairs.demo.hostile` is a server on this machine that does what servers must not do, and some
odd things that they may. Each of its {len(BEHAVIOURS)} behaviours has a host of its own,
`NAME.hostile.example`, so that nothing remembered of one touches another, and the one outcome it
must have: a drop reason (docs/formats.md has them all) or a `sample`.
`tests/e2e/test_hostile.py` fetches all of them at once and decodes what
came, by the recipe `laion400m`.

What must hold besides: no connection is opened to an address that is forbidden (the server listens
at 127.0.0.2 too, and nobody may come), no cookie, password or referrer is sent, the User-Agent says
who asks, memory stays within the largest image allowed, and every request ends.

This page is written by `docs/generate_hostile.py`.
"""


def hostile() -> str:
    """Return the page."""
    parts = [_ABOUT]
    for theme, behaviours in THEMES.items():
        rows = [f"| `{one.name}` | {one.what} | `{one.expect}` |" for one in behaviours]
        table = "\n".join(["| host | what it does | outcome |", "|---|---|---|", *rows])
        parts.append(f"\n## {theme}\n\n{table}\n")
    return "".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("hostile.md").write_text(hostile())
