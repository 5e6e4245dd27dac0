"""omni talk without a sound card: ALSA's file plug-in is the microphone and the loudspeaker."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import unittest

import numpy as np

from program import OMNI, SOURCE, read_wav, remove, run, scratch, synth, wav_bytes, write

sys.path.insert(0, f"{SOURCE}/lab/tiny")
import judge      # noqa: E402

MODEL = os.environ["OMNI_TEST_MODEL"]
RATE = 48000

CONFIG = """</usr/share/alsa/alsa.conf>
pcm.nothing {{ type null }}
pcm.ear {{ type file slave.pcm nothing file /dev/null infile "{folder}/microphone.raw" format raw }}
pcm.mouth {{ type file slave.pcm nothing file "{folder}/speaker.raw" format raw }}
pcm.both {{ type asym playback.pcm mouth capture.pcm ear }}
pcm.headset {{ type plug slave {{ pcm both rate 48000 channels 1 format S16_LE }} }}
pcm.!default "headset"
"""


class Talk:
    """The program running, its notes as they come."""

    running = []

    def __init__(self, folder, *args):
        self.folder = folder
        if os.path.exists(f"{folder}/speaker.raw"):
            os.remove(f"{folder}/speaker.raw")
        write(f"{folder}/asound.conf", CONFIG.format(folder=folder))
        self.p = subprocess.Popen([OMNI, "talk", "-t", "1", *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, env=dict(os.environ, ALSA_CONFIG_PATH=f"{folder}/asound.conf"))
        self.notes, self.new = [], threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        Talk.running.append(self)

    def read(self):
        for line in self.p.stderr:
            with self.new:
                self.notes.append(line.decode())
                self.new.notify_all()

    def wait_for(self, word, timeout=120):
        """Until a note beyond those waited for before says word."""
        end = time.monotonic() + timeout
        with self.new:
            while True:
                for i, line in enumerate(self.notes):
                    if word in line:
                        del self.notes[:i + 1]
                        return
                assert self.new.wait(end - time.monotonic()), f"no '{word}' but {self.notes}"

    def key(self, key="\n"):
        self.p.stdin.write(key.encode())
        self.p.stdin.flush()

    @classmethod
    def stop_all(cls):
        """Those that a failed test left behind."""
        while cls.running:
            t = cls.running.pop()
            if t.p.poll() is None:
                t.p.kill()
                t.p.wait()

    def finish(self, timeout=120):
        """(exit code, standard output, standard error since the last wait)"""
        self.p.stdin.close()
        out = self.p.stdout.read().decode()
        code = self.p.wait(timeout)
        self.reader.join()
        self.p.stdout.close()
        self.p.stderr.close()
        return code, out, "".join(self.notes)

    def speaker(self):
        return np.fromfile(f"{self.folder}/speaker.raw", "<i2").astype(np.float32) / 32768


def microphone(folder, *parts):
    """parts: seconds of silence, or (rate, samples), one after the other; then a minute of silence."""
    whole = []
    for part in parts + (60.0,):
        if isinstance(part, float):
            whole.append(np.zeros(int(part * RATE)))
            continue
        rate, x = part
        n = int(len(x) * RATE / rate)
        whole.append(np.fft.irfft(np.fft.rfft(x), n) * n / len(x))
    write(f"{folder}/microphone.raw", np.concatenate(whole).round().astype("<i2").tobytes())


class Talking(unittest.TestCase):
    def tearDown(self):
        Talk.stop_all()


class Headless(Talking):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("talk")
        synth(f"{cls.dir}/model")
        cls.model = f"{cls.dir}/model"
        t = np.arange(RATE) / RATE
        cls.tone = (RATE, 8000 * np.sin(2 * np.pi * 220 * t))

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def talk(self, *args):
        """By keys; a pause ends a question elsewhere."""
        return Talk(self.dir, "-m", self.model, "-n", "24", "--push-to-talk", *args)

    def test_devices_are_listed(self):
        microphone(self.dir)
        write(f"{self.dir}/asound.conf", CONFIG.format(folder=self.dir))
        r = run("talk", "--list-devices", env={"ALSA_CONFIG_PATH": f"{self.dir}/asound.conf"}, threads=False)
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        self.assertRegex(r.stdout.decode(), r"(?m)^ *\d+  input, output +48000 Hz  headset \(ALSA\)$")
        self.assertRegex(r.stdout.decode(), r"(?m)^ *\d+\* ")

    def test_unknown_devices_are_refused(self):
        microphone(self.dir)
        for option, wrong in (("--input-device", "nosuch"), ("--output-device", "999")):
            code, out, err = self.talk(option, wrong).finish()
            self.assertEqual((code, out), (1, ""))
            self.assertEqual(err.count("\n"), 1)
            self.assertIn(f"{option}: found '{wrong}'", err)

    def test_no_devices(self):
        # Though the machine may have some.
        write(f"{self.dir}/none.conf", "</usr/share/alsa/alsa.conf>\nctl.!hw { type hw card 31 }\npcm.!hw { type hw card 31 }\n")
        r = run("talk", "--push-to-talk", "-m", self.model, env={"ALSA_CONFIG_PATH": f"{self.dir}/none.conf"}, threads=False)
        self.assertEqual(r.returncode, 1)
        self.assertEqual(r.stderr.count(b"\n"), 1, r.stderr)
        self.assertIn(b"there is no ", r.stderr)

    def test_two_turns_by_key(self):
        microphone(self.dir, 0.2, self.tone, 1.0, self.tone)
        t = self.talk("--input-device", "headset", "--output-device", "HEADS")
        t.wait_for("ready")
        for _ in range(2):
            t.key()
            t.wait_for("listening")
            time.sleep(1)
            t.key()
            for state in ("thinking", "speaking", "ready"):
                t.wait_for(state)
        code, out, err = t.finish()
        self.assertEqual(code, 0, err)
        self.assertGreaterEqual(out.count("\n"), 2)
        answers = [float(a) for a in re.findall(r"(?m)^ +\d+ .* (\d+\.\d\d) s$", err)]
        self.assertEqual(len(answers), 2, err)
        self.assertIn("first sound: median", err)
        self.assertGreater(np.abs(t.speaker()).max(), 0)      # how it sounds, the tiny model tells below

    def test_stop_key_stops_the_sound(self):
        microphone(self.dir, self.tone)
        t = Talk(self.dir, "-m", self.model, "-n", "300", "--push-to-talk", "--no-echo-cancel")
        t.wait_for("ready")
        t.key()
        t.wait_for("listening")
        time.sleep(1)
        t.key()
        t.wait_for("speaking")
        time.sleep(0.3)
        t.key("s")
        t.wait_for("ready", 5)
        at = len(t.speaker())
        time.sleep(1)
        code, out, err = t.finish()
        self.assertEqual(code, 0)
        self.assertIn("...\n", out)
        self.assertRegex(err, r"(?m)  interrupted$")
        self.assertLess(np.abs(t.speaker()[at + RATE // 10:]).max(), 1e-3)     # 100 ms for what was on its way

    def test_signal_ends_it_cleanly(self):
        microphone(self.dir, self.tone)
        for wait in ("ready", "listening", "speaking"):
            t = Talk(self.dir, "-m", self.model, "-n", "300", "--push-to-talk")
            t.wait_for("ready")
            if wait != "ready":
                t.key()
                t.wait_for("listening")
            if wait == "speaking":
                time.sleep(1)
                t.key()
                t.wait_for("speaking")
            t.p.send_signal(signal.SIGINT)
            self.assertEqual(t.p.wait(20), 0)
            t.finish()

    def test_reader_of_captions_goes(self):
        """As omni talk | head -1."""
        microphone(self.dir, 0.2, self.tone, 1.0, self.tone)
        t = self.talk()
        t.wait_for("ready")
        t.p.stdout.close()
        t.key()
        t.wait_for("listening")
        time.sleep(1)
        t.key()
        self.assertEqual(t.p.wait(20), 141)
        t.p.stdin.close()
        t.reader.join()
        t.p.stderr.close()

    def test_usage(self):
        for args in (["file.wav"], ["--push-to-talk", "--vad-threshold", "0.6"]):
            r = run("talk", *args, threads=False)
            self.assertEqual((r.returncode, r.stderr.count(b"\n")), (2, 1))


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, folder, term, *args):
        write(f"{folder}/asound.conf", CONFIG.format(folder=folder))
        self.master, self.slave = pty.openpty()
        env = dict(os.environ, ALSA_CONFIG_PATH=f"{folder}/asound.conf", TERM=term, LC_ALL="C.UTF-8")
        self.p = subprocess.Popen([OMNI, "talk", "-t", "1", *args], stdin=self.slave, stdout=self.slave, stderr=self.slave, env=env,
                                  start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.seen = self.all = b""
        Talk.running.append(self)

    def read(self, seconds):
        """What comes within so long; the first of it ends the wait."""
        new = os.read(self.master, 65536) if select.select([self.master], [], [], seconds)[0] else b""
        self.all += new
        return new

    def wait_for(self, word, timeout=120):
        """Until word appears behind what was waited for before."""
        end = time.monotonic() + timeout
        while word.encode() not in self.seen:
            assert time.monotonic() < end, f"no '{word}' but {self.seen}"
            self.seen += self.read(1)
        self.seen = self.seen.split(word.encode(), 1)[1]

    def bytes_of(self, seconds):
        """How many bytes come in so long."""
        n, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            n += len(self.read(end - time.monotonic()))
        return n

    def by_lines(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ICANON)

    def shell(self):
        """What a shell does with the terminal while the program is stopped."""
        self.p.send_signal(signal.SIGSTOP)
        os.waitpid(self.p.pid, os.WUNTRACED)
        modes = termios.tcgetattr(self.slave)
        modes[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)

    def key(self, key):
        os.write(self.master, key.encode())

    def quit(self):
        self.key("q")
        return self.p.wait(20)


class OnTerminal(Talking):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("talk-terminal")
        synth(f"{cls.dir}/model")
        microphone(cls.dir)

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def start(self, term="xterm"):
        t = Terminal(self.dir, term, "-m", f"{self.dir}/model", "--push-to-talk")
        self.addCleanup(os.close, t.slave)
        self.addCleanup(os.close, t.master)
        t.wait_for("ready")
        return t

    def test_keys_come_alone_after_a_stop_too(self):
        t = self.start()
        self.assertFalse(t.by_lines())
        for _ in range(2):
            t.shell()
            self.assertTrue(t.by_lines())
            t.p.send_signal(signal.SIGCONT)
            t.wait_for("ready")             # the line of state is drawn anew
            self.assertFalse(t.by_lines())
        t.key("q")
        self.assertEqual(t.p.wait(20), 0)
        self.assertTrue(t.by_lines())

    def test_a_state_that_does_not_change_is_not_drawn_again(self):
        t = self.start()
        t.bytes_of(0.5)
        self.assertEqual(t.bytes_of(2), 0)
        t.key(" ")
        t.wait_for("listening")
        self.assertEqual(t.quit(), 0)

    def test_dumb_terminals_get_plain_lines(self):
        t = self.start("dumb")
        t.key(" ")
        t.wait_for("omni: note: listening\r\n")
        self.assertEqual(t.quit(), 0)
        self.assertNotIn(b"\033", t.all)


class Tiny(Talking):
    """A spoken question through microphone and loudspeaker is answered as from a file."""

    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("talk-tiny")
        cls.question = f"{MODEL}/questions/3.wav"
        r = run("ask", "-q", "-m", MODEL, cls.question)
        assert r.returncode == 0, r.stderr
        cls.text = r.stdout.decode()

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def heard(self, played):
        """The words of what the loudspeaker gave (48 kHz), its silence at both ends left out."""
        slow = np.convolve(played, np.sinc(np.arange(-48, 49) / 3) * np.hanning(97) / 3, "same")[::3]
        loud = np.flatnonzero(np.abs(slow) > 0.01)
        path = write(f"{self.dir}/heard.wav", wav_bytes(slow[loud[0]:loud[-1]]))
        return judge.listen([path])

    def test_hands_free_with_interruption(self):
        """The pause asks; a second question spoken into the answer stops it and is answered."""
        question = read_wav(self.question)
        microphone(self.dir, 1.0, question, 1.3, question)
        t = Talk(self.dir, "-m", MODEL)
        for state in ("listening", "hearing", "thinking", "speaking", "hearing", "thinking", "speaking", "listening"):
            t.wait_for(state)
        t.key("q")
        code, out, err = t.finish()
        self.assertEqual(code, 0, err)
        self.assertEqual(len(re.findall(r"(?m)  interrupted$", err)), 1, err)
        self.assertEqual(out.count("\n"), 2, out)
        self.assertIn("...\n", out)

    def test_interruption_of_an_answer_far_ahead(self):
        """A minute and a half of answer is made in seconds, more than the loudspeaker's queue holds; the person is heard."""
        question = read_wav(self.question)
        synth(f"{self.dir}/model")
        microphone(self.dir, 1.0, question, 4.0, question)
        t = Talk(self.dir, "-m", f"{self.dir}/model", "-n", "300", "--no-echo-cancel")
        times = []
        for state in ("hearing", "speaking", "hearing", "thinking"):
            t.wait_for(state)
            times.append(time.monotonic())
        apart = len(question[1]) / question[0] + 4.0
        self.assertLess(times[2] - times[0], apart + 1.5)       # a file is a hasty microphone: sooner it may be
        t.key("q")
        code, out, err = t.finish()
        self.assertEqual(code, 0, err)
        self.assertEqual(len(re.findall(r"(?m)  interrupted$", err)), 1, err)

    def test_push_to_talk(self):
        microphone(self.dir, 1.2, read_wav(self.question))
        t = Talk(self.dir, "-m", MODEL, "--push-to-talk")
        t.wait_for("ready")
        t.key()
        t.wait_for("listening")
        time.sleep(3.4)
        t.key()
        t.wait_for("speaking")
        t.wait_for("ready")
        code, out, err = t.finish()
        self.assertEqual((code, out), (0, self.text), err)
        if " 0 underruns" in err:       # a starved machine stutters
            wer, _, _ = judge.score(self.heard(t.speaker()), [self.text])
            self.assertLessEqual(wer, 0.25)


if __name__ == "__main__":
    unittest.main()
