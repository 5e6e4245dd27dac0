"""Writes the seeds of the fuzzers into tests/fuzz/corpus/ (small, committed).

    python3 make_corpus.py
"""

import os
import struct
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
import toy  # noqa: E402


def save(target, name, data):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def speech_file():
    """A valid speech file with two tensors."""
    _, hp = toy.random_shape(np.random.default_rng(3))
    path = os.path.join(HERE, "corpus", "seed.tmp")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    toy.write_speech(path, hp, {"enc.pos": np.zeros((2, 3), np.float32), "voc.embd": np.ones(8, np.float16)})
    with open(path, "rb") as f:
        data = f.read()
    os.remove(path)
    return data


def gguf():
    good = speech_file()
    save("gguf", "speech", good)
    save("gguf", "no-tensors", good[:8] + struct.pack("<Q", 0) + good[16:-160])
    save("gguf", "many", b"GGUF" + struct.pack("<IQQ", 3, 2 ** 63, 2 ** 63))
    save("gguf", "version", b"GGUF" + struct.pack("<IQQ", 2, 0, 0))
    save("gguf", "short", b"GGUF\x03")
    shape = struct.pack("<IQQIQ", 2, 2 ** 61, 16, 0, 0)
    save("gguf", "huge-shape", b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"a" + shape + bytes(64))
    quant = struct.pack("<IQIQ", 1, 32, 8, 0)
    save("gguf", "q8", b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"a" + quant + bytes(100))


def pair(key, kind, raw):
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + raw


def metadata():
    good = speech_file()
    pairs = good[24:]
    save("metadata", "speech", bytes([good[16]]) + pairs[:pairs.index(b"enc.pos") - 8])
    kinds = [(0, b"\1"), (1, b"\xff"), (2, b"\1\2"), (3, b"\1\2"), (4, b"\1\2\3\4"), (5, b"\1\2\3\4"), (6, b"\0\0\xc0\x7f"),
             (7, b"\1"), (10, bytes(8)), (11, bytes(8)), (12, bytes(8))]
    save("metadata", "types", bytes([len(kinds)]) + b"".join(pair(f"k{n}", n, raw) for n, raw in kinds))
    arrays = b"".join(pair(f"a{n}", 9, struct.pack("<IQ", n, 2) + 2 * raw) for n, raw in kinds)
    save("metadata", "arrays", bytes([len(kinds)]) + arrays)
    save("metadata", "strings", b"\1" + pair("s", 9, struct.pack("<IQ", 8, 2) + 2 * (struct.pack("<Q", 3) + b"\xc3\xa9!")))
    save("metadata", "huge-array", b"\1" + pair("a", 9, struct.pack("<IQ", 10, 2 ** 60)))
    save("metadata", "nested", b"\1" + pair("a", 9, struct.pack("<IQ", 9, 1) + bytes(20)))


def utf8():
    for name, text in (("plain", b"five plus three is eight"), ("accents", "é ü ß — “quoted” 日本語 🙂".encode()),
                       ("edges", b" \xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf "),
                       ("overlong", b"\xc0\x80\xc1\xbf\xe0\x80\x80\xf0\x80\x80\x80"), ("surrogates", b"\xed\xa0\x80\xed\xbf\xbf"),
                       ("above", b"\xf4\x90\x80\x80\xf5\x80\x80\x80\xff\xfe"), ("broken", b"a\xe2\x82 b\xf0\x9f\x99 \x80\xbf"),
                       ("spaces", b" \t\n  x \r\n y  ")):
        save("utf8", name, b"\2" + text)


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data


