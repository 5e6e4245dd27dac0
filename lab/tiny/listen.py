"""Speech in, text out with the PyTorch model: test sets and greedy answers."""
import csv

import numpy as np
import torch
from scipy.io import wavfile
from torch import nn

import features
import model
import vocab


class Talker(nn.Module):
    """Adaptor and LLM: everything stage 1 trains."""

    def __init__(self, drop=0.0):
        super().__init__()
        self.adaptor = model.Adaptor()
        self.llm = model.Llama(vocab.SIZE, drop)


def test_rows(build, name, count=None):
    with open(f"{build}/test/{name}.tsv") as f:
        return list(csv.DictReader(f, delimiter="\t"))[:count]


def read_mel(path):
    samples = wavfile.read(path)[1].astype(np.float32) / 32768
    return features.log_mel(samples).T


@torch.no_grad()
def encode(encoder, mels, batch=16):
    return torch.cat([encoder(part) for part in mels.split(batch)])


def test_states(build, encoder, rows):
    """Encoder output of every test wav."""
    return encode(encoder, torch.stack([read_mel(f"{build}/test/{r['wav']}") for r in rows]))


def speech_prompt(net, states):
    """Rows of a first turn that was spoken."""
    b = len(states)
    head = net.llm.embed(torch.tensor(vocab.turn_head(True))).expand(b, -1, -1)
    tail = net.llm.embed(torch.tensor(vocab.TURN_TAIL)).expand(b, -1, -1)
    return torch.cat([head, net.adaptor(states), tail], dim=1)


@torch.no_grad()
def answer(net, rows, longest=16):
    """Greedy answers (texts) to a batch of prompts of equal length."""
    past = [{} for _ in range(model.LAYERS)]
    said, at = [], 0
    while len(said) < longest:
        state = net.llm(rows, positions=at, past=past)[:, -1]
        at += rows.shape[1]
        best = net.llm.lm_head(state).argmax(-1)
        said.append(best)
        rows = net.llm.embed(best)[:, None]
    told = []
    for ids in torch.stack(said, 1).tolist():
        told.append(vocab.ids_text(ids[:ids.index(vocab.EOT)] if vocab.EOT in ids else ids))
    return told


def answers_to(net, states, batch=64):
    told = []
    for part in states.split(batch):
        told += answer(net, speech_prompt(net, part))
    return told
