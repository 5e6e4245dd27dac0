"""omni --rpc: LLM layers computed by llama.cpp's RPC servers, two on loopback: the same tokens, the same sound."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
import unittest

import numpy as np

import program
from realtime_client import DEADLINE, Server

MODEL = os.environ["OMNI_TEST_MODEL"]
QUESTION = os.path.join(MODEL, "questions", "1.wav")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Lender:
    """ggml-rpc-server on a free port."""

    def __init__(self):
        self.port = free_port()
        self.process = subprocess.Popen([os.environ["OMNI_RPC_SERVER"], "-p", str(self.port), "-t", "1"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < until, "ggml-rpc-server did not start"
                time.sleep(0.02)

    @property
    def name(self):
        return "127.0.0.1:%d" % self.port

    def close(self):
        self.process.kill()
        self.process.wait()


class Counter:
    """Hands bytes on to a lender and counts those that go there."""

    def __init__(self, lender):
        self.bytes, self.lender, self.listener = 0, lender, socket.create_server(("127.0.0.1", 0))
        self.name = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.lender.port))
            for s in (near, far):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(near, far), daemon=True).start()

    def serve(self, near, far):
        back = threading.Thread(target=self.hand_on, args=(far, near, False), daemon=True)
        back.start()
        self.hand_on(near, far, True)
        back.join()
        near.close()
        far.close()

    def hand_on(self, one, other, counted):
        try:
            while True:
                data = one.recv(1 << 16)
                if not data:
                    break
                if counted:
                    self.bytes += len(data)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


class Rpc(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lenders = [Lender(), Lender()]
        cls.counters = [Counter(lender) for lender in cls.lenders]
        cls.servers = ",".join(c.name for c in cls.counters)
        cls.folder = program.scratch("rpc")

    @classmethod
    def tearDownClass(cls):
        for c in cls.counters + cls.lenders:
            c.close()
        program.remove(cls.folder)

    def probe(self, stage, name, *options):
        path = os.path.join(self.folder, name)
        r = program.run("probe", "-m", MODEL, "--stage", stage, QUESTION, "-o", path, *options)
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        return np.load(path)

    def ask(self, *options, wav=None):
        r = program.run("ask", "-m", MODEL, "-q", QUESTION, os.path.join(MODEL, "questions", "2.wav"), *(["-o", wav] if wav else []), *options)
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        return r.stdout

    def refused(self, servers, words, *options):
        r = program.run("ask", "-m", MODEL, QUESTION, "--rpc", servers, *options)
        self.assertEqual((r.returncode, r.stdout), (1, b""))
        text = r.stderr.decode()
        self.assertRegex(text, r"\Aomni: [^\n]*\n\Z")
        self.assertIn(words, text)

    def test_two_servers_give_the_same_tokens(self):
        before = [c.bytes for c in self.counters]
        here, there = self.probe("tokens", "a.npy"), self.probe("tokens", "b.npy", "--rpc", self.servers)
        np.testing.assert_array_equal(here, there)
        # Each had its share of the weights and of the work.
        weights = os.path.getsize(os.path.join(MODEL, "tiny-F16.gguf"))
        for c, n in zip(self.counters, before):
            self.assertGreater(c.bytes - n, weights / 10)

    def test_states_agree(self):
        here, there = self.probe("hidden", "c.npy"), self.probe("hidden", "d.npy", "--rpc", self.servers)
        self.assertLess(np.abs(here - there).max(), 1e-3 * np.abs(here).max())

    def test_a_conversation_and_its_sound(self):
        wav = [os.path.join(self.folder, n) for n in ("e.wav", "f.wav")]
        self.assertEqual(self.ask(wav=wav[0]), self.ask("--rpc", self.servers, wav=wav[1]))
        self.assertTrue(len(program.read_wav(wav[1])[1]))

    def test_some_layers_stay(self):
        self.assertEqual(self.ask(), self.ask("--rpc", self.servers, "-ngl", "1"))

    def test_serve(self):
        question = {"model": "m", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
        answers = []
        for options in ((), ("--rpc", self.servers)):
            with Server(*options, "-np", "2") as server:
                status, _, body = server.request("POST", "/v1/chat/completions", question)
                self.assertEqual(status, 200)
                answers.append(re.search(rb'"content":"([^"]*)"', body).group(1))
        self.assertEqual(*answers)

    def test_a_server_that_dies_ends_the_process(self):
        lender = Lender()
        self.addCleanup(lender.close)
        os.environ["GGML_NO_BACKTRACE"] = "1"
        server = Server("--rpc", lender.name)
        lender.close()
        try:
            server.request("POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
        except OSError:
            pass
        _, err = server.process.communicate(timeout=DEADLINE)
        self.assertEqual(server.process.returncode, -signal.SIGABRT)
        self.assertIn("RPC server", err.decode())

    def test_lists(self):
        for text in ("x", ":1", "host:", "127.0.0.1:1x", "127.0.0.1:1,", "[::1]:5", "127.0.0.1:123456"):
            self.refused(text, "wanted HOST:PORT")
        self.refused("127.0.0.1:0", "wanted 1..65535")
        self.refused(self.servers, "n_gpu_layers 0", "-ngl", "0")

    def test_nobody_there(self):
        self.refused("127.0.0.1:%d" % free_port(), "is ggml-rpc-server running there?")
        self.refused(self.servers + ",127.0.0.1:%d" % free_port(), "is ggml-rpc-server running there?")

    def test_somebody_else_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def answer(data):
                with listener.accept()[0] as s:
                    s.recv(100)
                    s.sendall(data)

            for data, words in ((b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "is no RPC server"), (b"", "is no RPC server"),
                                (bytes([28, 0, 0, 0, 0, 0, 0, 0, 99, 1, 2]) + bytes(25), "speaks version 99.1")):
                thread = threading.Thread(target=answer, args=(data,))
                thread.start()
                self.refused("127.0.0.1:%d" % listener.getsockname()[1], words)
                thread.join()

    def test_in_use(self):
        lender = Lender()
        self.addCleanup(lender.close)
        with socket.create_connection(("127.0.0.1", lender.port)) as holder:
            time.sleep(0.2)
            self.refused(lender.name, "is another one using it?")
            holder.close()


if __name__ == "__main__":
    unittest.main()
