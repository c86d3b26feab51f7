"""Cards say what the files say, of each kind of source, and nothing that nobody knows."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from support.foreign_folders import (
    Style,
    laion_row,
    write_embeddings,
    write_img2dataset,
    write_laion_metadata,
)
from support.hand_made_runs import SAMPLE, candidate, commit_shard, start_run
from typer.testing import CliRunner

from webpairs.cli import app
from webpairs.dataset.features import LABELS
from webpairs.describe.card import make_card
from webpairs.describe.card_header import hub_feature, size_category
from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.extract.license import license_id
from webpairs.files import write_json
from webpairs.recipes.recipe import RESIZE_MODES


def metadata_rows(run: Path) -> list[dict[str, Any]]:
    paths = sorted((run / "metadata").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def tables(card: str, first: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first column is called so."""
    rows = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", card, re.MULTILINE)
    assert rows, first
    cells = ([cell.strip() for cell in line[1:-1].split(" | ")] for line in rows[1].splitlines())
    return {first: rest for first, *rest in cells}


def section(card: str, title: str) -> str:
    return card.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture
def run(loose_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(loose_run, tmp_path / "run"))


def change_manifest(run: Path, **options: Any) -> None:
    manifest = orjson.loads((run / "manifest.json").read_bytes())
    manifest["options"] |= options
    write_json(run / "manifest.json", manifest)


def test_the_header_is_what_the_hub_reads(loose_run: Path) -> None:
    header = DatasetCard(make_card(loose_run, name="pairs: a test")).data.to_dict()
    assert header["pretty_name"] == "pairs: a test"
    assert (header["license"], header["language"]) == ("other", ["en"])
    assert header["size_categories"] == ["n<1K"]
    assert header["configs"] == [
        {
            "config_name": "metadata",
            "default": True,
            "data_files": [{"split": "train", "path": "metadata/*.parquet"}],
        }
    ]
    (info,) = header["dataset_info"]
    schema = pq.read_schema(loose_run / "metadata" / "00000.parquet")
    assert [one["name"] for one in info["features"]] == schema.names
    types = {one["name"]: one.get("dtype") or one["list"] for one in info["features"]}
    assert (types["SAMPLE_ID"], types["similarity"], types["uid"]) == ("int64", "float64", "binary")
    assert types["tags"] == [
        {"name": "name", "dtype": "string"},
        {"name": "score", "dtype": "float32"},
    ]


def test_the_figures_are_those_of_the_files(loose_run: Path) -> None:
    card = make_card(loose_run)
    rows = metadata_rows(loose_run)
    assert f"{len(rows):,} samples in 6 shards" in card
    assert "embeddings of image and text (512 numbers each)" in card
    funnel = orjson.loads((loose_run / "manifest.json").read_bytes())["funnel"]
    assert f"| extract | candidates found on {funnel['pages']} pages |" in card
    for reason, num in funnel["drops"].items():
        assert f"| {Drop(reason).stage} | `{reason}` | -{num:,} |" in card
    assert f"| write | samples | {len(rows)} |" in card
    licences = Counter(row["license_id"] or "none stated" for row in rows)
    assert {name: int(num) for name, (num, _) in tables(card, "licence").items()} == licences
    assert len(licences) > 1
    assert tables(card, "language")["en"] == [str(len(rows)), "100.0%"]
    assert tables(card, "nsfw") == {"UNTAGGED": [str(len(rows)), "100.0%"]}
    out = section(card, "Opt-outs")
    drops = funnel["drops"]
    assert f"{drops['opted_out_page']} candidates by their page" in out
    assert f"{drops['opted_out_image']} by their image" in out
    assert "No site was asked" in out


def test_every_column_is_explained(loose_run: Path) -> None:
    columns = tables(make_card(loose_run), "column")
    schema = pq.read_schema(loose_run / "metadata" / "00000.parquet")
    assert list(columns) == [f"`{name}`" for name in schema.names]
    assert all(meaning for _, meaning in columns.values())
    assert "texts of all samples" in make_card(loose_run).partition("`texts_per_image`")[2]


