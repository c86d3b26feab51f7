"""What is read, what is refused and why, and what is stored; the files are in museum_images."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cykooz_resizer import CpuExtensions, Resizer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import museum_images as museum

from webpairs.drops import Drop
from webpairs.errors import ConfigError, DataError
from webpairs.image import colour
from webpairs.image import decode as image
from webpairs.image.container import MAX_PROFILE_BYTES, strip_metadata
from webpairs.image.decode import Decoded, ImageRules, decode, store
from webpairs.image.sniff import FORMATS, IMAGES, sniff
from webpairs.recipes import load_recipe
from webpairs.recipes.recipe import RESIZE_MODES, STORED_FORMATS


def rules(**changes: object) -> ImageRules:
    values: dict = {
        "min_bytes": 0,
        "max_pixels": 89_478_484,
        "formats": FORMATS,
        "size_px": 64,
        "resize": "border",
        "jpeg_quality": 95,
    }
    return ImageRules(**{**values, **changes})


RULES = rules()


def pixels(of: Image.Image) -> np.ndarray:
    return np.asarray(of).astype(np.int32)


def decoded_of(array: np.ndarray) -> Decoded:
    height, width = array.shape[:2]
    return Decoded(Image.fromarray(array), "png", width, height)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


# What is read, and what is not ------------------------------------------------------------------


@pytest.mark.parametrize("name", museum.READABLE)
def test_readable_files_decode_as_pillow_decodes_them(name: str) -> None:
    data = museum.READABLE[name]
    decoded = decode(data, RULES)
    assert decoded.rgb.mode == "RGB"
    assert decoded.rgb.info == {}
    assert decoded.rgb.size == (decoded.width, decoded.height)
    assert decoded.format == name.split("_")[0]
    if name in museum.PILLOW_REFUSES:
        data = {"jpeg": museum.JPEG, "png": museum.PNG, "webp": museum.WEBP}[decoded.format]
    if "_with_exif_orientation" in name:
        return  # turned: test_pictures_are_turned_as_they_are_displayed
    with opened(data) as plain:
        if plain.mode == "I;16":
            expected = np.repeat((pixels(plain) >> 8)[..., None], 3, axis=-1)
        else:
            expected = pixels(plain.convert("RGB"))
    assert np.array_equal(pixels(decoded.rgb), expected)


@pytest.mark.parametrize("name", museum.DROPPED)
def test_broken_and_foreign_files_are_dropped_for_their_reason(name: str) -> None:
    data, drop = museum.DROPPED[name]
    with pytest.raises(DataError) as caught:
        decode(data, RULES)
    assert caught.value.drop == drop
    assert caught.value.detail


def test_a_second_frame_header_never_changes_the_size_behind_the_cap() -> None:
    """Pillow believes the last one before the scan."""
    data, _ = museum.DROPPED["jpeg_with_two_frame_headers"]
    with pytest.raises(DataError, match="more than one frame header"):
        decode(data, RULES)


def test_too_few_bytes_come_before_every_other_reason() -> None:
    with pytest.raises(DataError) as caught:
        decode(b"<html>", rules(min_bytes=7))
    assert caught.value.drop == Drop.TOO_SMALL
    decode(museum.JPEG, rules(min_bytes=len(museum.JPEG)))


def test_formats_are_those_of_the_rules() -> None:
    with pytest.raises(DataError) as caught:
        decode(museum.WEBP, rules(formats=("jpeg", "png")))
    assert caught.value.drop == Drop.FORMAT


@pytest.mark.parametrize("data", [museum.JPEG, museum.PNG, museum.WEBP], ids=FORMATS)
def test_pixel_cap_holds_to_the_pixel_and_before_decoding(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode(data, rules(max_pixels=museum.WIDTH * museum.HEIGHT))
    monkeypatch.setattr(image, "_render", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError) as caught:
        decode(data, rules(max_pixels=museum.WIDTH * museum.HEIGHT - 1))
    assert caught.value.drop == Drop.PIXELS


def test_images_over_pillows_own_limit_are_the_rules_business(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", museum.WIDTH * museum.HEIGHT - 1)
    for data in (museum.JPEG, museum.PNG, museum.WEBP):
        decode(data, RULES)  # warnings are errors here


CUT = [
    "jpeg", "jpeg_progressive", "jpeg_4_4_4_with_restart_marks", "jpeg_grey", "jpeg_cmyk_of_adobe",
    "jpeg_with_thumbnail_in_exif", "png", "png_interlaced", "png_palette", "png_grey_16_bit",
    "png_animated", "webp", "webp_lossless", "webp_animated", "webp_with_exif_orientation",
]  # fmt: skip


CUT_SEQUENTIAL = [name for name in CUT if name.startswith("jpeg") and "progressive" not in name]


@pytest.mark.parametrize("name", CUT)
def test_a_file_cut_anywhere_is_dropped(name: str) -> None:
    data = museum.READABLE[name]
    for length in range(len(data)):
        with pytest.raises(DataError) as caught:
            decode(data[:length], RULES)
        assert caught.value.drop == (Drop.TRUNCATED if length >= 12 else caught.value.drop)


@pytest.mark.parametrize("name", CUT_SEQUENTIAL)
def test_a_jpeg_cut_and_closed_would_be_filled_up_by_pillow(name: str) -> None:
    """Show why the end mark is asked for: with one put on, libjpeg paints the missing part grey."""
    data = museum.READABLE[name]
    mended = data[:-30] + b"\xff\xd9"
    with opened(mended) as forgiving:
        forgiving.load()
    assert not np.array_equal(pixels(forgiving.convert("RGB")), pixels(decode(data, RULES).rgb))


# Colours ----------------------------------------------------------------------------------------


def srgb_by_hand(levels: np.ndarray, primaries: tuple, gamma: float) -> np.ndarray:
    """Convert with matrices alone: IEC 61966-2-1 for the curve, Bradford-adapted primaries."""
    xyz = (levels / 255.0) ** gamma @ np.array(primaries)
    linear = np.clip(xyz @ np.linalg.inv(np.array(museum.SRGB_PRIMARIES)), 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_a_wide_profile_is_brought_to_srgb(format: str) -> None:
    options = {"lossless": True} if format == "webp" else {}
    profile = museum.rgb_profile()
    data = museum.save(museum.RGB, format, icc_profile=profile, **options)
    with opened(data) as plain:
        levels = pixels(plain)
    by_hand = srgb_by_hand(levels, museum.ADOBE_PRIMARIES, 2.19921875)
    difference = np.abs(pixels(decode(data, RULES).rgb) - by_hand)
    assert difference.mean() < 0.6
    assert np.percentile(difference, 99) <= 2
    assert np.abs(levels - by_hand).mean() > 5


def test_a_profile_in_pieces_and_out_of_order_is_put_together() -> None:
    whole = museum.after_soi(museum.JPEG, *museum.profile_pieces(museum.rgb_profile(), 1))
    pieces = museum.after_soi(museum.JPEG, *museum.profile_pieces(museum.rgb_profile(), 5))
    assert decode(whole, RULES).rgb == decode(pieces, RULES).rgb
    assert decode(whole, RULES).rgb != decode(museum.JPEG, RULES).rgb


def test_a_grey_profile_is_brought_to_srgb() -> None:
    data = museum.with_profile(museum.grey_profile(gamma=1.0), museum.GREY, "PNG")
    linear = pixels(museum.GREY) / 255.0
    by_hand = 255 * np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    assert np.abs(pixels(decode(data, RULES).rgb) - by_hand[..., None]).max() <= 2


def test_a_press_profile_decides_how_ink_looks() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    with_profile = museum.with_profile(museum.cmyk_profile(paper_lightness=90), cyan)
    # That ink is L* = 70, which is Y = 0.4075 (CIE 15), which is 171 in sRGB.
    assert np.abs(pixels(decode(with_profile, RULES).rgb) - 171).max() <= 2
    without = museum.save(cyan, "JPEG", quality=95)
    assert np.abs(pixels(decode(without, RULES).rgb) - (0, 255, 255)).max() <= 2


def test_cmyk_without_profile_by_hand() -> None:
    with opened(museum.CMYK_ADOBE) as plain:
        cyan, magenta, yellow, black = np.moveaxis(pixels(plain), -1, 0)
    by_hand = np.stack([(255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow)], -1)
    assert np.abs(pixels(decode(museum.CMYK_ADOBE, RULES).rgb) - by_hand).max() <= 1
    assert np.array_equal(
        pixels(decode(museum.READABLE["jpeg_cmyk_without_adobe_marker"], RULES).rgb),
        pixels(decode(museum.CMYK_ADOBE, RULES).rgb),
    )


@pytest.mark.parametrize("primaries", [museum.SRGB_PRIMARIES])
def test_a_profile_that_does_nothing_costs_nothing(primaries: tuple) -> None:
    from PIL import ImageCms

    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert colour._transform(own, "RGB") is None
    assert colour._transform(museum.rgb_profile(), "RGB") is not None
    assert colour._transform(museum.rgb_profile(primaries, gamma=2.2), "RGB") is not None
    data = museum.with_profile(own)
    with opened(data) as plain:
        assert np.array_equal(pixels(plain), pixels(decode(data, RULES).rgb))


def test_the_transforms_kept_are_few() -> None:
    for step in range(colour._MAX_TRANSFORMS + 10):
        colour._transform(museum.rgb_profile(gamma=1.0 + step / 100), "RGB")
    assert len(colour._transforms) == colour._MAX_TRANSFORMS


# Alpha and depth --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", museum.TRANSPARENT)
def test_alpha_is_put_on_white(name: str) -> None:
    data = museum.TRANSPARENT[name]
    with opened(data) as plain:
        rgba = pixels(plain.convert("RGBA"))
    colours, alpha = rgba[..., :3], rgba[..., 3:]
    assert alpha.min() < 100
    by_hand = np.floor((colours * alpha + 255 * (255 - alpha)) / 255 + 0.5)
    assert np.abs(pixels(decode(data, RULES).rgb) - by_hand).max() <= 1


@pytest.mark.parametrize("bit_depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_level_is_named_in_the_files_depth(bit_depth: int) -> None:
    most = (1 << bit_depth) - 1
    levels = (np.arange(64).reshape(8, 8) % min(most + 1, 64)).astype(np.uint16)
    data = museum.png_of_levels(
        levels,
        bit_depth,
        0,
        before=(museum.chunk(b"tRNS", struct.pack(">H", 1)),),
        size=(8, 8),
    )
    shown = levels.astype(int) >> 8 if bit_depth == 16 else levels.astype(int) * 255 // most
    by_hand = np.where(levels == 1, 255, shown)
    assert np.array_equal(pixels(decode(data, RULES).rgb), np.stack([by_hand] * 3, -1))


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_a_transparent_colour_is_named_in_the_files_depth(bit_depth: int) -> None:
    scale = 257 if bit_depth == 16 else 1
    levels = museum.draw().astype(np.uint16) * scale
    named = levels[0, 0]
    data = museum.png_of_levels(
        levels.reshape(museum.HEIGHT, -1),
        bit_depth,
        2,
        before=(museum.chunk(b"tRNS", struct.pack(">3H", *named)),),
    )
    by_hand = museum.draw().astype(int)
    by_hand[(levels == named).all(-1)] = 255
    assert np.array_equal(pixels(decode(data, RULES).rgb), by_hand)


# Orientation ------------------------------------------------------------------------------------

TURNED = {
    # EXIF 2.32: where row 0 and column 0 of the coded picture are seen.
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("format", FORMATS)
def test_pictures_are_turned_as_they_are_displayed(format: str, orientation: int) -> None:
    turned, plain = {
        "jpeg": (museum.jpeg_turned(orientation), museum.JPEG),
        "png": (museum.png_turned(orientation), museum.PNG),
        "webp": (museum.webp_turned(orientation), museum.WEBP),
    }[format]
    decoded = decode(turned, RULES)
    expected = TURNED[orientation](pixels(decode(plain, RULES).rgb))
    assert np.array_equal(pixels(decoded.rgb), expected)
    assert (decoded.height, decoded.width) == expected.shape[:2]


def test_orientation_is_read_in_both_byte_orders() -> None:
    little = decode(museum.jpeg_turned(6, big_endian=False), RULES)
    assert little.rgb == decode(museum.jpeg_turned(6), RULES).rgb
    assert (little.width, little.height) == (museum.HEIGHT, museum.WIDTH)


def test_of_an_animation_the_still_picture_counts() -> None:
    for name in ("png_animated", "webp_animated"):
        decoded = decode(museum.READABLE[name], RULES)
        assert np.array_equal(pixels(decoded.rgb), museum.draw()), name


# What is stored ---------------------------------------------------------------------------------

SIZES = [(64, 64), (640, 480), (480, 640), (63, 65), (1, 1), (3, 2), (1000, 7), (7, 1000), (1, 500)]


@pytest.mark.parametrize("size", SIZES)
def test_border_is_always_the_square_with_the_picture_in_the_middle(size: tuple[int, int]) -> None:
    width, height = size
    black = decoded_of(np.zeros((height, width, 3), np.uint8))
    stored = store(black, b"", RULES)
    assert (stored.width, stored.height, stored.extension) == (64, 64, "jpg")
    with opened(stored.data) as copy:
        assert (copy.size, copy.format, copy.mode) == ((64, 64), "JPEG", "RGB")
    drawn = pixels(image._resize(black, RULES))[..., 0] < 128
    inside_width = max(1, round(64 * width / max(size)))
    inside_height = max(1, round(64 * height / max(size)))
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    assert (len(columns), len(rows)) == (inside_width, inside_height)
    assert columns[0] == (64 - inside_width) // 2
    assert rows[0] == (64 - inside_height) // 2
    assert drawn.sum() == inside_width * inside_height


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (85, 64)),
        ((480, 640), (64, 85)),
        ((10, 10), (64, 64)),
        ((128, 193), (64, 97)),  # 96.5 is rounded half up
        ((3, 1), (192, 64)),
    ],
)
def test_keep_ratio_makes_the_short_side_right(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    stored = store(
        decoded_of(np.zeros((size[1], size[0], 3), np.uint8)), b"", rules(resize="keep-ratio")
    )
    assert (stored.width, stored.height) == expected
    with opened(stored.data) as copy:
        assert copy.size == expected


def test_center_crop_is_the_middle_square() -> None:
    # Soft, as photographs are: where neighbours differ most, the resamplers clip at another step.
    noise = np.random.default_rng(5).integers(0, 256, (4, 12, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((180, 60), Image.Resampling.BILINEAR))
    shown = image._resize(decoded_of(picture), rules(resize="center-crop"))
    whole = Image.fromarray(picture).resize((192, 64), Image.Resampling.BICUBIC)
    assert np.abs(pixels(shown) - pixels(whole)[:, 64:128]).max() <= 2
    stored = store(decoded_of(picture), b"", rules(resize="center-crop"))
    assert (stored.width, stored.height) == (64, 64)


def test_a_ribbon_that_would_grow_too_long_is_dropped_before_decoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ribbon = museum.save(Image.new("RGB", (1, 10_000)), "PNG")
    decoded = decode(ribbon, RULES)
    assert (store(decoded, ribbon, RULES).width, decoded.height) == (64, 10_000)
    assert store(decoded, ribbon, rules(resize="center-crop")).height == 64
    monkeypatch.setattr(image, "_render", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError) as caught:
        decode(ribbon, rules(resize="keep-ratio"))
    assert caught.value.drop == Drop.ASPECT


@pytest.mark.parametrize("sides", [(1, 65_500), (65_500, 1), (65_500, 137), (137, 65_500)], ids=str)
@pytest.mark.parametrize("resize", RESIZE_MODES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "progressive JPEG"])
def test_the_longest_sides_are_stored_or_are_a_drop(
    sides: tuple[int, int], resize: str, kind: str
) -> None:
    data = museum.save(
        Image.new("RGB", sides, (9, 99, 199)),
        kind.split()[-1],
        **({"progressive": True} if "progressive" in kind else {}),
    )
    for scaled_decode in (False, True):
        these = rules(resize=resize, scaled_decode=scaled_decode)
        if resize == "keep-ratio" and 1 in sides:
            with pytest.raises(DataError) as caught:
                decode(data, these)
            assert caught.value.drop == Drop.ASPECT
            continue
        decoded = decode(data, these)
        stored = store(decoded, data, these)
        with opened(stored.data) as copy:
            assert copy.size == (stored.width, stored.height)
        shown = decoded.rgb if resize == "none" else image._resize(decoded, these)
        levels = pixels(shown)[(shown.height - 1) // 2, (shown.width - 1) // 2]
        assert np.abs(levels - (9, 99, 199)).max() <= 2


@pytest.mark.parametrize("sides", [(65_501, 1), (1, 65_501), (89_478_484, 1), (1, 89_478_484)])
@pytest.mark.parametrize("resize", RESIZE_MODES)
def test_a_longer_side_is_dropped_before_decoding(
    sides: tuple[int, int], resize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow has no memory for the third, and the weights to shrink the last take 3 GB."""
    data = museum.png(b"\0" * 3, 3, 8, 2, size=sides)
    monkeypatch.setattr(image, "_render", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError) as caught:
        decode(data, rules(resize=resize))
    assert caught.value.drop == Drop.PIXELS
    assert "65500 a side" in caught.value.detail


