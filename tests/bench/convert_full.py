"""omni convert at the public model's full size: peak memory and time, beside what the disk copies in the same minutes.

    OMNI=build/omni OMNI_SOURCE_DIR=. OMNI_ORACLE_DIR=- OMNI_BUILD_DIR=FOLDER \\
        python3 convert_full.py [TYPE:SPEECH_TYPE...] [--layers N]

Writes below FOLDER and removes it again; f16 needs 40 GB of disk. The 804 tensors of the checkpoint are four sparse shards
(zeros), Whisper and the vocoder have their real shapes. Without arguments: q4_0:bf16 and f16:f16.
"""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import torch

sys.path.insert(0, os.path.join(os.environ["OMNI_SOURCE_DIR"], "tests", "oracle"))
sys.path.insert(0, os.path.join(os.environ["OMNI_SOURCE_DIR"], "tests", "e2e"))
import checkpoint_files as files  # noqa: E402
import checkpoint_weights as weights  # noqa: E402
from checkpoint_tokens import Tokenizer  # noqa: E402
from program import OMNI, remove, scratch  # noqa: E402

PUBLISHED = dict(
    width=4096, heads=32, heads_kv=8, layers=32, ff=14336, eps=1e-5, rope_theta=500000.0, tied=False, dtype=torch.float16,
    rope_scaling={"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
                  "rope_type": "llama3"},
    ends_in_config=True, explicit_head_dim=False, mels=128, context=1500, enc_width=1280, enc_heads=20, enc_layers=32,
    enc_ff=5120, stack=5, hidden=2048, upsample=25, dec_layers=2, dec_width=4096, dec_heads=32, dec_ff=11008, units=1000,
    embd=128, channels=512, rates=[5, 4, 4, 2, 2], kernels=[11, 8, 8, 4, 4], res_kernels=[3, 7, 11], dilations=[1, 3, 5],
    dur_hidden=128, dur_kernel=3)
VOCABULARY = 128256


def sparse_shards(folder, shapes, n=4):
    """f16 zeros that take no room; returns the bytes they stand for."""
    total = sum(2 * int(np.prod(s)) for s in shapes.values())
    shards, at = [{} for _ in range(n)], 0
    for name, shape in shapes.items():
        shards[min(n - 1, at * n // total)][name] = shape
        at += 2 * int(np.prod(shape))
    index = {"metadata": {"total_size": total}, "weight_map": {}}
    for i, shard in enumerate(shards):
        file, header, end = f"model-{i + 1:05d}-of-{n:05d}.safetensors", {"__metadata__": {"format": "pt"}}, 0
        for name, shape in shard.items():
            begin, end = end, end + 2 * int(np.prod(shape))
            header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
            index["weight_map"][name] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(f"{folder}/{file}", "wb") as f:
            f.write(len(text).to_bytes(8, "little") + text)
            f.truncate(8 + len(text) + end)
    files.write_json(f"{folder}/model.safetensors.index.json", index)
    return total


def write(folder, case):
    os.makedirs(f"{folder}/hf")
    tokenizer = Tokenizer(60)
    case.spare_ids = VOCABULARY - len(tokenizer)
    files.write_json(f"{folder}/hf/config.json", weights.llm_config(case, tokenizer))
    tokenizer.write(f"{folder}/hf", False)
    shapes = weights.llm_shapes(case, VOCABULARY)
    for prefix, part in (("model.speech_projector.", weights.projector_shapes(case)),
                         ("model.speech_encoder.", weights.encoder_shapes(case)),
                         ("speech_generator.", weights.decoder_shapes(case))):
        shapes.update({prefix + name: shape for name, shape in part.items()})
    size = sparse_shards(f"{folder}/hf", shapes)
    encoder = {n: torch.zeros(s, dtype=torch.float16) for n, s in weights.encoder_shapes(case).items()}
    files.write_whisper(f"{folder}/whisper.pt", encoder, weights.whisper_dims(case), False, False)
    vocoder = weights.vocoder_weights(np.random.default_rng(1), case)       # weight norm has no zeros
    files.write_vocoder(f"{folder}/vocoder", f"{folder}/vocoder", vocoder, weights.vocoder_config(case), False)
    print(f"{len(shapes)} tensors, {size / 1e9:.2f} GB in the shards, whisper.pt {os.path.getsize(folder + '/whisper.pt') / 1e9:.2f} GB",
          flush=True)


def disk_speed(folder, size=1 << 30):
    """GB per second of writing and keeping bytes that are not zeros."""
    block, start = os.urandom(1 << 24), time.monotonic()
    with open(f"{folder}/speed", "wb") as f:
        for _ in range(size >> 24):
            f.write(block)
        f.flush()
        os.fsync(f.fileno())
    took = time.monotonic() - start
    os.remove(f"{folder}/speed")
    return size / 1e9 / took


def peak(pid):
    """GB that were resident at most; the kernel's own account at the end begins with the memory of who started it."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return next((int(line.split()[1]) / 1e6 for line in f if line.startswith("VmHWM")), 0.0)


def convert(folder, llm, speech):
    out = f"{folder}/out"
    command = [OMNI, "convert", "--hf", f"{folder}/hf", "--whisper", f"{folder}/whisper.pt", "--vocoder",
               f"{folder}/vocoder/g_00500000", "-o", out, "--llm-type", llm, "--speech-type", speech]
    start = time.monotonic()
    p, most, over = subprocess.Popen(command), 0.0, 0
    while not over:
        most = max(most, peak(p.pid))
        over, status, usage = os.wait4(p.pid, os.WNOHANG)
        time.sleep(0.1)
    took = time.monotonic() - start
    assert status == 0, status
    size = sum(os.path.getsize(f"{out}/{name}") for name in os.listdir(out))
    print(f"{llm}, speech {speech}: {took:.0f} s for {size / 1e9:.2f} GB ({size / 1e9 / took:.3f} GB/s), processor "
          f"{usage.ru_utime + usage.ru_stime:.0f} s, peak resident {most:.2f} GB; the disk writes "
          f"{disk_speed(folder):.3f} GB/s", flush=True)
    remove(out)


def main():
    arguments, case = sys.argv[1:], SimpleNamespace(**PUBLISHED)
    if "--layers" in arguments:
        at = arguments.index("--layers")
        case.layers = case.enc_layers = int(arguments[at + 1])
        del arguments[at:at + 2]
    folder = scratch("convert-full")
    try:
        write(folder, case)
        for pair in arguments or ["q4_0:bf16", "f16:f16"]:
            convert(folder, *pair.split(":"))
    finally:
        remove(folder)


if __name__ == "__main__":
    main()
