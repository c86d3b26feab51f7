"""How the web is asked is remembered by the run folder, and changed only by what is given."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import orjson
import pytest

from webpairs.cli.build import build_verb, retry_verb
from webpairs.errors import ConfigError
from webpairs.fetch_options import DEFAULTS, OPTION_NAMES, FetchOptions, as_typed
from webpairs.files import write_json
from webpairs.options import BuildOptions, RetryOptions
from webpairs.run.own_runs import beyond_defaults, keep_as_own
from webpairs.run.remembered import ask_as_before, web_facts

BEGAN: dict[str, Any] = {
    "allow_network": ("10.0.0.0/8", "127.0.0.1/32"),
    "contact": "me@example.org",
    "per_host": 2,
    "per_host_rate": 0.5,
}


def options(**given: Any) -> BuildOptions:
    return BuildOptions(inputs=("a.parquet",), out="out", model="tiny", **given)


def go_on(out: Path, **given: Any) -> tuple[BuildOptions, dict[str, Any], list[str]]:
    """Go on in `out` as a build does; return the options in use, the manifest, what was said."""
    said: list[str] = []
    manifest = orjson.loads((out / "manifest.json").read_bytes())
    asked, kept = ask_as_before(out, manifest, options(**given), "build", said.append)
    assert kept == orjson.loads((out / "manifest.json").read_bytes())
    return asked, kept, said


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    write_json(tmp_path / "manifest.json", {"verb": "build", "web": web_facts(options(**BEGAN))})
    keep_as_own(tmp_path, beyond_defaults(BEGAN))
    return tmp_path


def test_what_is_not_given_is_as_the_run_began(begun: Path) -> None:
    before = (begun / "manifest.json").read_bytes()
    asked, _, said = go_on(begun)
    rules = asked.fetch_rules()
    assert rules.allow_networks == BEGAN["allow_network"]
    assert (rules.contact, rules.per_host, rules.per_host_rate) == ("me@example.org", 2, 0.5)
    assert (rules.connections, rules.retries) == (DEFAULTS["connections"], DEFAULTS["retries"])
    (line,) = said
    assert "--allow-network 10.0.0.0/8 --allow-network 127.0.0.1/32" in line
    assert "--contact me@example.org" in line
    assert "--retries" not in line, "defaults need no word"
    assert (begun / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"per_host": 4}, "--per-host 4 from now on; before it was --per-host 2"),
        ({"per_host_rate": 8.0}, "--per-host-rate 8 from now on; before it was --per-host-rate 0"),
        ({"contact": "x@example.org"}, "--contact x@example.org from now on"),
        ({"contact": ""}, "--contact '' from now on"),
        ({"allow_network": ()}, "--allow-network '' from now on"),
        ({"allow_network": ("",)}, "--allow-network '' from now on"),
        ({"timeout_s": 5.0}, "--timeout 5 from now on; before it was --timeout 60"),
    ],
    ids=str,
)
def test_what_is_given_replaces_it_and_is_said_and_kept(
    begun: Path, given: dict[str, Any], said: str
) -> None:
    """A value that is the default is given too: who says so wants it."""
    ((name, _),) = given.items()
    asked, manifest, lines = go_on(begun, **given)
    assert [line for line in lines if "from now on" in line] == [lines[-1]]
    assert said in lines[-1]
    (change,) = manifest["web_changes"]
    assert change["verb"] == "build"
    assert list(change["changed"]) == [name]
    again, after, later = go_on(begun)
    assert again.fetch_rules() == asked.fetch_rules()
    assert after == manifest
    assert not [line for line in later if "from now on" in line]


def test_the_same_value_given_again_is_not_a_change(begun: Path) -> None:
    _, manifest, said = go_on(begun, **BEGAN)
    assert said == []
    assert "web_changes" not in manifest


def test_a_folder_that_remembers_nothing_gets_what_is_used(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"verb": "build"})
    _, manifest, said = go_on(tmp_path, contact="me@example.org")
    assert said == []
    assert manifest["web"]["contact"] == "me@example.org"
    assert "+me@example.org" in manifest["web"]["user_agent"]


def test_an_archive_is_not_asked(tmp_path: Path) -> None:
    assert web_facts(options(images="archive")) is None
    manifest = {"verb": "build", "web": None}
    asked, kept = ask_as_before(tmp_path, manifest, options(images="archive"), "build", print)
    assert (asked, kept) == (options(images="archive"), manifest)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("per_host", "4"),
        ("per_host", True),
        ("per_host", None),
        ("per_host_rate", "fast"),
        ("allow_network", "10.0.0.0/8"),
        ("allow_network", [1]),
        ("allow_network", ["10.0.0.0/33"]),
        ("contact", 1),
        ("contact", "nobody"),
        ("retries", 10**9),
    ],
)
def test_a_damaged_value_is_told_by_its_option(begun: Path, name: str, value: object) -> None:
    facts = orjson.loads((begun / "manifest.json").read_bytes())
    write_json(begun / "manifest.json", facts | {"web": facts["web"] | {name: value}})
    with pytest.raises(ConfigError) as caught:
        go_on(begun)
    assert OPTION_NAMES[name] in str(caught.value) or str(value[0]) in str(caught.value)  # type: ignore[index]
    given = BEGAN.get(name, DEFAULTS[name])
    go_on(begun, **{name: given})


def test_a_retry_is_given_nothing_by_default() -> None:
    asked = RetryOptions(out="out").build_options({"inputs": ("a",), "model": "tiny"})
    assert [getattr(asked, name) for name in DEFAULTS] == [None] * len(DEFAULTS)


@pytest.mark.parametrize("verb", [build_verb, retry_verb])
def test_the_command_line_gives_nothing_by_default(verb: Any) -> None:
    parameters = signature(verb).parameters
    names = ["timeout" if name == "timeout_s" else name for name in DEFAULTS]
    assert [parameters[name].default for name in names] == [None] * len(names)


def test_every_field_has_a_name_and_a_default() -> None:
    fields = set(FetchOptions.__dataclass_fields__)
    assert fields == set(DEFAULTS) == set(OPTION_NAMES)


def test_a_contact_with_a_password_is_refused() -> None:
    with pytest.raises(ConfigError, match="leave them out") as caught:
        options(contact="https://me:secret@example.org/")
    assert "secret" not in str(caught.value)


def test_options_are_shown_as_they_are_typed() -> None:
    values = {"contact": "https://example.org/?a=1&b", "per_host_rate": 0, "allow_network": []}
    assert as_typed(values) == (
        "--per-host-rate 0 --allow-network '' --contact 'https://example.org/?a=1&b'"
    )


STRANGE: dict[str, Any] = {
    "allow_network": ("127.0.0.0/8",),
    "per_host": 64,
    "per_host_rate": 0.0,
    "connections": 5_000,
    "retries": 9,
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strangers_folder_does_not_reach_further(tmp_path: Path, name: str) -> None:
    facts = web_facts(options(**{name: STRANGE[name]}))
    write_json(tmp_path / "manifest.json", {"verb": "build", "web": facts})
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match=f"{OPTION_NAMES[name]} .*came from elsewhere"):
        go_on(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == before
    asked, _, _ = go_on(tmp_path, **{name: STRANGE[name]})
    assert asked.fetch_values()[name] == STRANGE[name]
    again, _, _ = go_on(tmp_path)
    assert again.fetch_values()[name] == STRANGE[name], "it was given once"
    reset, _, _ = go_on(tmp_path, **{name: DEFAULTS[name]})
    assert reset.fetch_values()[name] == DEFAULTS[name]


def test_more_networks_than_were_given_are_not_reached(begun: Path) -> None:
    manifest = orjson.loads((begun / "manifest.json").read_bytes())
    manifest["web"]["allow_network"] = ["10.0.0.0/8"]
    write_json(begun / "manifest.json", manifest)
    go_on(begun)
    manifest["web"]["allow_network"] = ["10.0.0.0/8", "192.168.0.0/16"]
    write_json(begun / "manifest.json", manifest)
    with pytest.raises(ConfigError, match=r"--allow-network 192\.168\.0\.0/16"):
        go_on(begun)


def test_a_folder_that_took_anothers_place_is_not_ones_own(begun: Path) -> None:
    moved = begun.rename(begun.with_name("moved"))
    with pytest.raises(ConfigError, match="or was moved"):
        go_on(moved)
    begun.mkdir()
    (begun / "manifest.json").write_bytes((moved / "manifest.json").read_bytes())
    with pytest.raises(ConfigError, match="came from elsewhere"):
        go_on(begun)


def test_a_state_folder_that_cannot_be_written_or_read(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    with pytest.raises(ConfigError, match="give these options again"):
        go_on(begun)
    asked, _, _ = go_on(begun, **BEGAN)
    assert asked.fetch_rules().allow_networks == BEGAN["allow_network"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inode": 1, "values": 3}', "null", '"x"'])
def test_broken_state_is_no_state(
    begun: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    keep_as_own(begun, beyond_defaults(BEGAN))
    (file,) = (tmp_path / "state" / "webpairs" / "runs").iterdir()
    go_on(begun)
    file.write_text(text)
    with pytest.raises(ConfigError, match="give these options again"):
        go_on(begun)
