"""omni bench --serve: short loads on a real server; its numbers, its drawing, and what it says when it can not measure."""

import json
import os
import shutil
import socket
import subprocess
import threading
import unittest
import xml.etree.ElementTree as xml

import program
from realtime_client import Server

FRAME = "{http://www.w3.org/2000/svg}"


QUESTIONS = [os.path.join(os.environ["OMNI_TEST_MODEL"], "questions", "%d.wav" % i) for i in (1, 2, 3, 4)]


def bench(url, *options, questions=QUESTIONS):
    """The questions are named, so that the program may lie anywhere."""
    return program.run("bench", "--serve", url, *options, *questions, threads=False)


def at(server, scheme="ws"):
    return "%s://127.0.0.1:%d" % (scheme, server.port)


class Load(unittest.TestCase):
    def setUp(self):
        self.folder = program.scratch("load")
        self.addCleanup(program.remove, self.folder)

    def fails(self, result, code, *words):
        err = result.stderr.decode()
        self.assertEqual((result.returncode, result.stdout, err.count("\n")), (code, b"", 1), err)
        for word in words:
            self.assertIn(word, err)

    def test_numbers_and_drawing(self):
        svg = os.path.join(self.folder, "load.svg")
        with Server("-np", "3") as server:
            r = bench(at(server, "http"), "--sessions", 3, "--minutes", 0.15 * program.SLOW, "--barge-in", 0.5, "--think", 0.3, "--json", "--svg", svg)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertEqual(server.metric('s2s_sessions_total{dialect="ga"}'), 3)
            served = server.metric('s2s_responses_total{status="completed"}') + server.metric('s2s_responses_total{status="cancelled"}')
        o = json.loads(r.stdout)
        first, own = o["first_audio_ms"], o["after_speech_stopped_ms"]
        self.assertGreater(o["answers"], 2)
        self.assertEqual(o["answers"], first["n"])
        self.assertLessEqual(o["answers"], served)
        # The pause of 300 ms begins where the server hears the end, up to 100 ms before the last sample that the bench calls loud.
        self.assertTrue(200 < first["p50"] <= first["p95"] <= first["p99"] <= first["max"], first)
        self.assertTrue(0 < own["p50"] < first["p50"], own)
        self.assertEqual((o["opened"], o["errors"], o["refused"], o["strays"], o["mute"]), (3, {}, {}, 0, 0))
        self.assertGreaterEqual(o["questions"], o["answers"])
        self.assertGreater(o["interruptions"], 0)
        self.assertEqual(o["interruption_noticed_ms"]["n"] + o["unheard"], o["interruptions"])
        self.assertGreater(o["heard_seconds"], 1)
        self.assertGreater(o["chunks"]["sent"], 3 * 50 * 7)
        self.assertGreaterEqual(o["seconds"], 9)
        drawing = xml.parse(svg).getroot()
        self.assertEqual(drawing.tag, FRAME + "svg")
        dots = [p.get("d") for p in drawing.iter(FRAME + "path") if p.get("class") == "d"]
        self.assertEqual(dots[0].count("M"), o["answers"])
        self.assertIn("%d answers" % o["answers"], "".join(drawing.itertext()))

    def test_table_own_recordings_and_refusals(self):
        with Server("-np", "1") as server:
            question = os.path.join(os.environ["OMNI_TEST_MODEL"], "questions", "3.wav")
            r = bench(at(server), "--sessions", 2, "--minutes", 0.1, "--barge-in", 0, questions=[question])
            refused = server.metric('s2s_refused_total{reason="slots"}')
        self.assertEqual(r.returncode, 0, r.stderr)
        table = r.stdout.decode()
        self.assertIn("2 conversations for 6.0 s; 1 recorded questions of 1.6 to 1.6 s", table)
        self.assertRegex(table, r"\nfirst audio +\d+ +\d+ +\d+ +\d+ +[1-9]")
        self.assertRegex(table, r"\nsessions +1 opened\nrefused +%d of \"503\"\nerrors +none\n" % refused)
        self.assertGreaterEqual(refused, 4)     # it comes again after the second that Retry-After asks for
        self.assertLessEqual(refused, 12)

    def test_the_bundled_questions_are_found_from_the_program(self):
        os.makedirs(os.path.join(self.folder, "bin"))
        os.makedirs(os.path.join(self.folder, "models"))
        os.symlink(os.environ["OMNI_TEST_MODEL"], os.path.join(self.folder, "models", "tiny"))
        copy = shutil.copy(program.OMNI, os.path.join(self.folder, "bin"))
        r = subprocess.run([copy, "bench", "--serve", "ws://127.0.0.1:1"], capture_output=True, timeout=60)
        self.assertIn(b"Connection refused", r.stderr)
        os.remove(os.path.join(self.folder, "models", "tiny"))
        r = subprocess.run([copy, "bench", "--serve", "ws://127.0.0.1:1"], capture_output=True, timeout=60)
        if not os.path.exists("/usr/local/share/llama-omni/models/tiny"):
            self.assertRegex(r.stderr, rb"no models/tiny is found near the program or in /.*/llama-omni;")

    def test_keys(self):
        key = program.write(os.path.join(self.folder, "key"), "sesame\n")
        with Server("--api-key", "sesame") as server:
            self.fails(bench(at(server), "--minutes", 0.1), 1, "no conversation began", "No API key")
            self.fails(bench(at(server), "--minutes", 0.1, "--api-key", "wrong"), 1, "invalid_api_key")
            r = bench(at(server), "--minutes", 0.08, "--sessions", 1, "--api-key-file", key, "--json")
            self.assertEqual(r.returncode, 0, r.stderr)
        self.fails(bench("ws://127.0.0.1", "--api-key", "x", "--api-key-file", key), 2, "contradict")

    def test_tls(self):
        cert, secret = os.path.join(self.folder, "cert.pem"), os.path.join(self.folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", secret, "-out", cert],
                       check=True, capture_output=True)
        with Server("--ssl-cert-file", cert, "--ssl-key-file", secret) as server:
            r = bench(at(server, "wss"), "--minutes", 0.07, "--sessions", 2, "--json", "--ssl-cert-file", cert)
            self.assertEqual(r.returncode, 0, r.stderr)
            o = json.loads(r.stdout)
            self.assertEqual((o["opened"], o["errors"]), (2, {}))
            self.fails(bench(at(server, "wss"), "--minutes", 0.1), 1, "certificate", "--ssl-cert-file")
            self.fails(bench(at(server), "--minutes", 0.1), 1, "no conversation began")
        self.fails(bench("wss://127.0.0.1:1", "--ssl-cert-file", secret), 1, "PEM")

    def test_no_server_or_another_one(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        url = "ws://127.0.0.1:%d" % listener.getsockname()[1]

        def mumble():
            try:
                while True:
                    c, _ = listener.accept()
                    c.recv(65536)
                    c.sendall(b"220 mail.example ready\r\n\r\n")
                    c.close()
            except OSError:
                pass
        threading.Thread(target=mumble, daemon=True).start()
        self.fails(bench(url, "--minutes", 0.1), 1, "not in HTTP")
        with Server() as server:
            self.fails(bench(at(server) + "/v1/models", "--minutes", 0.1), 1, "HTTP status 200")
            self.fails(bench(at(server) + "/nope", "--minutes", 0.1), 1, "HTTP status 404", "nothing at this path")
            gone = at(server)
        self.fails(bench(gone, "--minutes", 0.1), 1, "Connection refused")
        self.fails(bench("ws://no.such.host.invalid", "--minutes", 0.1), 1, "no.such.host.invalid")

    def test_a_server_that_dies(self):
        server = Server()
        load = subprocess.Popen([program.OMNI, "bench", "--serve", at(server), "--minutes", str(0.2 * program.SLOW), "--sessions", "2", "--json",
                                 *QUESTIONS],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while server.metric('s2s_responses_total{status="completed"}') < 1:
            self.assertIsNone(load.poll())
        server.process.kill()
        server.process.communicate()
        out, err = load.communicate(timeout=60 * program.SLOW)
        self.assertEqual(load.returncode, 0, err)
        errors = json.loads(out)["errors"]
        self.assertEqual(errors["lost: the connection broke"], 2)
        self.assertGreater(errors["unreachable: Connection refused"], 0)

    def test_usage(self):
        for options, word in (([""], "empty"), (["127.0.0.1:8080"], "begins ws://"), (["ws://a:0"], "port"), (["ws://a", "-m", "x"], "--model"),
                              (["ws://a", "--sessions", "0"], "1 to 1000"), (["ws://a", "-r", "5"], "--runs")):
            self.fails(bench(*options), 2, word)
        self.fails(program.run("bench", "--sessions", 3, threads=False), 2, "--serve URL")
        self.fails(bench("ws://127.0.0.1:1", "--svg", os.path.join(self.folder, "none", "load.svg")), 1, "load.svg", "can not be written")
        self.fails(bench("ws://127.0.0.1:1", questions=[os.path.join(self.folder, "nope.wav")]), 1, "nope.wav")


if __name__ == "__main__":
    unittest.main()
