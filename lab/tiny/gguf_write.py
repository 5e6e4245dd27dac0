"""Write a GGUF file (version 3, little-endian): metadata of plain types and f32 or f16 tensors.

    file = Gguf("name.gguf")
    file.add("general.name", "example")            # str, bool, int (u32), float (f32)
    file.add_array("x.rates", [5, 4], "i32")       # i32 or str
    file.tensor("x.weight", array)                 # numpy float32 or float16
    file.close()
"""

import os
import struct

import numpy as np

U32, I32, F32, BOOL, STR, ARRAY = 4, 5, 6, 7, 8, 9
ALIGN = 32
TENSOR_TYPES = {np.dtype("float32"): 0, np.dtype("float16"): 1}


def text(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(v):
    """Type number and bytes of one value."""
    if isinstance(v, bool):      # before int: a bool is an int too
        return BOOL, struct.pack("<?", v)
    if isinstance(v, int):
        return U32, struct.pack("<I", v)
    if isinstance(v, float):
        return F32, struct.pack("<f", v)
    return STR, text(v)


class Gguf:
    def __init__(self, path):
        self.path, self.pairs, self.tensors, self.keys = path, [], [], set()

    def put(self, key, kind, raw):
        if key in self.keys:
            raise ValueError(f"{key} is given twice")
        self.keys.add(key)
        self.pairs.append(text(key) + struct.pack("<I", kind) + raw)

    def add(self, key, v):
        self.put(key, *value(v))

    def add_array(self, key, items, kind):
        items = list(items)
        number, raw = (I32, struct.pack(f"<{len(items)}i", *items)) if kind == "i32" else \
                      (STR, b"".join(text(s) for s in items))
        self.put(key, ARRAY, struct.pack("<IQ", number, len(items)) + raw)

    def tensor(self, name, array):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds a value that is not finite")
        self.tensors.append((name, np.ascontiguousarray(array)))

    def close(self):
        """Write everything; the file appears under its name only when complete."""
        infos, offset = [], 0
        for name, a in self.tensors:
            shape = a.shape[::-1]      # the fastest axis comes first
            infos.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape,
                                                  TENSOR_TYPES[a.dtype], offset))
            offset += -(-a.nbytes // ALIGN) * ALIGN
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.pairs))
        head += b"".join(self.pairs) + b"".join(infos)
        with open(self.path + ".tmp", "wb") as f:
            f.write(head + bytes(-len(head) % ALIGN))
            for _, a in self.tensors:
                f.write(a.tobytes() + bytes(-a.nbytes % ALIGN))
        os.replace(self.path + ".tmp", self.path)
