"""A Qwen2 decoder, small enough to train on one CPU thread."""

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, LAYERS, HEADS, KV_HEADS, FEED_FORWARD = 128, 4, 4, 2, 384
HEAD = WIDTH // HEADS
ROPE_BASE, EPSILON, VOCABULARY = 10000.0, 1e-6, 768


def rope_tables(length):
    frequencies = ROPE_BASE ** (-torch.arange(0, HEAD, 2).float() / HEAD)
    angles = torch.outer(torch.arange(length).float(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)  # the NEOX order, which llama.cpp uses for qwen2
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_norm = nn.RMSNorm(WIDTH, eps=EPSILON)
        self.attn_q = nn.Linear(WIDTH, HEADS * HEAD)
        self.attn_k = nn.Linear(WIDTH, KV_HEADS * HEAD)
        self.attn_v = nn.Linear(WIDTH, KV_HEADS * HEAD)
        self.attn_output = nn.Linear(HEADS * HEAD, WIDTH, bias=False)
        self.ffn_norm = nn.RMSNorm(WIDTH, eps=EPSILON)
        self.ffn_gate = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.ffn_up = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.ffn_down = nn.Linear(FEED_FORWARD, WIDTH, bias=False)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        h = self.attn_norm(x)
        q = self.attn_q(h).view(batch, length, HEADS, HEAD).transpose(1, 2)
        k = self.attn_k(h).view(batch, length, KV_HEADS, HEAD).transpose(1, 2)
        v = self.attn_v(h).view(batch, length, KV_HEADS, HEAD).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        groups = HEADS // KV_HEADS
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Model(nn.Module):
    def __init__(self, length):
        super().__init__()
        self.token_embd = nn.Embedding(VOCABULARY, WIDTH)
        self.blk = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = nn.RMSNorm(WIDTH, eps=EPSILON)
        cos, sin = rope_tables(length)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, value in self.named_parameters():
            if value.dim() == 2:
                scale = 0.5 if name.endswith(("attn_output.weight", "ffn_down.weight")) else 1.0
                nn.init.normal_(value, std=scale * 0.08)
            elif name.endswith("bias"):
                nn.init.zeros_(value)

    def hidden(self, tokens):
        length = tokens.shape[1]
        x = self.token_embd(tokens)
        for layer in self.blk:
            x = layer(x, self.cos[:length], self.sin[:length])
        return self.output_norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.token_embd.weight)  # tied, as in Qwen2's small models