def test_the_rules_are_told(run: Path) -> None:
    card = make_card(run)
    rules = tables(card, "rule")
    assert rules["recipe"] == ["`laion400m`"]
    assert rules["texts"] == ["alt, 5 characters or more"]
    assert "cosine of image and text -1 or more" in rules["judged by"][0]
    assert "on a white square of 256x256" in rules["stored as"][0]
    assert "blind to the real world" in card
    change_manifest(run, **{"recipe.resize": "center-crop", "recipe.image_size_px": 99}, limit=7)
    rules = tables(make_card(run), "rule")
    assert "the middle square, scaled to 99x99" in rules["stored as"][0]
    assert rules["limit"] == ["a random 7 of the unique candidates"]


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_every_way_of_storing_has_words(run: Path, mode: str) -> None:
    change_manifest(run, **{"recipe.resize": mode})
    words = tables(make_card(run), "rule")["stored as"][0]
    assert words
    assert not set("{}") & set(words)


def test_opt_outs_that_were_kept_are_told(run: Path) -> None:
    change_manifest(
        run, keep_opted_out=True, images="web", ignore_signals=["robots.txt", "tdmrep.json"]
    )
    path = run / "metadata" / "00000.parquet"
    table = pq.read_table(path)
    kept = pa.array(["robots-meta:noai", *[None] * (table.num_rows - 1)], pa.string())
    place = table.schema.get_field_index("opt_out")
    pq.write_table(table.set_column(place, table.schema.field("opt_out"), kept), path)
    card = make_card(run)
    out = section(card, "Opt-outs")
    assert "were **kept**" in out
    assert "left out" not in out
    assert "Not asked and not honoured: robots.txt, tdmrep.json." in out
    assert "Sites were asked" not in out
    assert tables(card, "signal of a sample that was kept")["robots-meta:noai"][0] == "1"


def test_a_run_from_tables_without_a_model(tmp_path: Path) -> None:
    """No page was looked at, nothing was scored, and it is not finished."""
    rows = [candidate(name) for name in ("a", "bb")]
    keys = start_run(tmp_path, 4, 2, 2, model=None, webpairs="0.1", finished=None)
    commit_shard(tmp_path, keys, 0, rows, {rows[0]["uid"]: SAMPLE, rows[1]["uid"]: Drop.ROBOTS})
    change_manifest(tmp_path, limit=None)
    card = make_card(tmp_path)
    assert "URLs of images and their texts from the web: 1 sample" in card
    assert "**The run is not finished" in card
    assert "| extract | candidates of the tables | 4 |" in card
    assert "|  | left to do | 2 |" in card
    assert "no model: similarities" in tables(card, "rule")["judged by"][0]
    out = section(card, "Opt-outs")
    assert "Images that opt out" in out
    assert "The pages that the images stood on were not looked at" in out
    assert "by their page" not in out
    assert "robots.txt: 1 candidate dropped" in out
    assert "What the page of a sample states" not in card
    assert "WebDataset" not in card


@pytest.mark.parametrize(
    "style", [Style(), Style(output_format="parquet")], ids=["tars", "parquet"]
)
def test_img2dataset_output(tmp_path: Path, style: Style) -> None:
    samples = write_img2dataset(tmp_path / "d", style=style)
    card = make_card(tmp_path / "d")
    assert f"{len(samples)} samples in 3 shards" in card
    assert "Which rules chose the samples is not in the files" in card
    for words in ("## Funnel", "## How it was made", "left out:", "robots.txt", "## Languages"):
        assert words not in card
    assert "do not say whether pages, images or sites that opt out" in section(card, "Opt-outs")
    assert ("are WebDataset tars" in card) == (style.output_format != "parquet")
    assert "of samples, status is success" in card
    labels = Counter(row["NSFW"] if row["NSFW"] in LABELS else "UNTAGGED" for row in samples)
    found = {name: int(num) for name, (num, _) in tables(card, "nsfw").items()}
    assert found == labels
    cc = [row["LICENSE"] for row in samples if row["LICENSE"] not in (None, "?")]
    assert tables(card, "licence")["CC-BY-2.0"][0] == str(len(cc))
    assert license_id(cc[0]) == "CC-BY-2.0"
    header = DatasetCard(card).data.to_dict()
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "*.parquet"}]
    assert "language" not in header


def test_laions_folders(tmp_path: Path) -> None:
    write_laion_metadata(tmp_path / "m" / "part-00000.parquet", [laion_row(n) for n in range(7)])
    card = make_card(tmp_path / "m")
    assert tables(card, "column")["`HEIGHT`"][1].startswith("width of the image")
    assert tables(card, "nsfw") == {"UNLIKELY": ["7", "100.0%"]}
    assert "No sample has an NSFW tag" not in card
    write_embeddings(tmp_path / "e", "0", 9)
    card = make_card(tmp_path / "e")
    assert "(8 numbers each): 9 samples" in card
    assert tables(card, "column")["`original_width`"][1].startswith("width of the image")