PEAK = """
import re, sys
from pathlib import Path
from webpairs.image.decode import ImageRules, decode, store
these = ImageRules(min_bytes=0, max_pixels=10**8, formats=("png",), size_px=64, resize=sys.argv[1], jpeg_quality=95)
for path in sys.argv[2:]:
    data = Path(path).read_bytes()
    store(decode(data, these), data, these)
    print(re.search("VmHWM: *(.*) kB", Path("/proc/self/status").read_text())[1])
"""  # noqa: E501


@pytest.mark.parametrize("resize", ["border", "keep-ratio"])
@pytest.mark.parametrize("sides", [(65_500, 137), (137, 65_500)], ids=str)
def test_memory_is_a_few_bytes_a_pixel_whatever_the_shape(
    sides: tuple[int, int], resize: str, tmp_path: Path
) -> None:
    (tmp_path / "first.png").write_bytes(museum.PNG)
    Image.new("RGB", sides).save(tmp_path / "long.png")
    line = [sys.executable, "-c", PEAK, resize, tmp_path / "first.png", tmp_path / "long.png"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    before, after = (1024 * int(peak) for peak in done.stdout.split())
    # 4 as decoded; when the copy stays long, as much as half of it again between the two passes.
    assert 4 <= (after - before) / (sides[0] * sides[1]) < 8


@pytest.mark.parametrize("factor", [2, 4.3, 11])
def test_shrinking_averages_what_it_leaves_out(factor: float) -> None:
    """Nearest neighbours would be off by tens of levels, fast averaging alone by several."""
    rng = np.random.default_rng(1)
    side = int(64 * factor)
    noise = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
    smooth = Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)
    shown = image._resize(decoded_of(noise), RULES)
    assert np.abs(pixels(shown) - pixels(smooth)).mean() < 2.5


