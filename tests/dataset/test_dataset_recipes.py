"""docs/loading.md is true: its snippets run, and what other loaders read is what is there."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.plain_reading import plain_reading
from typer.testing import CliRunner

import webpairs
from webpairs.cli import app

# Others leave closing files to the garbage collector, and warn of their own doings.
pytestmark = [pytest.mark.compare, pytest.mark.filterwarnings("ignore")]

PAGE = Path(__file__).parents[2] / "docs" / "loading.md"
SECTIONS = re.split(r"^#+ ", PAGE.read_text(), flags=re.MULTILINE)[1:]
SNIPPETS = [
    pytest.param(code, id=f"{section.splitlines()[0]}-{number}")
    for section in SECTIONS
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", section, re.M | re.S))
]
LINES = re.findall(r"^    (\S+ .*)$", re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.S), re.M)
OPTIONAL = (
    *("torch", "open_clip", "webdataset", "datasets", "megatron.energon", "grain"),
    *("tensorflow", "tensorflow_datasets"),
)


def line(command: str) -> list[str]:
    """Return the words of the one line of the page that runs a command."""
    (found,) = [shlex.split(line) for line in LINES if line.startswith(command)]
    return found


@pytest.fixture(scope="module")
def folder(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run that others may write into."""
    here = tmp_path_factory.mktemp("loading")
    shutil.copytree(loose_run, here / "run")
    return here


@pytest.fixture(scope="module")
def expected(loose_run: Path) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in plain_reading(loose_run)}


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    for name in OPTIONAL:
        if re.search(rf"^(from|import) {name}\b", code, re.MULTILINE):
            pytest.importorskip(
                name, reason="docs/development.md: other loaders", exc_type=ImportError
            )
    if ".torch(" in code:
        pytest.importorskip("torch", reason="docs/development.md: other loaders")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    if "energon" in code:
        prepare_for_energon()
    if "tfds" in code:
        command = line("webpairs export")
        assert CliRunner().invoke(app, [*command[1:], "--workers", "1"]).exit_code == 0
    exec(compile(code, PAGE.name, "exec"), {"__name__": "snippet"})