def wav():
    t = np.arange(200)
    tone = (8000 * np.sin(t / 7)).astype("<i2").tobytes()

    def fmt(tag, channels, rate, bits, extra=b""):
        size = channels * bits // 8
        return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * size, size, bits) + extra)

    save("wav", "pcm16", fmt(1, 1, 16000, 16) + chunk(b"data", tone))
    save("wav", "stereo", fmt(1, 2, 44100, 16) + chunk(b"LIST", b"INFO") + chunk(b"data", tone))
    save("wav", "pcm24", fmt(1, 1, 8000, 24) + chunk(b"data", tone[:300]))
    save("wav", "pcm8", fmt(1, 1, 8000, 8) + chunk(b"data", tone[:100]))
    save("wav", "float", fmt(3, 1, 22050, 32) + chunk(b"fact", struct.pack("<I", 50)) +
         chunk(b"data", np.sin(t[:50] / 5).astype("<f4").tobytes()))
    save("wav", "nan", fmt(3, 1, 16000, 32) + chunk(b"data", struct.pack("<3f", 0.5, float("nan"), 0.5)))
    save("wav", "double", fmt(3, 1, 16000, 64) + chunk(b"data", np.sin(t[:20]).tobytes()))
    save("wav", "alaw", fmt(6, 1, 8000, 8) + chunk(b"data", tone[:64]))
    save("wav", "adpcm", fmt(17, 1, 8000, 4, struct.pack("<HH", 2, 505)) + chunk(b"data", tone[:256]))
    guid = b"\1\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    save("wav", "extensible", fmt(0xFFFE, 1, 16000, 16, struct.pack("<HHI", 22, 16, 4) + guid) + chunk(b"data", tone))
    save("wav", "no-data", fmt(1, 1, 16000, 16))
    save("wav", "empty-data", fmt(1, 1, 16000, 16) + chunk(b"data", b""))
    save("wav", "no-channels", fmt(1, 0, 16000, 16) + chunk(b"data", tone))
    save("wav", "slow", fmt(1, 1, 1, 16) + chunk(b"data", tone))
    save("wav", "long-claim", fmt(1, 1, 16000, 16) + b"data" + struct.pack("<I", 0xFFFFFFFF) + tone)


def torch_files():
    import io
    import zipfile

    import torch
    import torch_file_oracle as cases

    for case in (cases.views, cases.nested, cases.whisper):
        for container in ("zip", "legacy"):
            file = io.BytesIO()
            torch.save(case(), file, pickle_protocol=2 if case is cases.views else 4,
                       _use_new_zipfile_serialization=container == "zip")
            name = f"{case.__name__}-{container}"
            save("torch_file", name, file.getvalue())
            if container == "zip":
                save("zip", name, file.getvalue())
                save("pickle", name, zipfile.ZipFile(file).read("archive/data.pkl"))
    for name, kind, names in (("stored", zipfile.ZIP_STORED, ("a/b", "a/c")), ("deflated", zipfile.ZIP_DEFLATED, ("a/b",)),
                              ("upwards", zipfile.ZIP_STORED, ("../a",))):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", kind) as z:
            for entry in names:
                with z.open(entry, "w", force_zip64=True) as f:
                    f.write(bytes(100))
        save("zip", name, file.getvalue())
    save("pickle", "system", b"\x80\2cos\nsystem\nX\2\0\0\0id\x85R.")
    save("pickle", "itself", b"\x80\4]\x94h\0a}(h\0K\1u\x86.")


