"""A WebSocket client in the standard library's terms, and what every stream of the server must keep (invariants)."""

import base64
import hashlib
import http.client
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import program

DEADLINE = 60       # seconds for anything the server does; a busy machine needs most of it


class Server:
    """omni serve on a free port; a context manager that ends it by SIGTERM and wants exit code 0."""

    def __init__(self, *options, model=None, scheme="http"):
        model = model or os.environ["OMNI_TEST_MODEL"]
        self.process = subprocess.Popen([program.OMNI, "serve", "-m", model, "--port", "0", "-t", "1", *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.process.stdout.readline().decode()
        found = re.match(r"listening on https?://\S+:(\d+)$", line.strip())
        if not found:
            raise AssertionError("did not start: " + line + self.process.stderr.read().decode())
        self.port = int(found.group(1))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.process.send_signal(signal.SIGTERM)
        try:
            _, err = self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        if kind is None:
            assert self.process.returncode == 0, (self.process.returncode, err.decode())

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, bytes)"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, r.headers, data

    def metric(self, name):
        """The value of one line of /metrics; 0 when it is not there."""
        for line in self.request("GET", "/metrics")[2].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0

    def rss(self):
        """Resident bytes; always 1 under sanitizers that keep what was freed: that growth is not the server's."""
        if os.environ.get("OMNI_SANITIZE") in ("address", "thread"):
            return 1
        with open("/proc/%d/statm" % self.process.pid) as f:
            return int(f.read().split()[1]) * 4096

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))


class Refused(Exception):
    def __init__(self, status, headers, body):
        super().__init__("%d %r" % (status, body))
        self.status, self.headers, self.body = status, headers, body


class Closed(Exception):
    def __init__(self, code, reason):
        super().__init__("%d %s" % (code, reason))
        self.code, self.reason = code, reason


