"""Scoring pairs with CLIP: a model's two towers, its tokenizer, its preprocessing, its threshold.

`model.load_model` turns what the user wrote after `--model` into a `model.Model`. On the way:
`pretrained` (open_clip's names) and `hub` (the local cache, the download) find a folder;
`checkpoint` and `weights` read it; `architecture` says what network it is; `graph` draws that
network for onnxruntime, which `onnx_runtime` drives; `torch_runtime` is the way for GPUs and for
other architectures.
"""