def test_a_stored_copy_has_no_metadata_and_is_the_same_each_time() -> None:
    for data in museum.PRIVATE.values():
        stored = store(decode(data, RULES), data, RULES)
        assert stored == store(decode(data, RULES), data, RULES)
        markers = [stored.data[at + 1] for at in range(len(stored.data)) if stored.data[at] == 0xFF]
        assert not {0xE1, 0xE2, 0xED, 0xFE} & set(markers[: markers.index(0xDA)])
        with opened(stored.data) as copy:
            assert set(copy.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_copy_is_the_same_with_and_without_vector_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Plain(Resizer):
        def __init__(self) -> None:
            super().__init__()
            self.cpu_extensions = CpuExtensions.none
            used.append(self)

    used: list[Plain] = []
    rng = np.random.default_rng(2)
    pictures = [
        decoded_of((rng.integers(0, most, (97, 211, 3)) * 5).astype("u1")) for most in (2, 51)
    ]
    modes = [rules(resize=resize) for resize in ("border", "keep-ratio", "center-crop")]
    usual = [store(picture, b"", these) for picture in pictures for these in modes]
    monkeypatch.setattr(image, "Resizer", Plain)
    assert [store(picture, b"", these) for picture in pictures for these in modes] == usual
    assert len(used) == len(usual)


# Scaled decoding --------------------------------------------------------------------------------


def soft(width: int, height: int) -> Image.Image:
    """Draw noise as soft as a photograph, where a copy of 64 px has no more to show."""
    noise = np.random.default_rng(3).integers(0, 256, (height // 6, width // 6, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def decibels(one: bytes, other: bytes) -> float:
    with opened(one) as a, opened(other) as b:
        return 10 * np.log10(255**2 / np.square(pixels(a) - pixels(b)).mean())


# Neither side is a multiple of 8, so a reduced picture ends in pixels that are not all picture.
SCALABLE = {
    "baseline": museum.save(soft(577, 289), "JPEG", quality=90),
    "progressive": museum.save(soft(577, 289), "JPEG", quality=90, progressive=True),
    "4:4:4": museum.save(soft(289, 577), "JPEG", quality=90, subsampling=0),
    "grey": museum.save(soft(291, 579).convert("L"), "JPEG", quality=90),
    "CMYK": museum.save(soft(581, 285).convert("CMYK"), "JPEG", quality=90),
    "with profile": museum.with_profile(museum.rgb_profile(), soft(577, 289)),
    **{
        f"turned {orientation}": museum.after_soi(
            museum.save(soft(577, 289), "JPEG", quality=90),
            museum.segment(0xE1, b"Exif\0\0" + museum.exif(orientation)),
        )
        for orientation in range(2, 9)
    },
}


@pytest.mark.parametrize("resize", ["border", "keep-ratio", "center-crop"])
@pytest.mark.parametrize("kind", SCALABLE)
def test_scaled_decoding_makes_nearly_the_same_copy(
    kind: str, resize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SCALABLE[kind]
    whole, scaled = rules(resize=resize), rules(resize=resize, scaled_decode=True)
    full, reduced = decode(data, whole), decode(data, scaled)
    assert reduced.rgb.width < 0.6 * full.rgb.width
    assert (reduced.width, reduced.height) == (full.width, full.height) == full.rgb.size
    expected, copy = store(full, data, whole), store(reduced, data, scaled)
    assert (copy.width, copy.height) == (expected.width, expected.height)
    assert decibels(expected.data, copy.data) > 36
    assert store(decode(data, scaled), data, scaled) == copy  # the same each time
    monkeypatch.setattr(image, "SCALED_DECODE", 0.9)
    too_small = store(decode(data, scaled), data, scaled)
    assert decibels(expected.data, too_small.data) < 36


@pytest.mark.parametrize("resize", ["border", "keep-ratio", "center-crop"])
def test_scaled_decoding_never_makes_a_copy_grow(resize: str) -> None:
    for width, height in ((191, 191), (192, 192), (767, 130), (130, 1535), (1536, 1536)):
        data = museum.save(Image.new("RGB", (width, height)), "JPEG")
        these = rules(resize=resize, scaled_decode=True)
        decoded = decode(data, these)
        fitted = (max if resize == "border" else min)(width, height)
        kept = (max if resize == "border" else min)(decoded.rgb.size)
        assert kept >= min(fitted, image.SCALED_DECODE * these.size_px)
        assert (decoded.width, decoded.height) == (width, height)


def test_scaled_decoding_is_for_jpegs_that_are_resampled() -> None:
    for name, data in {
        "png": museum.save(soft(577, 289), "PNG"),
        "webp": museum.save(soft(577, 289), "WEBP"),
        **{f"{kind}, none": data for kind, data in SCALABLE.items()},
    }.items():
        resize = "none" if "none" in name else "border"
        decoded = decode(data, rules(resize=resize, scaled_decode=True))
        assert decoded == decode(data, rules(resize=resize)), name
        assert decoded.rgb.size == (decoded.width, decoded.height)


SECRETS = (
    b"secret",
    b"tIME",
    b"SecretMaker",
    struct.pack(">6I", 59, 1, 17, 1, 42, 1),
    museum.THUMBNAIL,
)


@pytest.mark.parametrize("format", FORMATS)
def test_without_resizing_metadata_goes_and_not_one_pixel_changes(format: str) -> None:
    data = museum.PRIVATE[format]
    assert any(secret in data for secret in SECRETS)
    keep = rules(resize="none")
    decoded = decode(data, keep)
    stored = store(decoded, data, keep)
    for secret in SECRETS:
        assert secret not in stored.data
    assert (stored.width, stored.height) == (museum.HEIGHT, museum.WIDTH)  # turned by EXIF
    assert stored.extension == {"jpeg": "jpg"}.get(format, format)
    with opened(data) as before, opened(stored.data) as after:
        assert np.array_equal(pixels(before), pixels(after))
        assert after.info["icc_profile"] == museum.rgb_profile()
        assert dict(after.getexif()) == {0x0112: 6}
    again = decode(stored.data, keep)
    assert again.rgb == decoded.rgb
    assert strip_metadata(stored.data, format) == stored.data


@pytest.mark.parametrize("name", [*museum.READABLE, *museum.TRANSPARENT])
def test_without_resizing_every_readable_file_still_shows_the_same(name: str) -> None:
    data = {**museum.READABLE, **museum.TRANSPARENT}[name]
    keep = rules(resize="none")
    decoded = decode(data, keep)
    assert decode(store(decoded, data, keep).data, keep).rgb == decoded.rgb


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg_progressive", "png", "png_palette", "webp", "webp_lossless"]
)
def test_without_resizing_a_file_without_metadata_is_stored_as_received(name: str) -> None:
    data = museum.READABLE[name]
    keep = rules(resize="none")
    assert store(decode(data, keep), data, keep).data == data


@pytest.mark.parametrize("name", ["png_animated", "webp_animated"])
def test_without_resizing_only_the_frame_that_was_read_is_stored(name: str) -> None:
    data = museum.READABLE[name]
    keep = rules(resize="none")
    with opened(data) as before, opened(store(decode(data, keep), data, keep).data) as after:
        assert (before.n_frames, after.n_frames) == (2, 1)


@pytest.mark.parametrize("name", sorted(museum.PILLOW_REFUSES))
def test_without_resizing_parts_that_other_readers_stumble_over_go(name: str) -> None:
    data = museum.READABLE[name]
    keep = rules(resize="none")
    stored = store(decode(data, keep), data, keep)
    with opened(stored.data) as copy:
        assert pixels(copy.convert("RGB")).shape == (museum.HEIGHT, museum.WIDTH, 3)
    assert len(stored.data) < 2000


def test_a_profile_that_inflates_without_end_is_not_inflated() -> None:
    data = museum.READABLE["png_with_profile_that_inflates_to_20_mb"]
    tracemalloc.start()
    decode(data, RULES)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 3 * MAX_PROFILE_BYTES < 20_000_000


# The rules --------------------------------------------------------------------------------------


def test_the_recipes_rules_are_accepted() -> None:
    recipe = load_recipe("laion400m")
    ImageRules(
        min_bytes=recipe.min_image_bytes,
        max_pixels=recipe.max_pixels,
        formats=recipe.formats,
        size_px=recipe.image_size_px,
        resize=recipe.resize,
        jpeg_quality=recipe.jpeg_quality,
    )
    assert ImageRules.of_recipe(recipe).image_format == "jpeg"


@pytest.mark.parametrize(
    "change",
    [
        {"min_bytes": -1},
        {"max_pixels": 0},
        {"formats": ()},
        {"formats": ("gif",)},
        {"size_px": 0},
        {"size_px": 70_000},
        {"resize": "stretch"},
        {"jpeg_quality": 0},
        {"jpeg_quality": 101},
        {"min_side_px": -1},
        {"max_aspect": 0.99},
        {"max_aspect": float("nan")},
        {"image_format": "jpg"},
        {"png_compression": 10},
        {"webp_quality": 0},
    ],
    ids=str,
)
def test_a_bad_rule_is_refused(change: dict) -> None:
    with pytest.raises(ConfigError, match="use"):
        rules(**change)


# Which shapes are kept: img2dataset's min_image_size and max_aspect_ratio -------------------------


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("size", "change", "drop"),
    [
        ((40, 30), {"min_side_px": 30}, None),
        ((40, 30), {"min_side_px": 31}, Drop.SIDE),
        ((30, 40), {"min_side_px": 31}, Drop.SIDE),
        ((60, 20), {"max_aspect": 3.0}, None),
        ((61, 20), {"max_aspect": 3.0}, Drop.ASPECT),
        ((20, 61), {"max_aspect": 3.0}, Drop.ASPECT),
        ((20, 20), {"max_aspect": 1.0}, None),
        ((21, 20), {"max_aspect": 1.0}, Drop.ASPECT),
        ((61, 20), {"min_side_px": 21, "max_aspect": 3.0}, Drop.SIDE),
    ],
)
def test_shapes_that_are_not_wanted_are_dropped_before_decoding(
    size: tuple[int, int],
    change: dict,
    drop: Drop | None,
    orientation: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = museum.save(Image.new("RGB", size, (9, 99, 199)), "JPEG", exif=exif)
    for resize in RESIZE_MODES:
        these = rules(resize=resize, **change)
        if drop is None:
            decode(data, these)
            continue
        with monkeypatch.context() as patch:
            patch.setattr(image, "_render", lambda *_: pytest.fail("decoded"))
            with pytest.raises(DataError) as caught:
                decode(data, these)
        assert caught.value.drop == drop
        assert f"{max(size)}" in caught.value.detail


# What is stored ---------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", [mode for mode in RESIZE_MODES if mode != "none"])
@pytest.mark.parametrize("image_format", STORED_FORMATS)
def test_each_format_is_stored_under_its_extension(image_format: str, resize: str) -> None:
    received = museum.JPEG
    these = rules(resize=resize, image_format=image_format)
    decoded = decode(received, these)
    stored = store(decoded, received, these)
    assert stored.data == store(decoded, received, these).data
    assert sniff(stored.data) == image_format
    assert stored.extension == {"jpeg": "jpg"}.get(image_format, image_format)
    # What is stored is what a build takes, and has no metadata.
    again = decode(stored.data, rules())
    assert again.rgb.size == (stored.width, stored.height)
    assert strip_metadata(stored.data, image_format) == stored.data
    shown = image._resize(decoded, these)
    if image_format == "png":
        assert again.rgb.tobytes() == shown.tobytes()
    else:
        assert np.abs(pixels(again.rgb).astype(int) - pixels(shown)).mean() < 4


@pytest.mark.parametrize(
    ("image_format", "field", "small", "large"),
    [
        ("jpeg", "jpeg_quality", 10, 95),
        ("webp", "webp_quality", 10, 95),
        ("png", "png_compression", 9, 0),
    ],
)
def test_the_quality_of_each_format(image_format: str, field: str, small: int, large: int) -> None:
    def num_bytes(quality: int) -> int:
        these = rules(image_format=image_format, **{field: quality})
        decoded = decode(museum.JPEG, these)
        return len(store(decoded, museum.JPEG, these).data)

    assert num_bytes(small) < num_bytes(large)


def test_a_webp_that_would_be_too_long_is_a_drop() -> None:
    ribbon = museum.save(Image.new("RGB", (10, 4_000)), "PNG")
    these = {"resize": "keep-ratio", "size_px": 64}
    assert store(decode(ribbon, rules(**these)), ribbon, rules(**these)).height == 25_600
    with pytest.raises(DataError) as caught:
        decode(ribbon, rules(**these, image_format="webp"))
    assert caught.value.drop == Drop.ASPECT


def test_names_of_formats_are_images_or_not() -> None:
    assert set(FORMATS) <= IMAGES
    assert sniff(b"") is None
    assert sniff(b"\xef\xbb\xbf \n<SVG width='1'>") == "svg"
    assert sniff(b"<!-- <svg> -->\n<!-- --> <html>") == "html"
    assert sniff(b"<rss><channel>") is None


# Any bytes --------------------------------------------------------------------------------------

SMALL = [
    data for data in {**museum.READABLE, **museum.TRANSPARENT}.values() if len(data) < 4000
]  # fmt: skip


def must_decode_or_drop(data: bytes, resize: str = "border") -> None:
    these = rules(resize=resize, max_pixels=1_000_000)
    try:
        decoded = decode(data, these)
    except DataError:
        return
    stored = store(decoded, data, these)
    with opened(stored.data) as copy:
        copy.load()
        if resize == "none":
            assert {copy.size, copy.size[::-1]} >= {(stored.width, stored.height)}
        else:
            assert copy.size == (stored.width, stored.height)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_decode_or_are_dropped(data: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBP"):
        must_decode_or_drop(start + data)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SMALL)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(["flip", "set", "cut", "repeat", "insert"]))
        if kind == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
            data = data or bytearray(b"\0")
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


@given(damaged(), st.sampled_from(["border", "none"]))
@settings(max_examples=600, deadline=None)
def test_any_damage_decodes_or_is_dropped(data: bytes, resize: str) -> None:
    must_decode_or_drop(data, resize)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 80), st.sampled_from(RESIZE_MODES))
