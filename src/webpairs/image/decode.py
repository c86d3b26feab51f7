"""Turning bytes from the web into an RGB picture, and a picture into the copy that is stored.

`docs/images.md` says what is done and why, with the source of each rule.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from webpairs.drops import Drop
from webpairs.errors import ConfigError, DataError
from webpairs.image.blur import Box, blur_boxes
from webpairs.image.colour import convert_to_srgb
from webpairs.image.container import Container, read_container, strip_metadata
from webpairs.image.sniff import FORMATS, IMAGES, sniff
from webpairs.recipes.recipe import RESIZE_MODES, STORED_FORMATS, Recipe

__all__ = ["Decoded", "ImageRules", "Stored", "decode", "sniff", "store"]

MAX_SIDE_PX: Final = 65_500
"""libjpeg's JPEG_MAX_DIMENSION (jmorecfg.h), for every format: of a PNG that is a line of pixels,
Pillow has no memory for 2^31 bits, and the resampler's weights take some 40 bytes a pixel."""
_MAX_STORED_SIDE_PX: Final = {"jpeg": MAX_SIDE_PX, "png": MAX_SIDE_PX, "webp": 16_383}
"""libwebp's WEBP_MAX_DIMENSION (encode.h)."""

# The plugins are called directly: `Image.open` would look for a second picture in a JPEG and warn
# of large images by a process-wide setting, where the cap is the recipe's and checked before.
_OPEN: Final = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
_EXTENSIONS: Final = {"jpeg": "jpg", "png": "png", "webp": "webp"}
_TURNS: Final = {
    # EXIF 2.32, tag 0x0112.
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE: Final = (255, 255, 255)

SCALED_DECODE: Final = 1.5
"""A JPEG that is decoded at a reduced scale stays so many times larger than its stored copy.
As measured (docs/images.md) that copy is at most 1.8 dB further from the picture than a full
decode's, 0.6 dB as a JPEG, and nearer than OpenCV's area averaging."""
_BICUBIC: Final = ResizeAlg.convolution(FilterType.catmull_rom)
"""Pillow's BICUBIC (a = -0.5, antialiased), CLIP's own filter, in a tenth of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRules:
    """State every rule that changes which images are kept and which bytes are stored."""

    min_bytes: int
    max_pixels: int
    formats: tuple[str, ...]
    size_px: int
    resize: str
    jpeg_quality: int
    min_side_px: int = 0
    max_aspect: float | None = None
    image_format: str = "jpeg"
    png_compression: int = 6
    webp_quality: int = 95
    scaled_decode: bool = False
    """Decode JPEGs no larger than the stored copy needs: for builds in which no model looks."""

    def __post_init__(self) -> None:
        if self.min_bytes < 0:
            raise ConfigError(f"least image size {self.min_bytes} bytes: use 0 or more")
        if self.max_pixels < 1:
            raise ConfigError(f"at most {self.max_pixels} pixels: use 1 or more")
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise ConfigError(f"image formats {self.formats}: use some of {', '.join(FORMATS)}")
        if not 1 <= self.size_px <= MAX_SIDE_PX:
            raise ConfigError(f"image size {self.size_px} px: use 1 to {MAX_SIDE_PX}")
        if self.resize not in RESIZE_MODES:
            raise ConfigError(f"resize mode {self.resize!r}: use one of {', '.join(RESIZE_MODES)}")
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"JPEG quality {self.jpeg_quality}: use 1 to 100")
        if self.min_side_px < 0:
            raise ConfigError(f"least side {self.min_side_px} px: use 0 or more")
        if self.max_aspect is not None and not self.max_aspect >= 1:
            raise ConfigError(f"aspect ratio {self.max_aspect:g}: use 1 or more")
        if self.image_format not in STORED_FORMATS:
            raise ConfigError(
                f"stored format {self.image_format!r}: use one of {', '.join(STORED_FORMATS)}"
            )
        if not 0 <= self.png_compression <= 9:
            raise ConfigError(f"PNG compression {self.png_compression}: use 0 to 9")
        if not 1 <= self.webp_quality <= 100:
            raise ConfigError(f"WebP quality {self.webp_quality}: use 1 to 100")

    @classmethod
    def of_recipe(cls, recipe: Recipe, *, scaled_decode: bool = False) -> ImageRules:
        """Return the rules of a recipe."""
        return cls(
            min_bytes=recipe.min_image_bytes,
            max_pixels=recipe.max_pixels,
            formats=recipe.formats,
            size_px=recipe.image_size_px,
            resize=recipe.resize,
            jpeg_quality=recipe.jpeg_quality,
            min_side_px=recipe.min_side_px,
            max_aspect=recipe.max_aspect,
            image_format=recipe.image_format,
            png_compression=recipe.png_compression,
            webp_quality=recipe.webp_quality,
            scaled_decode=scaled_decode,
        )


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as it is displayed: mode RGB, upright, sRGB, on white."""

    rgb: Image.Image
    """Of `width` x `height`, or smaller if `ImageRules.scaled_decode` allowed it."""
    format: str
    width: int
    height: int
    box: CropBox | None = None
    """Where in `rgb` the picture is, if not everywhere: a reduced one ends in parts of pixels."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The bytes that go into the dataset; `extension` has no dot."""

    data: bytes
    extension: str
    width: int
    height: int


def decode(data: bytes, rules: ImageRules, boxes: Sequence[Box] = ()) -> Decoded:
    """Check and decode an image of at most `rules.max_pixels`; safe to call from many threads.

    Of an animation, the picture that readers without animation show: the first frame of a WebP, the
    default image of a PNG. `boxes` are blurred, as places in the picture before EXIF turns it,
    which is how img2dataset sees it. Raise DataError, and nothing else whatever the bytes, with
    TOO_SMALL, NOT_AN_IMAGE, FORMAT, PIXELS, SIDE (shorter than `rules.min_side_px`), ASPECT (more
    than `rules.max_aspect`, or the stored copy would be too long), TRUNCATED or UNDECODABLE.
    MemoryError passes: it is the machine's trouble and not the image's.
    """
    if len(data) < rules.min_bytes:
        raise DataError(Drop.TOO_SMALL, f"{len(data)} bytes, at least {rules.min_bytes}")
    format = sniff(data)
    if format not in IMAGES:
        begins = f"begins with {data[:8].hex(' ')}" if data else "no bytes"
        raise DataError(Drop.NOT_AN_IMAGE, f"looks like {format}" if format else begins)
    if format not in rules.formats:
        raise DataError(Drop.FORMAT, f"{format}, not {', '.join(rules.formats)}")
    container = read_container(data, format)
    if container.width * container.height > rules.max_pixels:
        raise DataError(
            Drop.PIXELS, f"{container.width}x{container.height}, at most {rules.max_pixels} pixels"
        )
    sides = (container.width, container.height)
    if max(sides) > MAX_SIDE_PX:
        raise DataError(Drop.PIXELS, f"{sides[0]}x{sides[1]}, at most {MAX_SIDE_PX} a side")
    width, height = reversed(sides) if container.orientation >= 5 else sides
    _check_shape(width, height, rules)
    _check_stored_size(width, height, rules)
    try:
        rgb, box = _render(container, rules, boxes)
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DataError(Drop.PIXELS, str(error)) from error
    except Exception as error:
        # Pillow's decoders raise about ten unrelated types on broken files.
        drop = Drop.TRUNCATED if "truncated" in str(error) else Drop.UNDECODABLE
        raise DataError(drop, f"{type(error).__name__}: {error}") from error
    return Decoded(rgb=rgb, format=format, width=width, height=height, box=box)


def _render(
    container: Container, rules: ImageRules, boxes: Sequence[Box]
) -> tuple[Image.Image, CropBox | None]:
    image = _OPEN[container.format](io.BytesIO(container.picture))
    if image.size != (container.width, container.height):
        raise DataError(
            Drop.UNDECODABLE,
            f"{container.width}x{container.height} in one header, {image.size} in another",
        )
    box = None
    size = image.size
    if (
        rules.scaled_decode
        and rules.resize != "none"
        and isinstance(image, JpegImagePlugin.JpegImageFile)
    ):
        # Turning a picture turns its copy, so the sides as coded give the copy's sides as coded.
        width, height = _scaled_size(image.width, image.height, rules)
        least = math.ceil(width * SCALED_DECODE), math.ceil(height * SCALED_DECODE)
        drafted = image.draft("", least)  # an eighth, a quarter, a half, or nothing
        if drafted is not None:
            box = _turned_box(drafted[1][2:], image.size, container.orientation)
            size = math.ceil(drafted[1][2]), math.ceil(drafted[1][3])
    image.load()
    colour, alpha = _split(image, container.bit_depth)
    rgb = convert_to_srgb(colour, container.profile)
    if alpha is not None:
        canvas = Image.new("RGB", rgb.size, _WHITE)
        canvas.paste(rgb, mask=alpha)
        rgb = canvas
    if boxes:
        rgb = blur_boxes(rgb, boxes, size)
    if container.orientation != 1:
        rgb = rgb.transpose(_TURNS[container.orientation])
    rgb.info = {}  # or the profile, a comment and the like would be written with the stored copy
    return rgb, box


def _turned_box(inner: tuple[float, float], outer: tuple[int, int], orientation: int) -> CropBox:
    """Return where a picture of size `inner`, in the upper left of `outer`, is once turned."""
    width, height = inner
    right, below = outer[0] - width, outer[1] - height
    if orientation >= 5:
        width, height, right, below = height, width, below, right
    left = right if orientation in (2, 3, 6, 7) else 0.0
    top = below if orientation in (3, 4, 7, 8) else 0.0
    return CropBox(left, top, width, height)


def _split(image: Image.Image, bit_depth: int) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours (mode RGB, L or CMYK) and the alpha (mode L) or None."""
    transparent = image.info.get("transparency")
    if image.mode == "I;16":
        # The high byte of each sample, which is what Pillow's decoder keeps of 16-bit colour.
        samples = np.asarray(image)
        alpha = None
        if transparent is not None:
            alpha = Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8))
        return Image.fromarray((samples >> 8).astype(np.uint8)), alpha
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "P":
        image = image.convert("RGB" if transparent is None else "RGBA")
    elif transparent is not None:
        # A PNG names the transparent level in its own depth, Pillow compares it with 8-bit ones.
        image.info["transparency"] = _to_8_bits(transparent, bit_depth)
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode in ("RGBA", "LA"):
        return image.convert("RGB" if image.mode == "RGBA" else "L"), image.getchannel("A")
    if image.mode not in ("RGB", "L", "CMYK"):
        raise DataError(Drop.UNDECODABLE, f"pixels of mode {image.mode}")
    return image, None


def _to_8_bits(level: int | tuple[int, ...], bit_depth: int) -> int | tuple[int, ...]:
    if isinstance(level, tuple):
        return tuple(one >> (bit_depth - 8) for one in level)
    return level * 255 // ((1 << bit_depth) - 1)


def store(decoded: Decoded, received: bytes, rules: ImageRules) -> Stored:
    """Make the copy for the dataset, of the size and in the format of the rules, without metadata.

    With `resize` "none", the received picture under its own extension: what was coded stays byte
    for byte, metadata goes (docs/images.md says what and why).
    """
    if rules.resize == "none":
        return Stored(
            data=strip_metadata(received, decoded.format),
            extension=_EXTENSIONS[decoded.format],
            width=decoded.width,
            height=decoded.height,
        )
    copy = _resize(decoded, rules)
    out = io.BytesIO()
    if rules.image_format == "jpeg":
        # 4:2:0 and unoptimised Huffman tables are what OpenCV writes, and so img2dataset.
        copy.save(out, "JPEG", quality=rules.jpeg_quality, subsampling="4:2:0", optimize=False)
    elif rules.image_format == "png":
        copy.save(out, "PNG", compress_level=rules.png_compression)
    else:
        copy.save(out, "WEBP", quality=rules.webp_quality, method=4)
    extension = _EXTENSIONS[rules.image_format]
    return Stored(data=out.getvalue(), extension=extension, width=copy.width, height=copy.height)


def _scaled(side: int, numerator: int, denominator: int) -> int:
    """Return side * numerator / denominator, rounded half up, at least 1."""
    return max(1, (2 * side * numerator + denominator) // (2 * denominator))


def _scaled_size(width: int, height: int, rules: ImageRules) -> tuple[int, int]:
    """Return the size of the resampled picture, before a border is put around it."""
    if rules.resize == "center-crop":
        return rules.size_px, rules.size_px
    fitted = min(width, height) if rules.resize == "keep-ratio" else max(width, height)
    return _scaled(width, rules.size_px, fitted), _scaled(height, rules.size_px, fitted)


def _check_shape(width: int, height: int, rules: ImageRules) -> None:
    least, most = min(width, height), max(width, height)
    if least < rules.min_side_px:
        raise DataError(Drop.SIDE, f"{width}x{height}, at least {rules.min_side_px} px a side")
    if rules.max_aspect is not None and most > rules.max_aspect * least:
        raise DataError(
            Drop.ASPECT,
            f"{width}x{height} is {most / least:.4g} to 1, at most {rules.max_aspect:g}",
        )


def _check_stored_size(width: int, height: int, rules: ImageRules) -> None:
    if rules.resize == "none":
        return
    copy = _scaled_size(width, height, rules)
    most = _MAX_STORED_SIDE_PX[rules.image_format]
    if max(copy) > most or copy[0] * copy[1] > max(rules.max_pixels, rules.size_px**2):
        raise DataError(Drop.ASPECT, f"{width}x{height} would be stored as {copy[0]}x{copy[1]}")


def _resize(decoded: Decoded, rules: ImageRules) -> Image.Image:
    copy = Image.new("RGB", _scaled_size(decoded.width, decoded.height, rules))
    box = decoded.box or CropBox(0, 0, *decoded.rgb.size)
    if rules.resize == "center-crop":
        side = min(box.width, box.height)
        left, top = box.left + (box.width - side) / 2, box.top + (box.height - side) / 2
        box = CropBox(left, top, side, side)
    options = ResizeOptions(resize_alg=_BICUBIC, crop_box=box, use_alpha=False)
    # A new one each time: kept, it would keep its buffers, for a hundredth of a picture's time.
    Resizer().resize_pil(decoded.rgb, copy, options)
    if rules.resize == "border":
        canvas = Image.new("RGB", (rules.size_px, rules.size_px), _WHITE)
        canvas.paste(copy, ((rules.size_px - copy.width) // 2, (rules.size_px - copy.height) // 2))
        copy = canvas
    return copy