class Socket:
    """One WebSocket. Text frames are JSON events; all that came is kept in .events."""

    def __init__(self, server, path="/v1/realtime?model=m", beta=False, headers=None, protocols=None, key=None):
        self.beta, self.events, self.buffer, self.pongs, self.pings = beta, [], b"", 0, 0
        self.sock, self.sending = server.connect(), threading.Lock()
        nonce = base64.b64encode(os.urandom(16)).decode()
        lines = {"Host": "127.0.0.1:%d" % server.port, "Upgrade": "websocket", "Connection": "Upgrade",
                 "Sec-WebSocket-Key": nonce, "Sec-WebSocket-Version": "13"}
        if beta:
            lines["OpenAI-Beta"] = "realtime=v1"
        if key:
            lines["Authorization"] = "Bearer " + key
        if protocols:
            lines["Sec-WebSocket-Protocol"] = ", ".join(protocols)
        lines.update(headers or {})
        text = "GET %s HTTP/1.1\r\n" % path + "".join("%s: %s\r\n" % kv for kv in lines.items() if kv[1] is not None)
        self.sock.sendall((text + "\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            got = self.sock.recv(65536)
            if not got:
                raise Refused(0, {}, head)
            head += got
        head, self.buffer = head.split(b"\r\n\r\n", 1)
        first, *rest = head.decode().split("\r\n")
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in rest)}
        status = int(first.split()[1])
        if status != 101:
            n = int(self.headers.get("content-length", 0))
            while len(self.buffer) < n:
                self.buffer += self.sock.recv(65536)
            self.sock.close()
            raise Refused(status, self.headers, self.buffer)
        want = base64.b64encode(hashlib.sha1((nonce + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        assert self.headers["sec-websocket-accept"] == want

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.sock.close()
        if kind is None:
            check_stream(self.events, self.beta)

    # ---- frames

    def frame(self, opcode, data, fin=True):
        with self.sending:      # a thread that reads answers pings
            self.sock.sendall(self.framed(opcode, data, fin))

    def frames(self, texts):
        """Several messages in one piece."""
        with self.sending:
            self.sock.sendall(b"".join(self.framed(1, text) for text in texts))

    @staticmethod
    def framed(opcode, data, fin=True):
        head = bytes([(0x80 if fin else 0) | opcode])
        n = len(data)
        head += bytes([0x80 | n]) if n < 126 else b"\xfe" + struct.pack(">H", n) if n < 65536 else b"\xff" + struct.pack(">Q", n)
        mask = os.urandom(4)
        body = (int.from_bytes(data, "little") ^ int.from_bytes((mask * (n // 4 + 1))[:n], "little")).to_bytes(n, "little")
        return head + mask + body

    def read(self, n, until):
        while len(self.buffer) < n:
            left = until - time.monotonic()
            decrypted = getattr(self.sock, "pending", int)()     # what TLS has taken from the socket already
            if left <= 0 or not (decrypted or select.select([self.sock], [], [], left)[0]):
                raise TimeoutError
            got = self.sock.recv(1 << 16)
            if not got:
                raise Closed(1006, "")
            self.buffer += got
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def peek_frame(self, until):
        """Nothing is taken when the time is over in the middle of a frame."""
        before = self.buffer
        try:
            a, b = self.read(2, until)
            n = b & 127
            assert not b & 128 and not a & 0x70
            taken = bytes([a, b])
            if n >= 126:
                more = self.read(2 if n == 126 else 8, until)
                taken += more
                n = int.from_bytes(more, "big")
            data = self.read(n, until)
            return a, data
        except TimeoutError:
            if len(self.buffer) < len(before) or not self.buffer.startswith(before):
                self.buffer = locals().get("taken", b"") + self.buffer
            raise

    # ---- events

    def send(self, event, **members):
        if not isinstance(event, dict):
            event = dict(members, type=event)
        self.frame(1, json.dumps(event).encode())

    def next(self, timeout=DEADLINE):
        until = time.monotonic() + timeout
        while True:
            a, data = self.peek_frame(until)
            opcode = a & 15
            if opcode == 9:
                self.pings += 1
                self.frame(10, data)
            elif opcode == 10:
                self.pongs += 1
            elif opcode == 8:
                raise Closed(int.from_bytes(data[:2], "big") if data else 1005, data[2:].decode())
            else:
                assert opcode == 1 and a & 0x80 and len(data) < 1 << 20
                event = json.loads(data)
                self.events.append(event)
                return event

    def until(self, *types, timeout=DEADLINE):
        """The next event of one of these types; those before it are in .events. An error not asked for fails."""
        while True:
            event = self.next(timeout)
            if event["type"] in types:
                return event
            assert event["type"] != "error", event

    def silence(self, seconds):
        try:
            event = self.next(seconds)
        except TimeoutError:
            return
        raise AssertionError("unexpected: %r" % event)

    def types(self, start=0):
        return [e["type"] for e in self.events[start:]]

    # ---- what conversations are made of

    def session(self, **session):
        self.send("session.update", session=session if self.beta else dict(session, type="realtime"))
        return self.until("session.updated")["session"]

    def manual(self, **more):
        turns = {"turn_detection": None}
        return self.session(**turns, **more) if self.beta else self.session(audio={"input": turns}, **more)

    def say(self, text, **item):
        self.send("conversation.item.create", item=dict(item, type="message", role="user",
                                                        content=[{"type": "input_text", "text": text}]))

    def append(self, pcm, chunk=4800):
        for i in range(0, len(pcm), chunk):
            self.send("input_audio_buffer.append", audio=base64.b64encode(pcm[i:i + chunk]).decode())

    def respond(self, **response):
        self.send("response.create", **({"response": response} if response else {}))
        return self.until("response.done")["response"]

    def audio(self, start=0):
        name = "response.audio.delta" if self.beta else "response.output_audio.delta"
        return b"".join(base64.b64decode(e["delta"]) for e in self.events[start:] if e["type"] == name)


def speech(name="1.wav", silence=1.0):
    """A recorded question at 24 kHz, as clients send it, with silence on both sides."""
    import numpy as np
    rate, x = program.read_wav(os.path.join(os.environ["OMNI_TEST_MODEL"], "questions", name))
    at = np.arange(int(len(x) * 24000 / rate)) * rate / 24000
    y = np.interp(at, np.arange(len(x)), x.astype(np.float64)).astype("<i2").tobytes()
    quiet = bytes(2 * int(24000 * silence))
    return quiet + y + quiet


# ---- invariants ------------------------------------------------------------------------------------

GA_ONLY = {"conversation.item.added", "conversation.item.done", "response.output_text.delta", "response.output_text.done",
           "response.output_audio.delta", "response.output_audio.done", "response.output_audio_transcript.delta",
           "response.output_audio_transcript.done"}
BETA_ONLY = {"conversation.item.created", "response.text.delta", "response.text.done", "response.audio.delta",
             "response.audio.done", "response.audio_transcript.delta", "response.audio_transcript.done",
             "transcription_session.created", "transcription_session.updated"}


def check_stream(events, beta=False):
    """Invariants I1, I3 to I7, I9 and I10, and case 107, of one connection; I8 is checked where frames are read."""
    ids = [e["event_id"] for e in events]
    assert all(ids) and len(set(ids)) == len(ids), "event ids"
    alien = GA_ONLY if beta else BETA_ONLY
    assert not alien & {e["type"] for e in events}, "names of the other dialect"
    assert not any(e["type"].startswith(("output_audio_buffer.", "rate_limits.")) for e in events)     # case 107: never
    open_responses, open_items, open_parts, items, done, deltas, sizes = {}, {}, {}, {None}, set(), {}, {}
    for e in events:
        kind, rid, iid = e["type"], e.get("response_id"), e.get("item_id")
        if rid:
            assert rid in open_responses, "response %s is not open: %s" % (rid, kind)
        if kind == "response.created":
            assert e["response"]["output"] == [] and e["response"]["status"] == "in_progress"
            assert e["response"]["id"] not in done
            open_responses[e["response"]["id"]] = e
        elif kind == "response.done":
            r = e["response"]
            assert open_responses.pop(r["id"], None) and r["id"] not in (*open_items.values(), *open_parts.values()), kind
            done.add(r["id"])
            check_response(r, deltas)
        elif kind == "response.output_item.added":
            open_items[e["item"]["id"]] = rid
        elif kind == "response.output_item.done":
            del open_items[e["item"]["id"]]
        elif kind == "response.content_part.added":
            assert iid in open_items and e["part"]["type"] in ("text", "audio")
            open_parts[iid] = rid
        elif kind == "response.content_part.done":
            del open_parts[iid]
            assert deltas.get(iid, "") == e["part"].get("text", e["part"].get("transcript"))
        elif kind.endswith("audio.delta"):
            n = len(base64.b64decode(e["delta"], validate=True))
            assert iid in open_parts and n % 2 == 0 or n, kind
            assert sizes.get(iid, 0) % 6 == 0, "only the last delta may be odd"
            sizes[iid] = n
        elif kind == "response.function_call_arguments.delta":
            assert iid in open_items
            deltas[iid] = deltas.get(iid, "") + e["delta"]
        elif kind == "response.function_call_arguments.done":
            assert iid in open_items and deltas.get(iid, "") == e["arguments"] and ("name" in e) != beta
        elif kind.endswith(("transcript.delta", "text.delta")) and "input_audio" not in kind:
            assert iid in open_parts
            deltas[iid] = deltas.get(iid, "") + e["delta"]
        elif kind.endswith(("transcript.done", "text.done")):
            assert deltas.get(iid, "") == e.get("text", e.get("transcript"))
        elif kind in ("conversation.item.added", "conversation.item.created"):
            assert "previous_item_id" in e and e["previous_item_id"] in items
            items.add(e["item"]["id"])
            for part in e["item"].get("content", []):
                assert part["type"] != "input_audio" or "transcript" in part
        elif kind == "error":
            assert set(e["error"]) == {"type", "code", "message", "param", "event_id"} and e["error"]["message"]


def check_response(r, deltas):
    u = r["usage"]
    assert u["total_tokens"] == u["input_tokens"] + u["output_tokens"]
    assert u["input_tokens"] == sum(u["input_token_details"][k] for k in ("text_tokens", "audio_tokens", "image_tokens"))
    assert u["output_tokens"] == sum(u["output_token_details"].values())
    assert r["object"] == "realtime.response" and "status_details" in r and "metadata" in r and "conversation_id" in r
    assert r["status"] in ("completed", "cancelled", "incomplete", "failed")
    for item in r["output"]:
        assert item["status"] == ("completed" if r["status"] == "completed" else "incomplete")
        if item["type"] == "function_call":
            assert deltas.get(item["id"], "") == item["arguments"] and item["call_id"] and item["name"]
        for part in item["content"] if item["type"] == "message" else ():
            assert deltas.get(item["id"], "") == part.get("text", part.get("transcript"))