@settings(max_examples=60, deadline=None)
def test_whatever_the_shape_the_copy_has_the_size_it_says(
    width: int, height: int, size_px: int, resize: str
) -> None:
    these = rules(size_px=size_px, resize=resize)
    received = museum.save(Image.new("RGB", (width, height), (9, 99, 199)), "PNG")
    stored = store(decode(received, these), received, these)
    with opened(stored.data) as copy:
        assert copy.size == (stored.width, stored.height)
    if resize in ("border", "center-crop"):
        assert copy.size == (size_px, size_px)
    elif resize == "keep-ratio":
        assert min(copy.size) == size_px
    elif resize == "keep-ratio-largest":
        assert max(copy.size) == size_px
    else:
        assert (stored.data, copy.size) == (received, (width, height))


@pytest.mark.parametrize("scaled_decode", [False, True])
def test_many_threads_get_what_one_gets(scaled_decode: bool) -> None:
    files = [museum.with_profile(museum.rgb_profile(gamma=1 + n / 10)) for n in range(8)]
    files += [museum.WEBP, museum.PNG, museum.READABLE["jpeg_cmyk_of_adobe"], *SCALABLE.values()]
    these = rules(scaled_decode=scaled_decode)
    alone = [store(decode(data, these), data, these).data for data in files]
    colour._transforms.clear()
    start = threading.Barrier(4)

    def all_of_them(_: int) -> list[bytes]:
        start.wait(timeout=30)
        return [store(decode(data, these), data, these).data for data in files]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(all_of_them, range(4))) == [alone] * 4
