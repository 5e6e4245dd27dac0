"""A vocoder saved with torch's newer names of weight norm converts to the same tensors."""

import os
import shutil
import subprocess
import tempfile

import torch

CASE = os.path.join(os.environ["OMNI_ORACLE_DIR"], "checkpoint", "published")
OMNI = os.environ["OMNI"]
NEWER = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}


def vocoder_tensors(folder, vocoder):
    """The lines of `omni info --tensors` about the vocoder: names, shapes, types, checksums."""
    out = os.path.join(folder, "out")
    subprocess.run([OMNI, "convert", "--hf", os.path.join(CASE, "hf"), "--vocoder", vocoder, "--vocoder-config",
                    os.path.join(CASE, "vocoder", "config.json"), "-o", out], check=True, stderr=subprocess.DEVNULL)
    info = subprocess.run([OMNI, "info", "--tensors", out], check=True, capture_output=True, text=True)
    shutil.rmtree(out)
    return [line for line in info.stdout.splitlines() if "voc." in line]


def main():
    old = os.path.join(CASE, "vocoder", "g_00500000")
    with tempfile.TemporaryDirectory() as folder:
        new = os.path.join(folder, "newer.pt")
        state = torch.load(old)["generator"]
        renamed = {}
        for name, tensor in state.items():
            for ending, newer in NEWER.items():
                name = name.replace(ending, newer)
            renamed[name] = tensor
        assert sum("original1" in name for name in renamed) > 10
        torch.save({"generator": renamed}, new)
        wanted, found = vocoder_tensors(folder, old), vocoder_tensors(folder, new)
    assert len(wanted) > 50, len(wanted)
    assert found == wanted, [pair for pair in zip(wanted, found) if pair[0] != pair[1]][:3]


if __name__ == "__main__":
    main()
