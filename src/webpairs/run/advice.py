"""What to try when nothing came out of a run, or when one reason took nearly all of it.

A run that keeps nothing looks like one that went well: it ends, and it counts. So the likeliest
cause is put into one sentence, with the option that may help. The counts decide alone:

    nothing kept     the reason that dropped the most candidates
    something kept   a reason of `TELLING` that took 90 % of the candidates that reached its stage,
                     at least 20 of them: of 1,000 unique candidates 970 `dns` is a network that is
                     not there, of 1,000 judged 900 `similarity` is a usual day
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from webpairs.drops import Drop
from webpairs.quantities import counted, size_of
from webpairs.run.next_steps import command
from webpairs.run.retry import RetryGain
from webpairs.run_folder.funnel import read_funnel, read_json

NOTHING_KEPT: Final = 3
"""The exit code of a verb that kept nothing of what its inputs hold (0: done, 1: it could not go
on, 2: an option or an input is unusable)."""
TELLING_SHARE: Final = 0.9
TELLING_NUM: Final = 20
"""Fewer candidates may share a fate by chance."""
STAGES: Final = ("extract", "dedupe", "obtain", "decode", "judge")
TELLING: Final = frozenset(
    {
        Drop.TEXT_TOO_SHORT,
        Drop.URL_INVALID,
        Drop.LANGUAGE,
        Drop.ROW_BROKEN,
        Drop.OPTED_OUT_PAGE,
        Drop.DNS,
        Drop.CONNECT,
        Drop.TLS,
        Drop.TIMEOUT,
        Drop.TOO_SLOW,
        Drop.TOO_SMALL,
        Drop.HTTP_4XX,
        Drop.HTTP_429,
        Drop.HTTP_5XX,
        Drop.ADDRESS_FORBIDDEN,
        Drop.ROBOTS,
        Drop.OPTED_OUT_IMAGE,
        Drop.PROTOCOL,
        Drop.NOT_ARCHIVED,
        Drop.ARCHIVE_BROKEN,
        Drop.HASH_MISMATCH,
        Drop.NOT_AN_IMAGE,
        Drop.FORMAT,
        Drop.UNDECODABLE,
    }
)
"""Reasons that seldom take nearly all, so that something is wrong when they do."""
NO_NETWORK: Final = frozenset((Drop.DNS, Drop.CONNECT))
"""How requests end on a machine without a network, or behind a firewall."""
_NETWORK: Final = (
    "is this machine online, and do its firewall and name servers let it out? No proxy is used; "
    "once it is, type {command} retry {out}"
)
REMEDIES: Final[Mapping[Drop, str]] = {
    Drop.TEXT_TOO_SHORT: "name the column of texts with --text-column, take other texts with "
    "--texts alt,title,caption, or take texts of any length with --recipe download",
    Drop.URL_INVALID: "name the column of image URLs with --url-column",
    Drop.URL_UNWANTED: "these URLs name pictures that are never kept, such as svg and gif: use "
    "other inputs, or --image-sources src,srcset,picture,data-src",
    Drop.LANGUAGE: "--languages any keeps texts of every language",
    Drop.ROW_BROKEN: "the table is not what its name says, or its columns are shifted: "
    "look at docs/tables.md",
    Drop.DUPLICATE: "the same rows stand in the inputs again and again",
    Drop.OPTED_OUT_PAGE: "the pages do not want this use; --keep-opted-out keeps their candidates, "
    "marked, where you may",
    Drop.BLOCK_LISTED: "look at the block-lists that were given",
    Drop.REMOVED: "these candidates were removed on request",
    Drop.LIMIT: "raise --limit",
    Drop.DNS: _NETWORK,
    Drop.CONNECT: _NETWORK,
    Drop.TLS: "does a proxy or a firewall replace certificates? Name its certificates with "
    "SSL_CERT_FILE, then type {command} retry {out} --reasons tls",
    Drop.TIMEOUT: "allow more time with --timeout or ask less at once with --connections: "
    "{command} retry {out} --timeout 120 --connections 64",
    Drop.TOO_SLOW: "ask less at once with --connections: {command} retry {out} --connections 64",
    Drop.TOO_LARGE: "images of more than 50 MB are not fetched: use smaller ones",
    Drop.TOO_SMALL: "take smaller files with a smaller --min-bytes (laion400m: 5000)",
    Drop.HTTP_4XX: "the images are gone, or their sites want a login: use newer inputs, or "
    "--images archive with the WARC files that hold them",
    Drop.HTTP_429: "ask more slowly: {command} retry {out} --per-host 1 --per-host-rate 1",
    Drop.HTTP_5XX: "the sites fail at the moment: try again later with {command} retry {out}",
    Drop.REDIRECT: "the sites lead elsewhere, perhaps to a login: look at final_url in drops/",
    Drop.ADDRESS_FORBIDDEN: "the images lie in a network that is not public: allow it with "
    "--allow-network, e.g. {command} retry {out} --reasons address_forbidden "
    "--allow-network 10.0.0.0/8",
    Drop.ROBOTS: "robots.txt forbids it, or could not be had: detail in drops/ says which; "
    "docs/manners.md says what is honoured",
    Drop.OPTED_OUT_IMAGE: "the sites do not want this use; --keep-opted-out keeps their images, "
    "marked, where you may",
    Drop.PROTOCOL: "the servers do not speak HTTP as it is written, or the URLs have a wrong port: "
    "look at detail in drops/",
    Drop.NOT_ARCHIVED: "these WARC files hold the pages but not their images: --images web "
    "fetches them",
    Drop.ARCHIVE_BROKEN: "the WARC files are damaged or cut: fetch them again",
    Drop.HASH_MISMATCH: "the table has a column of hashes that are not of the images: "
    "{command} retry {out} --reasons hash_mismatch --check-hashes off does not compare them",
    Drop.BLOCK_LISTED_IMAGE: "look at the block-lists that were given",
    Drop.NOT_AN_IMAGE: "the URLs lead to pages instead of pictures: is --url-column the column of "
    "images, and do the sites want a login?",
    Drop.FORMAT: "JPEG, PNG and WebP are taken",
    Drop.PIXELS: "these pictures are larger than may be decoded: use smaller ones",
    Drop.TRUNCATED: "the answers end too early: try again with {command} retry {out} "
    "--reasons truncated",
    Drop.UNDECODABLE: "the pictures are damaged where they come from: use other inputs",
    Drop.SIDE: "take smaller pictures with a smaller --min-side",
    Drop.ASPECT: "take longer pictures with a larger --max-aspect; --resize none keeps those that "
    "are too long to be resized",
    Drop.SIMILARITY: "is the model the right one for these pictures and texts, and are the texts "
    "about them? --threshold -1 keeps all, to choose by similarity later",
    Drop.MINOR_SUSPECTED: "these are never kept",
    Drop.ANIMAL_NSFW: "these are never kept",
    Drop.PII: "these are never kept",
    Drop.EXCLUDED_IMAGE: "look at the set of images that is left out",
}
"""What may help against each reason; `{command}` and `{out}` stand for what is typed."""
_TINY: Final = (
    "the model tiny knows only the drawn pictures of webpairs demo, not photographs: use --model "
    "ViT-B-32/openai, which has the threshold of LAION-400M"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verb made of its candidates; drops alone decide which advice is given."""

    out: Path
    num_candidates: int
    num_kept: int
    drops: Mapping[Drop, int]
    model: str | None = None
    """The model's spec; None where nothing is scored."""
    num_records: int = 0
    """Records of crawl files and rows of tables; for a retry 0."""
    num_broken: int = 0
    """Records that could not be read."""
    input_bytes: int = 0
    num_incomplete: int = 0
    """Inputs of which extract warned."""
    is_retry: bool = False

    @property
    def is_unread(self) -> bool:
        """Whether the inputs hold something that nobody could read."""
        return not self.num_candidates and bool(self.num_broken or self.num_incomplete)

    @property
    def kept_nothing(self) -> bool:
        """Whether there was something to keep and nothing of it was kept."""
        return not self.num_kept and (self.num_candidates > 0 or self.is_unread)


