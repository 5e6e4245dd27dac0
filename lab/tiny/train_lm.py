"""Teach the Llama its little world from typed questions.

    python3 train_lm.py BUILD_DIR MINUTES      (of processor time)
"""
import os
import random
import sys
import time

import torch
import torch.nn.functional as F

import curves
import dialogue
import domain
import flat
import model
import vocab

BATCH, PEAK, WARMUP = 64, 1e-3, 100


def collate(examples):
    """Ids, targets (-100 where nothing is to be learnt), padding flags."""
    longest = max(len(ids) for ids, _ in examples)
    ids = torch.full((len(examples), longest), vocab.END)
    target = torch.full((len(examples), longest), -100)
    for i, (row, said) in enumerate(examples):
        ids[i, :len(row)] = torch.tensor(row)
        for t in range(len(row) - 1):
            if said[t + 1]:
                target[i, t] = row[t + 1]
    return ids, target


def exact_share(net, questions):
    """Share of questions whose every answer token is the most likely one."""
    right = 0
    net.eval()
    with torch.no_grad():
        for i in range(0, len(questions), 64):
            ids, target = collate([dialogue.text_example([q]) for q in questions[i:i + 64]])
            best = net.lm_head(net(net.embed(ids))).argmax(-1)
            right += int(((best == target) | (target < 0)).all(1).sum())
    net.train()
    return right / len(questions)


def main(build, seconds):
    torch.set_num_threads(1)
    torch.manual_seed(5)
    net = model.Llama(vocab.SIZE, drop=0.05)
    opt = flat.FlatAdamW(net, betas=(0.9, 0.95), decay=0.05)
    sampler = dialogue.Sampler(5)
    held = [q for q in domain.questions() if domain.is_held_out(q[0])]
    random.Random(1).shuffle(held)
    log = curves.Log(f"{build}/curves/lm.csv", ["step", "seconds", "ce", "held_out_exact"])
    start, step, mean = time.process_time(), 0, 7.0
    while (elapsed := time.process_time() - start) < seconds:
        ids, target = collate([dialogue.text_example(turns)
                               for turns in sampler.conversations(BATCH)])
        known = target >= 0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net.lm_head(net(net.embed(ids))[known])
        loss = F.cross_entropy(logits.float(), target[known])
        opt.zero()
        loss.backward()
        left = 1 - elapsed / seconds
        opt.step(PEAK * min(1, (step + 1) / WARMUP) * min(1, 0.03 + left / 0.6), clip=1.0)
        step, mean = step + 1, 0.95 * mean + 0.05 * float(loss)
        if step % 50 == 0:
            exact = round(exact_share(net, held[:256]), 4) if step % 250 == 0 else ""
            log.add(step=step, seconds=round(elapsed), ce=round(mean, 4), held_out_exact=exact)
    log.add(step=step, seconds=round(elapsed), ce=round(mean, 4),
            held_out_exact=round(exact_share(net, held), 4))
    torch.save(net.state_dict(), f"{build}/lm.pt.part")
    os.rename(f"{build}/lm.pt.part", f"{build}/lm.pt")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) * 60)
