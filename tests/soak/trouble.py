"""Clients that nobody wants: they read slowly or never, fall silent, leave in the middle of an answer, send nonsense.

Each is a thread that comes again and again until it is told to stop. What the server does to them is its own affair;
they only count what they did.
"""

import base64
import json
import os
import random
import socket
import struct
import threading
import time

from realtime_client import Closed, Refused, Socket

QUESTION = "What is the capital of France?"
GONE = (OSError, Closed, Refused, TimeoutError, AssertionError)


class Trouble:
    def __init__(self, server, seed=1):
        self.server, self.random, self.over, self.done, self.lock = server, random.Random(seed), threading.Event(), {}, threading.Lock()
        kinds = [self.reads_slowly, self.reads_nothing, self.is_half_open, self.is_half_open, self.is_half_open, self.asks_by_halves,
                 self.leaves_in_the_middle, self.leaves_in_the_middle, self.talks_nonsense]
        self.seats = len(kinds) - 1         # half a request takes none
        self.threads = [threading.Thread(target=self.again_and_again, args=(kind,)) for kind in kinds]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, kind, value, trace):
        self.over.set()
        for t in self.threads:
            t.join()

    def again_and_again(self, kind):
        while not self.over.is_set():
            try:
                kind()
                word = kind.__name__
            except Refused as e:
                word = "%s refused: %d" % (kind.__name__, e.status)
            except GONE:
                word = kind.__name__ + ", dropped"
            with self.lock:
                self.done[word] = self.done.get(word, 0) + 1
            self.over.wait(self.random.uniform(0.1, 0.4))

    # ---- the kinds

    def open(self):
        c = Socket(self.server)
        c.next()
        return c

    def ask(self, c):
        c.say(QUESTION)
        c.send("response.create")

    def reads_slowly(self):
        """4 KiB every tenth of a second is less than the sound of an answer."""
        c = self.open()
        try:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            until = time.monotonic() + 20
            for i in range(200):
                if self.over.is_set() or time.monotonic() > until:
                    return
                if i % 20 == 0:
                    self.ask(c)
                if not c.sock.recv(4096):
                    return
                self.over.wait(0.1)
        finally:
            c.sock.close()

    def reads_nothing(self):
        """Asks on; the server stops its answers, and drops it when nothing moved for half a minute."""
        c = self.open()
        try:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(45):
                self.ask(c)
                if self.over.wait(1):
                    return
        finally:
            c.sock.close()

    def is_half_open(self):
        """The other side's machine has gone without a word: no pong, no end. A minute later the server hangs up."""
        c = self.open()
        try:
            c.sock.settimeout(1)
            until = time.monotonic() + 90
            while not self.over.is_set() and time.monotonic() < until:
                try:
                    if not c.sock.recv(4096):
                        return
                except TimeoutError:
                    pass
            if not self.over.is_set():
                raise SystemError("a silent connection was kept for 90 s")
        finally:
            c.sock.close()

    def asks_by_halves(self):
        s = socket.create_connection(("127.0.0.1", self.server.port), timeout=1)
        try:
            s.sendall(b"GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgr")
            for _ in range(40):
                try:
                    s.recv(4096)
                    return
                except TimeoutError:
                    pass
                if self.over.is_set():
                    return
        finally:
            s.close()

    def leaves_in_the_middle(self):
        c = self.open()
        try:
            self.ask(c)
            c.until("response.output_audio.delta")
            if self.random.random() < 0.5:      # RST instead of FIN
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            c.sock.close()

    def talks_nonsense(self):
        raw = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /\r\n\r\n", os.urandom(200), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
               b"GET /v1/realtime HTTP/1.1\r\n" + b"X: y\r\n" * 8000 + b"\r\n"]
        s = socket.create_connection(("127.0.0.1", self.server.port), timeout=5)
        try:
            s.sendall(self.random.choice(raw))
            s.recv(4096)
        finally:
            s.close()
        frames = [b"\x81\x05hello",                             # not masked
                  b"\xf1\x80abcd",                              # reserved bits
                  b"\x83\x80abcd",                              # an opcode that is none
                  b"\x89\xfe\x01\x00abcd" + bytes(256),         # a ping that is too long
                  b"\x09\x80abcd",                              # a control frame in pieces
                  b"\x80\x80abcd",                              # goes on with nothing
                  b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xffabcd",      # longer than anything
                  b"\x81\xff\x00\x00\x00\x00\x7f\xff\xff\xffabcd",
                  b"\x88\x81abcda",                             # a close of one byte
                  b"\x81\x82\x00\x00\x00\x00\xc3\x28",          # not UTF-8
                  b"\x01\x82\x00\x00\x00\x00ab" * 3]            # a message begun three times
        c = self.open()
        try:
            c.sock.sendall(self.random.choice(frames))
            c.sock.settimeout(5)
            while c.sock.recv(4096):
                pass
        finally:
            c.sock.close()
        texts = ["{", "[1,2", "null", '{"type":1}', '{"type":"response.create","response":[]}', '{"a":' * 5000,
                 '{"type":"input_audio_buffer.append","audio":"%%%"}', '{"type":"conversation.item.truncate","item_id":"x"}',
                 json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(os.urandom(60001)).decode()}),
                 json.dumps({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [{"type": "x"}]}})]
        c = self.open()
        try:
            for text in texts:
                c.frame(1, text.encode())
            c.sock.settimeout(5)
            c.next()
        finally:
            c.sock.close()