def read_outcome(out: Path, manifest: Mapping[str, Any]) -> Outcome:
    """Return what the run in `out` made of all its candidates, from its counts."""
    funnel = read_funnel(out)
    extract = read_json(out / "stats" / "extract.json") or {}
    model = manifest.get("model") or {}
    return Outcome(
        out=out,
        num_candidates=funnel.found,
        num_kept=funnel.left if manifest["verb"] == "extract" else funnel.samples,
        drops=funnel.drops,
        model=model.get("spec"),
        num_records=funnel.records,
        num_broken=funnel.broken_records,
        input_bytes=sum(one["bytes"] for one in manifest["inputs"]),
        num_incomplete=len(extract.get("warnings") or ()),
    )


def retry_outcome(out: Path, manifest: Mapping[str, Any], gain: RetryGain) -> Outcome:
    """Return what a retry made of the candidates that it tried again."""
    model = manifest.get("model") or {}
    return Outcome(
        out=out,
        num_candidates=gain.tried.total(),
        num_kept=gain.gained.total(),
        drops=gain.dropped,
        model=model.get("spec"),
        is_retry=True,
    )


def advise(outcome: Outcome, *, typed: bool = False) -> tuple[str, ...]:
    """Return a sentence about the likeliest cause and what to try; none where all went well.

    Commands in it are as `typed` here, or with DIR for the folder: what is stored travels.
    """
    sentences = _sentences(outcome)
    if typed:
        verb, out = command(), shlex.quote(str(outcome.out))
    else:
        verb, out = "webpairs", "DIR"
    return tuple(one.replace("{command}", verb).replace("{out}", out) for one in sentences)


