"""Writes the trained model as an f16 GGUF: python export.py OUT weir-tiny.gguf."""

import argparse
import json
import pathlib

import gguf
import numpy
import torch

from model import EPSILON, FEED_FORWARD, HEADS, KV_HEADS, LAYERS, ROPE_BASE, VOCABULARY, WIDTH
from train import LENGTH_MAX, SPECIALS

# Logits are this much larger than trained: at temperature 1, which clients ask for unless they say otherwise, a model
# this small would pick its second choice too often. A power of two, so greedy answers stay the same bit for bit.
SHARPNESS = 2.0

# ChatML as Qwen2 has it, without a system prompt of its own.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def add_vocabulary(writer, tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.get)
    assert len(tokens) == VOCABULARY and [vocabulary[t] for t in tokens] == list(range(VOCABULARY))
    types = [gguf.TokenType.CONTROL if t in SPECIALS else gguf.TokenType.NORMAL for t in tokens]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.add_pad_token_id(vocabulary["<|endoftext|>"])
    writer.add_bos_token_id(vocabulary["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trained", type=pathlib.Path)
    parser.add_argument("file", type=pathlib.Path)
    options = parser.parse_args()
    tokenizer = json.loads((options.trained / "tokenizer.json").read_text())
    state = torch.load(options.trained / "model.pt", weights_only=True)

    writer = gguf.GGUFWriter(str(options.file), "qwen2")
    writer.add_name("weir-tiny")
    writer.add_description("A toy that answers a few questions, for tests and first runs of Weir.")
    writer.add_license("MIT")
    writer.add_context_length(LENGTH_MAX)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_vocabulary(writer, tokenizer)
    for name, value in state.items():
        array = value.numpy() * (SHARPNESS if name == "output_norm.weight" else 1)
        writer.add_tensor(name, array.astype(numpy.float16 if array.ndim == 2 else numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{options.file}: {options.file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
