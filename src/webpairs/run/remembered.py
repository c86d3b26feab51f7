"""What a run folder remembers of how its web is asked, so that who goes on asks alike.

    manifest.json   "web": the seven options of `FetchOptions` and the User-Agent in use
                    "web_changes": when another value was given, what it was before and since

A resumed build and a retry take these values. A value that is given now replaces the remembered
one, is said in one line, and is kept for the next time. Values that go beyond the defaults, such
as networks that are not public, are taken only where this user gave them on this machine
(own_runs.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from webpairs.errors import ConfigError
from webpairs.fetch_options import DEFAULTS, OPTION_NAMES, as_typed
from webpairs.files import write_json
from webpairs.options import BuildOptions
from webpairs.run.own_runs import beyond_defaults, is_own, keep_as_own
from webpairs.run_folder.manifest import NAME

WEB: Final = "web"
CHANGES: Final = "web_changes"


def web_facts(options: BuildOptions) -> dict[str, Any] | None:
    """Return what the manifest keeps of how `options` ask the web; None where they do not."""
    if options.images != "web":
        return None
    facts = options.fetch_values()
    return facts | {
        "allow_network": list(facts["allow_network"]),
        "user_agent": options.fetch_rules().user_agent,
    }


def ask_as_before(
    out: Path,
    manifest: Mapping[str, Any],
    options: BuildOptions,
    verb: str,
    say: Callable[[str], None],
) -> tuple[BuildOptions, dict[str, Any]]:
    """Return `options` with the remembered values where none is given, and the manifest.

    Calls `say` with a line about remembered values that are not the defaults, and with one about
    values that differ from the remembered ones; the manifest in `out` then keeps the new ones.
    Raises ConfigError for a remembered value that cannot be used, or that this user did not give.
    """
    if options.images != "web":
        return options, dict(manifest)
    before = _remembered(out, manifest, options)
    _check_own(out, before, options)
    values = options.fetch_values(before)
    asked = replace(options, **values)
    facts = web_facts(asked)
    assert facts is not None
    changed = {
        name: {"before": before[name], "since": facts[name]}
        for name in DEFAULTS
        if name in before and before[name] != facts[name]
    }
    kept = {
        name: facts[name]
        for name, default in DEFAULTS.items()
        if getattr(options, name) is None and values[name] != default
    }
    if beyond := beyond_defaults(facts):
        keep_as_own(out, beyond)
    if kept:
        say(f"asking the web as {out} remembers: {as_typed(kept)}")
    if changed:
        old = as_typed({name: change["before"] for name, change in changed.items()})
        new = as_typed({name: change["since"] for name, change in changed.items()})
        say(f"asking the web with {new} from now on; before it was {old}")
    if facts == manifest.get(WEB):
        return asked, dict(manifest)
    changes: list[Any] = list(manifest.get(CHANGES) or ())
    if changed:
        when = datetime.now(UTC).isoformat()
        changes.append({"when": when, "verb": verb, "changed": changed})
    updated = {**manifest, WEB: facts, **({CHANGES: changes} if changes else {})}
    write_json(out / NAME, updated)
    return asked, updated


def _check_own(out: Path, before: Mapping[str, Any], options: BuildOptions) -> None:
    """Raise ConfigError where the folder alone asks for more than the defaults."""
    unsaid = {name: value for name, value in before.items() if getattr(options, name) is None}
    beyond = beyond_defaults(unsaid)
    if beyond and not is_own(out, beyond):
        instead = as_typed({name: DEFAULTS[name] for name in beyond})
        raise ConfigError(
            f"{out} asks for {as_typed(beyond)}, but nothing on this machine says that you began "
            "it so: it came from elsewhere, or was moved. If you want that, give these options "
            f"again; if not, give {instead}"
        )


def _remembered(out: Path, manifest: Mapping[str, Any], options: BuildOptions) -> dict[str, Any]:
    """Return the remembered values; datasets of earlier versions remember none."""
    facts = manifest.get(WEB) or {}
    if not isinstance(facts, Mapping):
        raise _unusable(out, WEB, facts, "the options of the web again")
    found: dict[str, Any] = {}
    for name, default in DEFAULTS.items():
        if name not in facts:
            continue
        value = facts[name]
        if not _is_like(value, default):
            if getattr(options, name) is None:
                raise _unusable(out, f"{WEB}.{name}", value, OPTION_NAMES[name])
            continue
        found[name] = value
    return found


def _is_like(value: object, default: object) -> bool:
    """Say whether a value from JSON has the type of an option."""
    if isinstance(value, bool):
        return False
    if isinstance(default, tuple):
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(default))


def _unusable(out: Path, name: str, value: object, give: str) -> ConfigError:
    return ConfigError(
        f"{out / NAME}: {name} is {str(value)[:80]!r}, which is unusable: give {give}"
    )
