"""Draw the rooms of the package, from its real imports, into docs/architecture.md.

    ./run python docs/generate_architecture.py

`LEVELS` is the order of the rooms: a room imports only rooms of levels before its own. The tests
read this file: they fail where an import runs the other way, or where the drawing is out of date.
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "webpairs"
PAGE = Path(__file__).with_name("architecture.md")
START, END = "<!-- drawn from the imports -->\n", "<!-- end of the drawing -->\n"

LEVELS = {
    "ground": (
        *("version", "errors", "drops", "ids", "checks", "quantities", "url_user", "safe_text"),
        *("files", "figures", "progress", "parquet", "external_sort", "clusters"),
    ),
    "recipes": ("recipes",),
    "image": ("image",),
    "clip": ("clip",),
    "crawl": ("crawl",),
    "run_folder": ("run_folder",),
    "extract": ("extract",),
    "dedupe": ("dedupe",),
    "obtain": ("obtain",),
    "engine": ("engine",),
    "build": ("build",),
    "options": ("fetch_options", "options"),
    "run": ("run",),
    "dataset": ("dataset",),
    "verify": ("verify",),
    "describe": ("describe",),
    "export": ("export",),
    "report": ("report",),
    "search": ("search",),
    "serve": ("serve",),
    "demo": ("demo",),
    "cli": ("cli", "__main__"),
}
"""Each level, and the modules or packages of the top that belong to it."""
LEVEL_OF = {name: level for level, names in LEVELS.items() for name in names}
GROUPS = {
    "write the run folder": ("crawl", "extract", "dedupe", "obtain", "image", "clip", "build"),
    "run many units": ("engine", "options", "run"),
    "read the run folder": ("dataset", "verify", "describe", "export", "search", "report", "serve"),
}


def imports() -> set[tuple[str, str, bool]]:
    """Return who imports whom, as names of modules, and whether only for the types."""
    found: set[tuple[str, str, bool]] = set()
    modules = {name_of(path) for path in PACKAGE.rglob("*.py")}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for_types = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or not str(node.module).startswith("webpairs"):
                continue
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                target = full if full in modules else str(node.module)
                found.add((name_of(path), target, id(node) in for_types))
    return {one for one in found if one[0] != one[1]}


def name_of(path: Path) -> str:
    """Return a module's name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def level_of(module: str) -> str | None:
    """Return the level of a module; None for the package itself, which imports when it is used."""
    parts = module.split(".")
    return LEVEL_OF[parts[1]] if len(parts) > 1 else None


def drawing() -> str:
    """Return the rooms and the arrows between them as a Mermaid diagram.

    `ground`, which every room uses, has no arrows; of the others only the direct neighbours are
    drawn: an arrow that another path also makes is left out.
    """
    arrows = {
        (one, other)
        for one, other in ((level_of(a), level_of(b)) for a, b, types in imports() if not types)
        if one and other and one != other and "ground" not in (one, other)
    }
    reach = {level: {b for a, b in arrows if a == level} for level in LEVELS}
    for level in LEVELS:  # from the ground up, so that what is below is known
        for below in tuple(reach[level]):
            reach[level] |= reach[below]
    direct = sorted(
        (one, other)
        for one, other in arrows
        if not any(a == one and b != other and other in reach[b] for a, b in arrows)
    )
    lines = ["```mermaid", "flowchart TB"]
    for title, rooms in GROUPS.items():
        lines.append(f'  subgraph {rooms[0]}_group ["{title}"]')
        lines += [f"    {room}" for room in rooms]
        lines.append("  end")
    lines.append('  run_folder[["run_folder: what is on disk"]]')
    lines += [f"  {one} --> {other}" for one, other in direct]
    lines.append("```")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the page with a new drawing."""
    text = PAGE.read_text()
    before, rest = text.split(START)
    return before + START + drawing() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
