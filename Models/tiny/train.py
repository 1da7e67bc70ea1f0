"""Trains the tokenizer and the model: python train.py OUT [--steps N]. About eight minutes on one CPU thread."""

import argparse
import json
import pathlib
import random
import time

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional as F

import bank
import chats
from model import VOCABULARY, Model

# Qwen2's splitting rule; llama.cpp applies the same one for `tokenizer.ggml.pre = qwen2`.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LENGTH_MAX, BATCH_TOKENS = 2048, 4096


def train_tokenizer(conversations):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIALS, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    texts = [m["content"] for c in conversations for m in c]
    texts += [f" {word}" for word in bank.NAMES + bank.COLOURS] * 2000
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer, messages):
    """ChatML tokens, and a mask that is 1 where the model has to learn: the answers and their end."""
    start, end = tokenizer.token_to_id("<|im_start|>"), tokenizer.token_to_id("<|im_end|>")
    newline = tokenizer.encode("\n").ids
    tokens, mask = [], []
    for message in messages:
        head = [start, *tokenizer.encode(message["role"] + "\n").ids]
        body = [*tokenizer.encode(message["content"]).ids, end]
        tokens += head + body + newline
        mask += [0] * len(head) + [int(message["role"] == "assistant")] * len(body) + [0] * len(newline)
    return tokens[:LENGTH_MAX], mask[:LENGTH_MAX]


def batches(samples, rng):
    """Batches of about BATCH_TOKENS tokens, of samples of similar length so that little is padding."""
    while True:
        rng.shuffle(samples)
        batch_list = []
        for start in range(0, len(samples), 512):
            batch = []
            for sample in sorted(samples[start:start + 512], key=lambda s: len(s[0])):
                if batch and len(sample[0]) * (len(batch) + 1) > BATCH_TOKENS:
                    batch_list.append(batch)
                    batch = []
                batch.append(sample)
            batch_list.append(batch)
        rng.shuffle(batch_list)
        yield from batch_list


def tensors(batch):
    length = max(len(tokens) for tokens, _ in batch)
    tokens = torch.zeros(len(batch), length, dtype=torch.long)
    mask = torch.zeros(len(batch), length, dtype=torch.bool)
    for row, (ids, wanted) in enumerate(batch):
        tokens[row, :len(ids)] = torch.tensor(ids)
        mask[row, :len(ids)] = torch.tensor(wanted, dtype=torch.bool)
    return tokens, mask


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=4e-3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    rng = random.Random(1)

    conversations = list(chats.conversations(seed=1, number=20_000))
    tokenizer = train_tokenizer(conversations[:4000])
    tokenizer.save(str(options.out / "tokenizer.json"))
    samples = [encode(tokenizer, c) for c in conversations]
    print(f"{sum(len(t) for t, _ in samples) / len(samples):.0f} tokens a conversation, "
          f"longest {max(len(t) for t, _ in samples)}", flush=True)

    model = Model(LENGTH_MAX)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        lr=options.rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 60) * max(0.02, 1 - step / options.steps))

    source, begun, recent = batches(samples, rng), time.process_time(), []
    for step in range(options.steps):
        tokens, mask = tensors(next(source))
        hidden = model.hidden(tokens[:, :-1])
        wanted = mask[:, 1:]
        loss = F.cross_entropy(model.logits(hidden[wanted]), tokens[:, 1:][wanted])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if (step + 1) % 50 == 0:
            mean = sum(recent) / len(recent)
            print(f"step {step + 1}/{options.steps}  loss {mean:.3f}  {time.process_time() - begun:.0f} CPU s",
                  flush=True)
            recent = []
    torch.save(model.state_dict(), options.out / "model.pt")
    (options.out / "training.json").write_text(json.dumps({"steps": options.steps, "loss": loss.item()}) + "\n")


if __name__ == "__main__":
    main()
