"""Drawing the two towers of a CLIP as ONNX graphs over weights that lie in a file beside them.

The runtime maps that file, packs what it multiplies by and lets the rest go, so that one copy
stays, and protobuf's limit of 2 GB does not matter. Operators are ONNX's and two fused ones of
onnxruntime's own (`com.microsoft`), MultiHeadAttention and QuickGelu; none mixes samples. The last
block computes only the token that is read afterwards: a twelfth less work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from webpairs.clip.architecture import Architecture, Tower
from webpairs.clip.weights import Array, Weights

Drawn = tuple[ModelProto, dict[str, Array]]

IMAGES: Final = "images"
"""Input of the image tower: (n, side, side, 3) uint8."""
IDS: Final = "ids"
"""Input of the text tower: (n, length) int32."""
ENDS: Final = "ends"
"""Input of the text tower: (n,) int32, the position that is read, after which nothing counts."""
EMBEDDINGS: Final = "embeddings"
"""Output of either: (n, dim) float32, L2-normalised."""

WEIGHTS_FILE: Final = "weights"
"""Where the model looks for its weights, in its own folder."""

_OPSET: Final = 20  # the first with Gelu
_IR_VERSION: Final = 9  # what opset 20 came with: read by onnxruntime from 1.17 on
_RUNTIME: Final = "com.microsoft"


@dataclass(slots=True)
class Graph:
    """Collection of nodes and weights; `weights` holds what goes into the file, in its order."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def add(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Append an operator with one output; return that output's name."""
        name = f"{op_type}_{len(self.nodes)}"
        node = helper.make_node(op_type, inputs, [name], name, domain=domain, **attributes)
        self.nodes.append(node)
        return name

    def constant(self, value: int | Sequence[int] | npt.NDArray[Any]) -> str:
        """Put a small value into the graph itself; integers become int64."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name: str, value: Array) -> str:
        """Note a tensor that will lie in the file beside the model."""
        self.weights[name] = np.ascontiguousarray(value)
        return name

    def model(
        self, inputs: Mapping[str, tuple[int, Sequence[Any]]], output: str, dim: int
    ) -> ModelProto:
        """Finish: L2-normalise `output`, name the ends, check nothing (the runtime will)."""
        outside: list[TensorProto] = []
        offset = 0
        for name, value in self.weights.items():
            outside.append(_external(name, value, offset))
            offset += padded(value.nbytes)
        normalised = self.add("LpNormalization", output, axis=-1, p=2)
        self.nodes.append(helper.make_node("Identity", [normalised], [EMBEDDINGS]))
        graph = helper.make_graph(
            self.nodes,
            "clip",
            [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
            [helper.make_tensor_value_info(EMBEDDINGS, TensorProto.FLOAT, ["n", dim])],
            [*outside, *self.constants],
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_RUNTIME, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def image_tower(architecture: Architecture, weights: Weights) -> Drawn:
    """Return the graph from uint8 pixels to embeddings, and its weights."""
    graph, tower = Graph(), architecture.image
    x = _patches(graph, architecture, weights)
    if "visual.ln_pre.weight" in weights.shapes:
        x = _norm(graph, x, "visual.ln_pre", tower, weights)
    first = [graph.constant([0]), graph.constant([1]), graph.constant([1])]
    for layer in range(tower.layers):
        prefix = f"visual.transformer.resblocks.{layer}."
        if layer < tower.layers - 1:
            x = _block(graph, x, x, prefix, tower, weights)
        else:
            x = _block(graph, x, graph.add("Slice", x, *first), prefix, tower, weights)
    x = graph.add("Squeeze", x, graph.constant([1]))
    x = _norm(graph, x, "visual.ln_post", tower, weights)
    x = graph.add("MatMul", x, graph.weight("visual.proj", weights.read("visual.proj")))
    side = architecture.preprocessing.side_px
    inputs = {IMAGES: (TensorProto.UINT8, ["n", side, side, 3])}
    return graph.model(inputs, x, architecture.dim), graph.weights


def text_tower(architecture: Architecture, weights: Weights) -> Drawn:
    """Return the graph from token ids to embeddings, and its weights.

    Attention is causal, so a text's embedding does not depend on what stands after its end, and
    texts may be cut to any length at or after it.
    """
    graph, tower = Graph(), architecture.text
    table = graph.weight("token_embedding.weight", weights.read("token_embedding.weight"))
    places = graph.weight("positional_embedding", weights.read("positional_embedding"))
    length = graph.add("Shape", IDS, start=1, end=2)
    x = graph.add(
        "Add",
        graph.add("Gather", table, IDS, axis=0),
        graph.add("Slice", places, graph.constant([0]), length),
    )
    for layer in range(tower.layers):
        prefix = f"transformer.resblocks.{layer}."
        if layer < tower.layers - 1:
            x = _block(graph, x, x, prefix, tower, weights, causal=True)
        else:
            read, bias = _at_end(graph, x, length)
            x = _block(graph, x, read, prefix, tower, weights, bias=bias)
    x = graph.add("Squeeze", x, graph.constant([1]))
    x = _norm(graph, x, "ln_final", tower, weights)
    x = graph.add("MatMul", x, graph.weight("text_projection", weights.read("text_projection")))
    inputs = {IDS: (TensorProto.INT32, ["n", "length"]), ENDS: (TensorProto.INT32, ["n"])}
    return graph.model(inputs, x, architecture.dim), graph.weights


def _patches(graph: Graph, architecture: Architecture, weights: Weights) -> str:
    """Normalise the pixels as torchvision does, in its order; embed patches, class and place."""
    preprocessing, width = architecture.preprocessing, architecture.image.width
    patch = architecture.patch_px
    # what does not fill a patch is not seen, as in a convolution with a stride
    grid = preprocessing.side_px // patch
    x = graph.add("Cast", IMAGES, to=TensorProto.FLOAT)
    x = graph.add("Div", x, graph.constant(np.array([255], np.float32)))
    x = graph.add("Sub", x, graph.constant(np.array(preprocessing.mean, np.float32)))
    x = graph.add("Div", x, graph.constant(np.array(preprocessing.std, np.float32)))
    x = graph.add("Reshape", x, graph.constant([-1, grid, patch, grid, patch * 3]))
    x = graph.add("Transpose", x, perm=[0, 1, 3, 2, 4])
    x = graph.add("Reshape", x, graph.constant([-1, grid * grid, patch * patch * 3]))
    # (width, 3, patch, patch) -> (patch * patch * 3, width), the order of a row of x
    kernel = weights.read("visual.conv1.weight").transpose(2, 3, 1, 0).reshape(-1, width)
    x = graph.add("MatMul", x, graph.weight("visual.conv1.weight", kernel))
    name = "visual.class_embedding"
    one = graph.weight(name, weights.read(name).reshape(1, 1, width))
    shape = graph.add(
        "Concat", graph.add("Shape", x, start=0, end=1), graph.constant([1, 1]), axis=0
    )
    x = graph.add("Concat", graph.add("Expand", one, shape), x, axis=1)
    name = "visual.positional_embedding"
    return graph.add("Add", x, graph.weight(name, weights.read(name)))


def _at_end(graph: Graph, x: str, length: str) -> tuple[str, str]:
    """Return the token at the end of each text, (n, 1, width), and what it must not attend to."""
    column = graph.constant([1])
    ends = graph.add("Unsqueeze", graph.add("Cast", ENDS, to=TensorProto.INT64), column)
    read = graph.add("Unsqueeze", graph.add("GatherND", x, ends, batch_dims=1), column)
    scalar = graph.add("Squeeze", length, graph.constant([0]))
    places = graph.add("Range", graph.constant(0), scalar, graph.constant(1))
    bias = graph.add(
        "Where",
        graph.add("Greater", places, ends),
        graph.constant(np.array(np.finfo(np.float32).min)),
        graph.constant(np.array(0, np.float32)),
    )
    return read, graph.add("Unsqueeze", bias, graph.constant([1, 2]))  # (n, 1, 1, length)


def _block(
    graph: Graph,
    x: str,
    asking: str,
    prefix: str,
    tower: Tower,
    weights: Weights,
    *,
    causal: bool = False,
    bias: str = "",
) -> str:
    """Return the tokens `asking` after one pre-norm block in which they attend to tokens `x`."""
    keys = _norm(graph, x, f"{prefix}ln_1", tower, weights)
    queries = keys if asking == x else _norm(graph, asking, f"{prefix}ln_1", tower, weights)
    kernels = np.split(weights.read(f"{prefix}attn.in_proj_weight"), 3)
    biases = np.split(weights.read(f"{prefix}attn.in_proj_bias"), 3)
    q, k, v = (
        _linear(graph, tokens, f"{prefix}attn.{letter}", kernel, offset)
        for tokens, letter, kernel, offset in zip(
            (queries, keys, keys), "qkv", kernels, biases, strict=True
        )
    )
    attended = graph.add(
        "MultiHeadAttention",
        *(q, k, v, "", "", bias),
        domain=_RUNTIME,
        num_heads=tower.heads,
        unidirectional=int(causal),
    )
    x = graph.add("Add", asking, _read_linear(graph, attended, f"{prefix}attn.out_proj", weights))
    wide = _norm(graph, x, f"{prefix}ln_2", tower, weights)
    wide = _read_linear(graph, wide, f"{prefix}mlp.c_fc", weights)
    if tower.quick_gelu:
        wide = graph.add("QuickGelu", wide, domain=_RUNTIME, alpha=1.702)
    else:
        wide = graph.add("Gelu", wide, approximate="none")
    return graph.add("Add", x, _read_linear(graph, wide, f"{prefix}mlp.c_proj", weights))


def _norm(graph: Graph, x: str, name: str, tower: Tower, weights: Weights) -> str:
    scale, shift = f"{name}.weight", f"{name}.bias"
    for part in (scale, shift):
        if part not in graph.weights:
            graph.weight(part, weights.read(part))
    return graph.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=tower.epsilon)


def _read_linear(graph: Graph, x: str, name: str, weights: Weights) -> str:
    kernel, offset = weights.read(f"{name}.weight"), weights.read(f"{name}.bias")
    return _linear(graph, x, name, kernel, offset)


def _linear(graph: Graph, x: str, name: str, kernel: Array, offset: Array) -> str:
    """Multiply by a kernel of torch's order, (out, in), and add an offset."""
    x = graph.add("MatMul", x, graph.weight(f"{name}.weight", kernel.T))
    return graph.add("Add", x, graph.weight(f"{name}.bias", offset))


def padded(num_bytes: int) -> int:
    """Round up to a page: a tensor of the weights' file begins at one, so that it can be mapped."""
    return -(-num_bytes // 4096) * 4096


def _external(name: str, value: Array, offset: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=value.shape)
    tensor.data_location = TensorProto.EXTERNAL
    place = {"location": WEIGHTS_FILE, "offset": offset, "length": value.nbytes}
    for key, at in place.items():
        tensor.external_data.add(key=key, value=str(at))
    return tensor