def _sentences(outcome: Outcome) -> tuple[str, ...]:
    if not outcome.num_candidates:
        return (_of_no_candidates(outcome),)
    drops = Counter({drop: num for drop, num in outcome.drops.items() if num > 0})
    if not outcome.num_kept and len(drops) > 1:
        del drops[Drop.LIMIT]  # a user's wish is not a cause: the others were taken, and went
    if not outcome.num_kept:
        return (_of_nothing_kept(outcome, drops),)
    telling = _telling(outcome, drops)
    return () if telling is None else (_of_nearly_all(outcome, *telling),)


def _of_no_candidates(outcome: Outcome) -> str:
    size = size_of(outcome.input_bytes)
    if outcome.is_unread:
        broken = counted(outcome.num_broken, "record") if outcome.num_broken else "the inputs"
        return (
            f"nothing could be read: {broken} of {size} cannot be understood: are the files whole, "
            "and are they what their names say? Fetch or write them again"
        )
    if not outcome.num_records:
        return f"nothing was read: the inputs ({size}) hold no record and no row"
    return (
        f"no candidates: none of {counted(outcome.num_records, 'record')} holds an image with a "
        "text beside it; --texts alt,title,caption and --image-sources src,srcset,picture,data-src "
        "look in more places"
    )


def _of_nothing_kept(outcome: Outcome, drops: Counter[Drop]) -> str:
    network = sum(drops[drop] for drop in NO_NETWORK)
    drop, num = drops.most_common(1)[0]
    if network > num:
        drop, num = max(NO_NETWORK, key=lambda one: drops[one]), network
        named = " and ".join(one for one in Drop if one in NO_NETWORK and drops[one])
    else:
        named = str(drop)
    total = outcome.num_candidates
    nothing = "nothing was gained" if outcome.is_retry else "nothing was kept"
    if num == total:
        what = "the only candidate" if total == 1 else f"all {total:,} candidates"
        return f"{nothing}: {what} ended as {named}: {_remedy(outcome, drop)}"
    return (
        f"{nothing}: of {total:,} candidates most, {num:,}, ended as {named}: "
        f"{_remedy(outcome, drop)}"
    )


def _telling(outcome: Outcome, drops: Counter[Drop]) -> tuple[str, Drop, int, int] | None:
    """Return the reason that took nearly all that reached its stage: name, drop, count, of how
    many."""
    left = outcome.num_candidates
    for stage in STAGES:
        here = Counter({drop: num for drop, num in drops.items() if drop.stage == stage})
        groups = {
            str(drop): (drop, num) for drop, num in here.items() if _is_telling(outcome, drop)
        }
        if all(here[drop] for drop in NO_NETWORK):
            both = sum(here[drop] for drop in NO_NETWORK)
            groups["dns and connect"] = (Drop.DNS, both)
        if groups:
            name, (drop, num) = max(groups.items(), key=lambda one: one[1][1])
            if num >= TELLING_NUM and num >= TELLING_SHARE * left:
                return name, drop, num, left
        left -= here.total()
    return None


def _is_telling(outcome: Outcome, drop: Drop) -> bool:
    return drop in TELLING or (drop is Drop.SIMILARITY and outcome.model == "tiny")


def _of_nearly_all(outcome: Outcome, name: str, drop: Drop, num: int, total: int) -> str:
    return (
        f"{num / total:.0%} of the candidates that came so far ({num:,} of {total:,}) ended as "
        f"{name}: {_remedy(outcome, drop)}"
    )


def _remedy(outcome: Outcome, drop: Drop) -> str:
    if drop is Drop.SIMILARITY and outcome.model == "tiny":
        return _TINY
    return REMEDIES[drop]