def server():
    import base64
    import json

    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"},
               {"type": "input_audio", "audio": base64.b64encode(bytes(40)).decode()}]}
    tone = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)) + chunk(b"data", bytes(64))
    wave = base64.b64encode(b"RIFF" + struct.pack("<I", 4 + len(tone)) + b"WAVE" + tone).decode()
    for name, value in {
            "session": {"type": "realtime", "instructions": "x", "output_modalities": ["text"], "max_output_tokens": 5, "audio": {
                "input": {"format": {"type": "audio/pcm", "rate": 24000}, "turn_detection": {"type": "server_vad", "threshold": 0.4}},
                "output": {"voice": "x", "speed": 1.1, "format": {"type": "audio/pcmu"}}}},
            "beta": {"modalities": ["text", "audio"], "input_audio_format": "g711_alaw", "temperature": 0.7, "turn_detection": None},
            "item": message, "call": {"type": "function_call_output", "call_id": "c", "output": "o"},
            "assistant": {"type": "message", "role": "assistant", "id": "i", "content": [{"type": "text", "text": "y"}]},
            "chat": {"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 0.5, "stream": True, "n": 1},
            "chat-audio": {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": wave, "format": "wav"}}]}],
                           "modalities": ["text", "audio"], "audio": {"voice": "v", "format": "wav"}, "max_tokens": 9}}.items():
        save("server", name, json.dumps(value).encode())
    save("server", "base64", base64.b64encode(bytes(range(100))))


def conversation(*events):
    import json

    return "\n".join(e if isinstance(e, str) else json.dumps(e) for e in events).encode()


def serve():
    """Sequences of what clients send; the first byte says how (fuzz_serve.c)."""
    import base64
    import json

    def audio(n):
        return {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(n)).decode()}

    def update(**members):
        return {"type": "session.update", "session": {"type": "realtime", **members}}

    def typed(text, **members):
        return {"type": "conversation.item.create", **members,
                "item": {"type": "message", "role": "user", "id": "q", "content": [{"type": "input_text", "text": text}]}}

    commit, create, cancel = ({"type": t} for t in ("input_audio_buffer.commit", "response.create", "response.cancel"))
    manual = update(audio={"input": {"turn_detection": None}})
    text_only = update(output_modalities=["text"], max_output_tokens=5, instructions="x")
    save("serve", "typed", b"G" + conversation(typed("what is two plus two"), create))
    save("serve", "text", b"G" + conversation(text_only, typed("hello"), create, create, cancel))
    save("serve", "spoken", b"G" + conversation(manual, audio(4800), audio(1), commit, create))
    save("serve", "cancelled", b"g" + conversation(manual, audio(4800), commit, create, cancel,
                                                   {"type": "input_audio_buffer.clear"}, commit, audio(99)))
    save("serve", "items", b"g" + conversation(
        typed("a", previous_item_id="root"), typed("b"), {"type": "conversation.item.retrieve", "item_id": "q"},
        {"type": "conversation.item.truncate", "item_id": "q", "content_index": 0, "audio_end_ms": 10},
        {"type": "conversation.item.delete", "item_id": "q"}, {"type": "conversation.item.delete", "item_id": "q"}))
    save("serve", "outside", b"G" + conversation(
        {"type": "response.create", "response": {"conversation": "none", "metadata": {"a": "b"}, "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}}))
    save("serve", "bad", b"g" + conversation("not json", "[]", {"type": 5}, {"type": "foo.bar", "event_id": "e"}, {}, "",
                                             update(temperature=1), audio(0)))
    save("serve", "laws", b"G" + conversation(
        update(audio={"input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
                      "output": {"format": {"type": "audio/pcma"}}}), audio(2400), commit, create))
    save("serve", "beta", b"B" + conversation(
        {"type": "session.update", "session": {"turn_detection": None, "modalities": ["text", "audio"]}}, audio(4800), commit, create))
    save("serve", "transcription", b"t" + conversation(
        {"type": "session.update", "session": {"type": "transcription"}}, audio(4800), commit, create))
    mask = bytes(4)
    save("serve", "frames", b"w" + b"\x89\x80" + mask + b"\x01\x81" + mask + b"{" + b"\x80\x81" + mask + b"}" +
         b"\x82\x82" + mask + b"{}" + b"\x88\x82" + mask + b"\x03\xe8")
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "modalities": ["text", "audio"],
                       "audio": {"voice": "x", "format": "pcm16"}, "stream": True, "max_completion_tokens": 4}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    save("serve", "chat", b"h" + head % len(body) + body)
    save("serve", "chunked", b"hPOST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    for name, path in (("health", "health"), ("metrics", "metrics"), ("models", "v1/models/tiny"), ("page", ""), ("none", "v1/none?a=b")):
        save("serve", name, b"hGET /%s HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n" % path.encode())
    save("serve", "preflight", b"hOPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\r\n"
         b"Access-Control-Request-Method: POST\r\n\r\n")


if __name__ == "__main__":
    gguf(), metadata(), utf8(), wav(), torch_files(), server(), serve()
