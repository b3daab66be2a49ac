"""A sentence embedder as small as a real one can be: a table of ten words, no layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = ("[UNK]", "moon", "river", "verse", "function", "list", "loop", "apples", "price", "total")
TABLE = np.random.default_rng(0).normal(size=(len(WORDS), 16)).astype(np.float32)


def write_model(folder: Path, *, takes: tuple[str, ...] = ("input_ids", "attention_mask")) -> Path:
    """`model.onnx`, from ids (1, s) to a row of `TABLE` for each, (1, s, 16), and its `tokenizer.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "s"]) for name in takes]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [1, "s", 16])
    nodes = [helper.make_node("Gather", ["table", takes[0]], ["last_hidden_state"])]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], [numpy_helper.from_array(TABLE, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
