"""The program under test, the small random models it is tried on, and recordings in several formats.

Environment: OMNI (the program), OMNI_BUILD_DIR (where scratch folders go), OMNI_SOURCE_DIR.
"""

import ctypes
import ctypes.util
import json
import math
import os
import shutil
import struct
import subprocess
import tempfile

import numpy as np

OMNI = os.environ["OMNI"]
BUILD = os.environ["OMNI_BUILD_DIR"]
SLOW = 8 if os.environ.get("OMNI_SANITIZE") == "thread" else 1     # times longer for what lives in real time
SOURCE = os.environ["OMNI_SOURCE_DIR"]

# A model in one blink: every part there, every part small.
SHAPE = {
    "like": "llama-omni-tiny", "name": "toy",
    "llm.embedding_length": 64, "llm.head_count": 4, "llm.head_count_kv": 2, "llm.block_count": 2,
    "llm.feed_forward_length": 96, "llm.vocab_size": 700, "llm.context_length": 1024,
    "audio.window_samples": 32000, "encoder.context": 100, "encoder.embedding_length": 64,
    "encoder.head_count": 4, "encoder.block_count": 2, "encoder.feed_forward_length": 128,
    "adaptor.hidden_length": 64, "decoder.embedding_length": 64, "decoder.head_count": 4,
    "decoder.head_count_kv": 4, "decoder.feed_forward_length": 96, "decoder.unit_count": 50,
    "vocoder.initial_channels": 32, "vocoder.embedding_length": 32, "vocoder.duration_hidden": 32,
}


def run(*args, stdin=b"", env=None, timeout=300, threads=True, **kwargs):
    """Runs omni; the result has returncode, stdout and stderr (bytes). One thread, so that a busy
    machine does not matter, unless the command has no such option."""
    args = [str(a) for a in args]
    if threads and args and args[0] in ("ask", "probe", "bench"):
        args[1:1] = ["-t", "1"]
    full = dict(os.environ, **(env or {}))
    full.pop("OMNI_MODEL", None) if not env or "OMNI_MODEL" not in env else None
    return subprocess.run([OMNI, *args], input=stdin, stdout=kwargs.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE, env=full, timeout=timeout, **kwargs)


def scratch(name):
    """A fresh folder below the build folder."""
    root = os.path.join(BUILD, "e2e")
    os.makedirs(root, exist_ok=True)
    return tempfile.mkdtemp(prefix=name + ".", dir=root)


def synth(folder, shape=None, *options, **changes):
    """Writes a random model into folder; returns (LLM file, speech file)."""
    shape = dict(SHAPE if shape is None else shape, **changes)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "shape.json")
    with open(path, "w") as f:
        json.dump(shape, f)
    options = options or ("--llm-type", "f16", "--speech-type", "f16")
    r = run("synth-model", "--like", path, "-o", folder, *options)
    assert r.returncode == 0, r.stderr.decode()
    os.remove(path)
    files = sorted(f for f in os.listdir(folder) if f.endswith(".gguf"))
    speech = [f for f in files if "-speech-" in f]
    llm = [f for f in files if "-speech-" not in f]
    return os.path.join(folder, llm[0]), os.path.join(folder, speech[0])


def tone(seconds=1.0, rate=16000, pitch=220.0):
    t = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * math.pi * pitch * t) * (0.6 + 0.4 * np.sin(2 * math.pi * 3 * t))).astype(np.float32)


def wav_bytes(x, rate=16000, channels=1, kind="s16"):
    """A WAV file in memory; kind s16 or f32; x [n] is repeated on all channels, [n, c] has its own."""
    x = np.asarray(x, np.float32)
    x = np.repeat(x[:, None], channels, axis=1) if x.ndim == 1 else x
    channels = x.shape[1]
    data = (x * 32767).round().astype("<i2").tobytes() if kind == "s16" else x.astype("<f4").tobytes()
    width, tag = (2, 1) if kind == "s16" else (4, 3)
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * width * channels, width * channels, 8 * width)
    return (b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + fmt +
            b"data" + struct.pack("<I", len(data)) + data)


def write(path, data):
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    return path


def read_wav(path):
    """(rate, samples as int16) of a mono 16-bit WAV."""
    import wave
    with wave.open(path) as w:
        assert (w.getnchannels(), w.getsampwidth()) == (1, 2)
        return w.getframerate(), np.frombuffer(w.readframes(w.getnframes()), "<i2")


class SfInfo(ctypes.Structure):
    _fields_ = [("frames", ctypes.c_int64), ("samplerate", ctypes.c_int), ("channels", ctypes.c_int),
                ("format", ctypes.c_int), ("sections", ctypes.c_int), ("seekable", ctypes.c_int)]


SF_FORMATS = {"wav": 0x010002, "flac": 0x170002, "ogg": 0x200060, "mp3": 0x230082, "aiff": 0x020002}


def encode(path, x, rate, kind):
    """Writes x [n] as kind (wav, flac, ogg, mp3) with libsndfile itself."""
    lib = ctypes.CDLL(ctypes.util.find_library("sndfile"))
    lib.sf_open.restype = ctypes.c_void_p
    lib.sf_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(SfInfo)]
    lib.sf_writef_float.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    lib.sf_writef_float.restype = ctypes.c_int64
    lib.sf_close.argtypes = [ctypes.c_void_p]
    info = SfInfo(samplerate=rate, channels=1, format=SF_FORMATS[kind])
    file = lib.sf_open(path.encode(), 0x20, ctypes.byref(info))
    assert file, f"libsndfile can not write {kind}"
    x = np.ascontiguousarray(x, np.float32)
    assert lib.sf_writef_float(file, x.ctypes.data, len(x)) == len(x)
    lib.sf_close(file)
    return path


def patch(src, dst, old, new):
    """A copy with the only occurrence of the bytes old replaced by new of the same length."""
    with open(src, "rb") as f:
        data = f.read()
    assert len(old) == len(new) and data.count(old) == 1, (old, data.count(old))
    return write(dst, data.replace(old, new))


def gguf_string(text):
    """As it lies in a GGUF file: length, bytes."""
    return struct.pack("<Q", len(text)) + text.encode()


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
