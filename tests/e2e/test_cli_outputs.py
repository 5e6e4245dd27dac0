"""Outputs are all or nothing: unwritable places, full disks, closed pipes and Ctrl-C leave nothing half-written."""

import fcntl
import json
import os
import resource
import signal
import subprocess
import threading
import time
import unittest

import numpy as np

from program import OMNI, gguf_string, patch, remove, run, scratch, synth, tone, wav_bytes, write


class Outputs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("outputs")
        synth(f"{cls.dir}/model")
        cls.model = f"{cls.dir}/model"
        cls.good = write(f"{cls.dir}/good.wav", wav_bytes(tone()))

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def setUp(self):
        self.out = os.path.join(self.dir, "out." + self.id().rsplit(".", 1)[1])
        os.mkdir(self.out)

    def one_line(self, r, code=1):
        err = r.stderr.decode()
        self.assertEqual(r.returncode, code, err)
        lines = [line for line in err.split("\n") if line.startswith("omni: ") and "note:" not in line]
        self.assertEqual(len(lines), 1, err)
        return lines[0]

    def commands(self, path):
        """Every command that writes a file, writing to path."""
        yield ["ask", "-q", "-m", self.model, "-n", "20", self.good, "-o", path]
        yield ["probe", "-m", self.model, "--stage", "hidden", "-n", "20", self.good, "-o", path]

    def test_unwritable(self):
        write(f"{self.out}/file", "x")
        for place in (f"{self.out}/none/a", f"{self.out}/file/a", self.out, f"{self.out}/" + "n" * 300):
            for command in self.commands(place):
                line = self.one_line(run(*command))
                self.assertIn(self.out, line)
        self.assertEqual(os.listdir(self.out), ["file"])
        self.assertIn(self.out, self.one_line(run("synth-model", "--like", "llama-omni-tiny", "-o", f"{self.out}/file")))

    def test_full_device(self):
        for command in self.commands("/dev/full"):
            self.assertIn("No space left", self.one_line(run(*command)))

    def test_full_standard_output(self):
        with open("/dev/full", "wb") as full:
            for command in (["ask", "-q", "-m", self.model, "-n", "5", self.good],
                            ["ask", "-q", "-m", self.model, "-n", "5", self.good, "--json"],
                            ["ask", "-q", "-m", self.model, "-n", "5", self.good, "-o", "-"],
                            ["probe", "-m", self.model, "--stage", "mel", self.good, "-o", "-"],
                            ["info", self.model], ["info", self.model, "--json"], ["--help"], ["--man"],
                            ["bench", "-m", self.model, "-n", "3", "-r", "1", "--warmup", "0"]):
                line = self.one_line(run(*command, stdout=full))
                self.assertIn("No space left", line)
                self.assertIn("standard output", line)

    def test_full_standard_output_takes_the_file_with_it(self):
        with open("/dev/full", "wb") as full:
            self.one_line(run("ask", "-q", "-m", self.model, "-n", "5", self.good, "-o", f"{self.out}/a.wav", stdout=full))
        self.assertEqual(os.listdir(self.out), [])

    def limited(self, *command, limit=4096):
        return run(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))

    def test_file_that_does_not_fit(self):
        for command in self.commands(f"{self.out}/a"):
            self.assertIn("too large", self.one_line(self.limited(*command)))
            self.assertEqual(os.listdir(self.out), [])
        self.one_line(self.limited("synth-model", "--like", "llama-omni-tiny", "-o", f"{self.out}/m", limit=100000))
        self.assertEqual(os.listdir(self.out), [])

    def test_old_file_survives_a_failure(self):
        for command in self.commands(f"{self.out}/a"):
            write(f"{self.out}/a", "old")
            self.one_line(self.limited(*command))
            with open(f"{self.out}/a") as f:
                self.assertEqual(f.read(), "old")
            self.assertEqual(os.listdir(self.out), ["a"])

    def test_old_file_is_replaced_with_a_complete_one(self):
        old = write(f"{self.out}/old", "x" * 10)
        os.chmod(old, 0o640)
        os.symlink("old", f"{self.out}/link")
        for command in self.commands(f"{self.out}/link"):
            self.assertEqual(run(*command).returncode, 0)
            self.assertTrue(os.path.islink(f"{self.out}/link"))
            self.assertGreater(os.path.getsize(old), 1000)
            self.assertEqual(os.stat(old).st_mode & 0o777, 0o640)
            self.assertEqual(sorted(os.listdir(self.out)), ["link", "old"])

    def test_closed_pipe(self):
        for command in (["ask", "-q", "-m", self.model, "-n", "200", self.good, "-o", "-"],
                        ["ask", "-q", "-m", self.model, "-n", "200", self.good, "--json"], ["--man"]):
            if command[0] == "ask":
                command[1:1] = ["-t", "1"]
            reader, writer = os.pipe()
            os.close(reader)        # before the start: what is written must never find room in the pipe
            p = subprocess.Popen([OMNI, *command], stdout=writer, stderr=subprocess.PIPE)
            os.close(writer)
            err = p.communicate(timeout=120)[1]
            self.assertEqual(p.returncode, 141, (command, err))
            self.assertNotIn(b"omni:", err)

    def interrupted(self, signal_number, command, until):
        """Starts command, sends the signal once until() holds; the process and the exit code."""
        p = subprocess.Popen([OMNI, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        fcntl.fcntl(p.stdout, fcntl.F_SETPIPE_SZ, 4096)
        deadline = time.monotonic() + 120
        while not until(p) and p.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        self.assertIsNone(p.poll(), "it ended before it could be interrupted")
        p.send_signal(signal_number)
        out, err = p.communicate(timeout=120)
        return p.returncode, out, err

    def test_interrupt_during_the_answer(self):
        # 900 tokens, a line of JSON each: more than the pipe holds, so it can not end before we let it.
        command = ["ask", "--json", "-t", "1", "-m", self.model, "-c", "1000", "-n", "900", "--text", "hello", "-o", f"{self.out}/a.wav"]
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            code, _, err = self.interrupted(signal_number, command, lambda p: p.stdout.read(1) != b"")
            self.assertEqual(code, 130, err)
            self.assertEqual(os.listdir(self.out), [])

    def test_interrupted_json_says_so(self):
        command = ["ask", "--json", "-t", "1", "-m", self.model, "-c", "1000", "-n", "900", "--text", "hello", "-o", "/dev/null"]
        code, out, err = self.interrupted(signal.SIGINT, command, lambda p: p.stdout.read(1) != b"")
        self.assertEqual(code, 130, err)
        self.assertEqual(json.loads(out.splitlines()[-1])["event"], "cancelled")

    def test_interrupt_between_two_answers(self):
        """While the second question is being resampled no turn runs that could be cancelled."""
        long = write(f"{self.dir}/five-minutes.wav", wav_bytes(np.resize(tone(1.0, 48000), 300 * 48000), rate=48000))
        p = subprocess.Popen([OMNI, "ask", "--json", "-t", "1", "-m", self.model, "-n", "300", "--text", "hello", long],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while b'"event":"end"' not in p.stdout.readline():
            self.assertIsNone(p.poll())
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=120)
        self.assertEqual((p.returncode, out.count(b'"text"')), (130, 0), err)
        os.remove(long)

    def test_pipe_with_a_name(self):
        """As -o >(aplay): nothing can be filled in later, so the lengths in the header are the largest."""
        a = run("ask", "-q", "-m", self.model, "-n", "20", self.good, "-o", f"{self.out}/a.wav")
        os.mkfifo(f"{self.out}/pipe")
        got = []
        def read():
            with open(f"{self.out}/pipe", "rb") as f:
                got.append(f.read())
        reader = threading.Thread(target=read)
        reader.start()
        b = run("ask", "-q", "-m", self.model, "-n", "20", self.good, "-o", f"{self.out}/pipe")
        reader.join()
        self.assertEqual((a.returncode, b.returncode, b.stderr), (0, 0, b""))
        with open(f"{self.out}/a.wav", "rb") as f:
            file = f.read()
        [piped] = got
        self.assertEqual(file[:4] + b"\xff" * 4 + file[8:40] + b"\xff" * 4 + file[44:], piped)
        again = run("ask", "-q", "-m", self.model, "-n", "3", "-", stdin=piped)
        self.assertEqual(again.returncode, 0, again.stderr)

    def test_json_beside_raw_samples_is_all_there_is(self):
        r = run("ask", "-m", self.model, "-n", "5", self.good, "-o", "-", "--json")
        self.assertEqual([json.loads(line)["event"] for line in r.stderr.splitlines()][-1], "end")

    def test_interrupt_during_synth_model(self):
        folder = f"{self.out}/m"
        command = ["synth-model", "--like", "llama-omni-8b", "-o", folder]
        code, _, err = self.interrupted(signal.SIGINT, command, lambda p: os.path.isdir(folder) and any(
            os.path.getsize(f"{folder}/{name}") > 10 ** 7 for name in os.listdir(folder)))
        self.assertEqual(code, 130, err)
        self.assertEqual(os.listdir(self.out), [])

    def test_names_do_not_steer_the_terminal(self):
        """Texts of a foreign file are one line each, without control characters (C1 in UTF-8 too)."""
        evil = "\x1b]0;x\x07\nllm file     /etc/passwd\x7f\u009b2J\u00e9"
        name = "n" * len(evil.encode())
        for path in synth(f"{self.out}/m", name=name):
            patch(path, path, gguf_string(name), gguf_string(name)[:8] + evil.encode())
        for command in (["info", "-m", f"{self.out}/m", "--metadata", "--tensors"],
                        ["bench", "-m", f"{self.out}/m", "-r", "1", "--warmup", "0", "--seconds", "0.5", "-n", "1"]):
            r = run(*command)
            self.assertEqual(r.returncode, 0, r.stderr)
            text = r.stdout.decode()
            self.assertIn("?]0;x??llm file     /etc/passwd???2J\u00e9", text)
            self.assertEqual([c for c in text if c != "\n" and (ord(c) < 32 or 0x7f <= ord(c) < 0xa0)], [])
            self.assertNotIn("\nllm file     /etc", text)

    def test_raw_samples_are_those_of_the_file(self):
        a = run("ask", "-q", "-m", self.model, "-n", "20", self.good, "-o", f"{self.out}/a.wav")
        b = run("ask", "-q", "-m", self.model, "-n", "20", self.good, "-o", "-")
        self.assertEqual((a.returncode, b.returncode), (0, 0), a.stderr + b.stderr)
        with open(f"{self.out}/a.wav", "rb") as f:
            data = f.read()
        at = data.index(b"data") + 8
        self.assertGreater(len(b.stdout), 1000)
        self.assertEqual(data[at:], b.stdout)
        self.assertEqual(a.stdout, b.stderr)        # the text moved to standard error
        self.assertTrue(np.frombuffer(b.stdout, "<i2").any())


if __name__ == "__main__":
    unittest.main()
