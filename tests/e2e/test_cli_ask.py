"""omni ask, info and bench on a random model: formats, conversations, JSON, limits."""

import json
import os
import unittest

import numpy as np

from program import encode, read_wav, remove, run, scratch, synth, tone, wav_bytes, write


def events(r):
    return [json.loads(line) for line in r.stdout.decode().splitlines()]


class Ask(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("ask")
        synth(f"{cls.dir}/model")
        cls.model = f"{cls.dir}/model"
        cls.good = write(f"{cls.dir}/good.wav", wav_bytes(tone()))

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def ask(self, *args, **kwargs):
        r = run("ask", "-m", self.model, "-n", "12", *args, **kwargs)
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        return r

    def test_text_sound_and_times(self):
        out = f"{self.dir}/a.wav"
        r = self.ask(self.good, "-o", out)
        self.assertEqual(r.stdout[-1:], b"\n")
        self.assertGreater(len(r.stdout), 2)
        rate, x = read_wav(out)
        self.assertEqual(rate, 16000)
        self.assertGreater(len(x), 300)
        for stage in (b"mel", b"encoder", b"adaptor", b"prefill", b"llm", b"speech decoder", b"vocoder", b"first audio"):
            self.assertIn(stage, r.stderr)
        self.assertEqual(self.ask("-q", self.good, "-o", out).stderr, b"")

    def test_output_may_have_any_other_name(self):
        for name in ("sound", "answer.mp3.wav", "b.sound", "mp3"):
            self.ask(self.good, "-o", f"{self.dir}/{name}")
            self.assertEqual(read_wav(f"{self.dir}/{name}")[0], 16000)

    def test_formats_mean_the_same(self):
        x = tone(1.0, 22050)
        wanted = None
        for kind in ("wav", "flac", "aiff"):        # lossless: the very same text
            path = encode(f"{self.dir}/q.{kind}", x, 22050, kind)
            got = self.ask("-q", path).stdout
            self.assertEqual(got, wanted or got)
            wanted = got
            with open(path, "rb") as f:
                self.assertEqual(self.ask("-q", "-", stdin=f.read()).stdout, wanted)
        for kind in ("ogg", "mp3"):
            self.assertGreater(len(self.ask("-q", encode(f"{self.dir}/q.{kind}", x, 22050, kind)).stdout), 2)

    def test_channels_and_rates(self):
        mono = self.ask("-q", self.good).stdout
        stereo = write(f"{self.dir}/stereo.wav", wav_bytes(tone(), channels=2))
        self.assertEqual(self.ask("-q", stereo).stdout, mono)
        for rate in (8000, 44100, 48000, 192000):
            path = write(f"{self.dir}/{rate}.wav", wav_bytes(tone(0.5, rate), rate=rate))
            self.assertGreater(len(self.ask("-q", path).stdout), 2)

    def test_piped_wav_of_unknown_length(self):
        """Recorders that write to a pipe can not go back and fill in the length."""
        wanted = self.ask("-q", self.good).stdout
        for size in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
            data = wav_bytes(tone())
            self.assertEqual(self.ask("-q", "-", stdin=data[:40] + size + data[44:]).stdout, wanted)

    def test_conversation(self):
        out = f"{self.dir}/two.wav"
        r = self.ask(self.good, "--text", "and then", self.good, "--json", "-o", out)
        ev = events(r)
        self.assertEqual([e["turn"] for e in ev if e["event"] == "begin"], [0, 1, 2])
        self.assertEqual([e["input"] for e in ev if e["event"] == "begin"], [self.good, "and then", self.good])
        ends = [e for e in ev if e["event"] == "end"]
        self.assertEqual(len(ends), 3)
        history = [e["stats"]["n_history"] for e in ends]
        self.assertTrue(history[0] < history[1] < history[2], history)
        self.assertEqual(len(read_wav(out)[1]), sum(e["stats"]["n_samples_out"] for e in ends))
        plain = self.ask("-q", self.good, "--text", "and then", self.good)
        self.assertGreaterEqual(plain.stdout.count(b"\n"), 3)     # a random model may say one itself

    def test_events_in_order(self):
        for options in ([], ["--early-audio"], ["--packet", "1000"]):
            ev = events(self.ask(self.good, "--json", "-o", f"{self.dir}/e.wav", *options))
            names = [e["event"] for e in ev]
            self.assertEqual((names[0], names[-1]), ("begin", "end"))
            self.assertEqual(set(names[1:-1]), {"text", "audio"})
            at = 0
            sounds = [e for e in ev if e["event"] == "audio"]
            for e in sounds:
                self.assertEqual((e["sample_offset"], e["rate"]), (at, 16000))
                at += e["samples"]
            self.assertEqual(at, ev[-1]["stats"]["n_samples_out"])
            self.assertEqual(at, ev[-1]["stats"]["n_frames"] * 320)
            if "--packet" in options:
                self.assertTrue(all(e["samples"] >= 1000 for e in sounds[:-1]))
            self.assertEqual([e["time_us"] for e in ev], sorted(e["time_us"] for e in ev))

    def test_without_output_no_speech(self):
        end = events(self.ask(self.good, "--json"))[-1]
        self.assertEqual((end["stats"]["n_samples_out"], end["stats"]["n_units"]), (0, 0))
        end = events(self.ask(self.good, "--json", "--no-speech"))[-1]
        self.assertEqual(end["stats"]["n_samples_out"], 0)

    def test_token_limit(self):
        for n in (1, 7):
            end = events(run("ask", "-m", self.model, "-n", n, self.good, "--json"))[-1]
            self.assertEqual((end["reason"], end["stats"]["n_tokens"]), ("length", n))

    def test_too_long_recording_is_told(self):
        path = write(f"{self.dir}/long.wav", wav_bytes(tone(9.0)))
        r = self.ask(path, "--json")
        cut = [e for e in events(r) if e["event"] == "cut"]
        self.assertEqual([e["sample_offset"] for e in cut], [32000])
        self.assertIn(b"omni: note:", r.stderr)
        self.assertIn(b"9.0 s long", r.stderr)
        self.assertIn(b"first 2.0 s", r.stderr)

    def test_cut_flac_is_told(self):
        x = tone(1.5) * np.linspace(1, 0.5, 24000, dtype=np.float32)
        with open(encode(f"{self.dir}/whole.flac", x, 16000, "flac"), "rb") as f:
            data = f.read()
        half = write(f"{self.dir}/half.flac", data[:len(data) // 2])
        r = self.ask(half)
        self.assertRegex(r.stderr.decode(), r"omni: note: .*half.flac: damaged: found [01]\.\d s, wanted 1\.5 s\n")
        self.assertEqual(self.ask("-q", half).stderr, b"")
        for kind in ("flac", "ogg", "mp3", "wav"):
            self.assertNotIn(b"note", self.ask(encode(f"{self.dir}/whole.{kind}", x, 16000, kind)).stderr)

    def test_sampling(self):
        def text(*options):
            return self.ask("-q", self.good, *options).stdout
        greedy = text()
        self.assertEqual(text(), greedy)
        hot = ["--temp", "2", "--top-k", "0"]
        self.assertEqual(text(*hot, "--seed", "7"), text(*hot, "--seed", "7"))
        self.assertNotEqual(text(*hot, "--seed", "7"), text(*hot, "--seed", "8"))
        self.assertEqual(text("--temp", "2", "--top-k", "1", "--seed", "3"), greedy)

    def test_model_from_the_environment(self):
        r = run("ask", "-n", "3", "-q", self.good, env={"OMNI_MODEL": self.model})
        self.assertEqual(r.returncode, 0, r.stderr)

    def test_f32_and_no_mmap(self):
        self.assertGreater(len(self.ask("-q", self.good, "--type", "f32", "--no-mmap").stdout), 2)

    def test_not_more_threads_than_processors(self):
        here = sorted(os.sched_getaffinity(0))
        for cpus in (here, here[:1]):
            def one(*args):
                r = run(*args, threads=False, preexec_fn=lambda: os.sched_setaffinity(0, set(cpus)))
                self.assertEqual(r.returncode, 0, r.stderr)
                return r
            asked = ["ask", "-m", self.model, "-n", "4", "--text", "hello"]
            note = one(*asked, "-t", "512").stderr.decode().splitlines()[0]
            taken = int(note.split()[-1])
            self.assertLessEqual(taken, len(cpus))        # a quota may leave fewer
            self.assertIn("omni: note: --threads: found 512", note)
            self.assertIn(f" {taken} processor", note)
            self.assertNotIn(b"threads", one(*asked, "-t", taken).stderr)
            self.assertEqual(one(*asked, "-t", "512", "-q").stderr, b"")
            r = one("bench", "-m", self.model, "-n", "4", "-r", "1", "--warmup", "0", "--json", "-t", "512", self.good)
            self.assertEqual(events(r)[0]["threads"], taken)

    def test_info(self):
        r = run("info", self.model)
        self.assertEqual(r.returncode, 0, r.stderr)
        for word in (b"toy", b"16000 Hz", b"2.00 s", b"50 units", b"20 rows per question"):
            self.assertIn(word, r.stdout)
        ev = events(run("info", self.model, "--json", "--tensors", "--metadata"))
        self.assertEqual((ev[0]["units"], ev[0]["upsample"], ev[0]["llm_width"], ev[0]["speech_rows"]), (50, 25, 64, 20))
        tensors = {e["tensor"]: e for e in ev if "tensor" in e}
        self.assertEqual(tensors["dec.out.weight"]["shape"], [51, 64])
        self.assertEqual(tensors["enc.conv1.weight"]["shape"], [64, 80, 3])
        keys = {(e["file"], e["key"]): e["value"] for e in ev if "key" in e}
        self.assertEqual(keys["speech", "omni-speech.decoder.upsample"], "25")
        self.assertIn(("llm", "llama.block_count"), keys)

    def test_bench(self):
        r = run("bench", "-m", self.model, "-n", "6", "-r", "3", "--warmup", "0", "--seconds", "1", "--compare-text-only")
        self.assertEqual(r.returncode, 0, r.stderr)
        for word in (b"exact audio", b"early audio", b"text only", b"first audio", b"real-time factor", b"tokens/s",
                     b"peak memory", b"medians of 3 runs"):
            self.assertIn(word, r.stdout)
        [b] = events(run("bench", "-m", self.model, "-n", "6", "-r", "2", self.good, "--json", "--compare-text-only"))
        for mode in ("exact", "early", "text_only"):
            row = b[mode]
            self.assertEqual((row["runs"], row["tokens"]), (2, 6))
            for stage in ("mel", "encoder", "adaptor", "prefill", "llm", "first_text", "total", "tokens_per_second"):
                self.assertGreater(row[stage], 0, stage)
            for stage in ("decoder", "vocoder", "first_audio", "rtf", "speech", "units"):
                self.assertEqual(row[stage] > 0, mode != "text_only", stage)
        self.assertEqual(b["exact"]["speech"], b["early"]["speech"])
        self.assertGreater(b["peak_bytes"], 1e6)
        self.assertEqual(b["model"]["units"], 50)


if __name__ == "__main__":
    unittest.main()