def prepare_for_energon() -> None:
    """Run the page's line in the current folder."""
    command = line("energon prepare")
    program = Path(sys.executable).with_name("energon")
    done = subprocess.run(
        [str(program), *command[1:], "--num-workers", "1", "--force-overwrite"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_webdataset_reads_the_tars(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    webdataset = pytest.importorskip("webdataset")
    tars = sorted(map(str, (folder / "run" / "images").glob("*.tar")))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == list(expected)
    for sample in samples:
        row = expected[sample["__key__"]]
        assert (sample["jpg"], sample["txt"].decode()) == (row["image"], row["caption"])


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_reads_the_tars(
    folder: Path, expected: dict[str, dict[str, Any]], streaming: bool
) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(
        "webdataset",
        data_files=str(folder / "run" / "images" / "*.tar"),
        split="train",
        streaming=streaming,
        cache_dir=str(folder / "cache"),
    ).cast_column("jpg", datasets.Image(decode=False))
    rows = list(found)
    assert [row["__key__"] for row in rows] == list(expected)
    for row in rows:
        truth = expected[row["__key__"]]
        assert (row["jpg"]["bytes"], row["txt"]) == (truth["image"], truth["caption"])
        assert row["json"]["similarity"] == truth["similarity"]


def test_open_clip_trains_on_the_tars(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    webdataset = pytest.importorskip("webdataset")
    params = pytest.importorskip("open_clip_train.params", exc_type=ImportError)
    data = pytest.importorskip("open_clip_train.data", exc_type=ImportError)
    version = tuple(map(int, webdataset.__version__.split(".")[:3]))
    if version > (0, 2, 86):
        pytest.skip("open_clip_torch[training] needs webdataset<=0.2.86")
    words = line("torchrun")
    options = dict(itertools.pairwise(words[words.index("open_clip_train.main") + 1 :]))
    tars = sorted((folder / "run" / "images").glob("*.tar"))
    assert options["--train-data"] == "run/images/{00000..00041}.tar"
    options["--train-data"] = f"{folder}/run/images/{{{tars[0].stem}..{tars[-1].stem}}}.tar"
    options["--train-num-samples"] = str(len(expected))
    options |= {"--batch-size": "8", "--workers": "1"}
    named = {name: value for name, value in options.items() if name.startswith("--")}
    arguments = params.parse_args([word for pair in named.items() for word in pair])
    arguments.rank, arguments.world_size, arguments.distributed = 0, 1, False
    loaders = data.get_data(
        arguments,
        (lambda image: np.asarray(image), None),
        tokenizer=lambda text: [text],
    )
    captions = {row["caption"] for row in expected.values()}
    seen: set[str] = set()
    num = 0
    for images, texts in loaders["train"].dataloader:
        assert images.shape == (8, 256, 256, 3)
        seen |= set(texts)
        num += len(texts)
    assert num == -(-len(expected) // 8) * 8  # it repeats some to fill the last batch
    assert seen <= captions
    assert len(seen) > 0.9 * len(captions)


def test_energon_makes_the_index_that_is_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("megatron.energon", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "run", tmp_path / "run")
    ours = {path: path.read_bytes() for path in Path("run/images").glob("*.tar.idx")}
    assert len(ours) > 1
    prepare_for_energon()
    assert {path: path.read_bytes() for path in ours} == ours
    for path in ours:
        path.unlink()
    prepare_for_energon()
    assert {path: path.read_bytes() for path in ours} == ours


def test_energon_reads_every_sample(
    folder: Path, expected: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    energon = pytest.importorskip("megatron.energon", exc_type=ImportError)
    monkeypatch.chdir(folder)
    prepare_for_energon()
    samples = energon.get_train_dataset(
        "run/images",
        worker_config=energon.WorkerConfig(rank=0, world_size=1, num_workers=0),
        batch_size=4,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
        repeat=False,
    )
    captions: dict[str, str] = {}
    for batch in energon.get_loader(samples):
        assert tuple(batch.image.shape[1:]) == (3, 256, 256)
        captions |= zip(batch.__key__, batch.caption, strict=True)
    found = {key.rpartition("/")[2].removesuffix(".tar"): text for key, text in captions.items()}
    assert found == {key: row["caption"] for key, row in expected.items()}


def test_grain_reads_every_sample_once(loose_run: Path, expected: dict[str, Any]) -> None:
    grain = pytest.importorskip("grain", exc_type=ImportError)
    ds = webpairs.open(loose_run)
    assert isinstance(ds, grain.sources.RandomAccessDataSource)
    samples = list(grain.MapDataset.source(ds).shuffle(seed=1).to_iter_dataset())
    urls = [sample["url"] for sample in samples]
    assert urls != [row["url"] for row in expected.values()]
    assert sorted(urls) == sorted(row["url"] for row in expected.values())
    by_url = {row["url"] + row["caption"]: row for row in expected.values()}
    for sample in samples[:20]:
        row = by_url[sample["url"] + sample["caption"]]
        assert np.array_equal(sample["image_embedding"], row["image_embedding"])


def test_tensorflow_reads_the_page_s_types(loose_run: Path) -> None:
    tf = pytest.importorskip("tensorflow", exc_type=ImportError)
    ds = webpairs.open(loose_run)
    kinds = {"text": tf.string}
    signature = {
        name: tf.TensorSpec(
            ds.features[name].shape, kinds.get(ds.features[name].kind, ds.features[name].dtype)
        )
        for name in next(ds.images())
    }
    found = tf.data.Dataset.from_generator(ds.images, output_signature=signature)
    num = 0
    for sample, truth in zip(found.as_numpy_iterator(), ds.images(), strict=True):
        num += 1
        for name, value in truth.items():
            theirs = sample[name].decode() if isinstance(value, str) else sample[name]
            assert np.array_equal(theirs, value), name
            if not isinstance(value, str):
                assert theirs.dtype == value.dtype
    assert num == len(ds)


def test_the_page_names_every_way_to_ask() -> None:
    page = PAGE.read_text()
    for name in vars(webpairs.Dataset):
        if not name.startswith("_") and name not in (
            *("pieces", "piece", "try_decode", "shard", "with_shards", "view"),  # for exporters
            *("sample", "column_names", "source", "problems"),
        ):
            assert re.search(rf"\.{name}\b", page), name