def test_others_words_do_not_become_markdown(tmp_path: Path) -> None:
    odd = "a|b`c\n<script>"
    table = pa.table({"URL": ["u"], "TEXT": ["t"], odd: [1], "language": ["[x](http://y)|"]})
    (tmp_path / "d").mkdir()
    pq.write_table(table, tmp_path / "d" / "a.parquet")
    card = make_card(tmp_path / "d", name="<b>*name*")
    assert "# \\<b>\\*name\\*" in card
    assert "| `a\\|b c <script>` | `int64` |" in card
    assert "| \\[x\\](http://y)\\| | 1 | 100.0% |" in card
    assert DatasetCard(card).data.pretty_name == "<b>*name*"


def test_the_words_for_sizes() -> None:
    sizes = {0: "n<1K", 999: "n<1K", 1_000: "1K<n<10K", 413_871_335: "100M<n<1B"}
    assert {num: size_category(num) for num in sizes} == sizes
    assert size_category(999_999_999_999) == "100B<n<1T"
    assert size_category(10**12) == "n>1T"


def test_types_that_the_hub_has_no_word_for() -> None:
    assert hub_feature(pa.field("a", pa.list_(pa.int32()))) == {"name": "a", "list": "int32"}
    assert hub_feature(pa.field("a", pa.dictionary(pa.int8(), pa.string()))) == {
        "name": "a",
        "dtype": "string",
    }
    for kind in (pa.null(), pa.list_(pa.list_(pa.int8())), pa.struct([("x", pa.null())])):
        assert hub_feature(pa.field("a", kind)) is None


def test_the_snippet_runs(loose_run: Path) -> None:
    snippet = re.search(r"```python\n(import webpairs.*?)```", make_card(loose_run), re.DOTALL)
    assert snippet
    code = snippet[1].replace('"DIR"', repr(str(loose_run)))
    names: dict[str, Any] = {}
    exec(code, names)
    listed = re.search(r"a sample, with (.*)", code)
    assert listed
    assert set(listed[1].split(", ")) <= set(names["ds"][0])


@pytest.mark.compare
@pytest.mark.filterwarnings("ignore")
def test_datasets_reads_a_run_folder_by_its_card(run: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs datasets: docs/verify.md says how")
    (run / "README.md").write_text(make_card(run))
    rows = datasets.load_dataset(str(run), split="train", cache_dir=str(tmp_path / "cache"))
    wanted = metadata_rows(run)
    assert len(rows) == len(wanted)
    assert rows[3] == {name: wanted[3][name] for name in rows.column_names}
    assert str(rows.features["uid"]) == "Value('binary')"


@pytest.mark.compare
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["img2dataset", "parquet", "laion", "embeddings"])
def test_datasets_reads_what_others_wrote_by_its_card(tmp_path: Path, kind: str) -> None:
    datasets = pytest.importorskip("datasets", reason="needs datasets: docs/verify.md says how")
    folder, pattern = tmp_path / "d", "*.parquet"
    if kind in ("img2dataset", "parquet"):
        write_img2dataset(
            folder, style=Style(output_format="parquet" if kind == "parquet" else "webdataset")
        )
    elif kind == "laion":
        write_laion_metadata(folder / "a.parquet", [laion_row(n) for n in range(7)])
    else:
        write_embeddings(folder, "0", 9)
        pattern = "metadata/*.parquet"
    card = make_card(folder)
    assert 'load_dataset("DIR", split="train")' in card
    (folder / "README.md").write_text(card)
    rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    wanted = [
        row for path in sorted(folder.glob(pattern)) for row in pq.read_table(path).to_pylist()
    ]
    assert rows.to_list() == wanted


def test_the_verb(loose_run: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["card", str(loose_run), "--name", "pairs"])
    assert said.exit_code == 0
    assert said.stdout == make_card(loose_run, name="pairs")
    out = tmp_path / "README.md"
    written = CliRunner().invoke(app, ["card", str(loose_run), "--out", str(out)])
    assert (written.exit_code, written.stdout) == (0, "")
    assert out.read_text() == make_card(loose_run)
    assert "# loose\n" in out.read_text()
    below = CliRunner().invoke(app, ["card", str(loose_run), "--out", str(out / "x")])
    assert isinstance(below.exception, ConfigError)
    assert "cannot write --out" in str(below.exception)
    with pytest.raises(ConfigError, match="is not a dataset"):
        make_card(tmp_path)
