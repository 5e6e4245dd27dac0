"""Bad input: one line on standard error that says what, where and what to do; exit code 1; nothing left behind."""

import os
import struct
import unittest

import numpy as np

from program import gguf_string, patch, remove, run, scratch, synth, tone, wav_bytes, write


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("bad-input")
        cls.llm, cls.speech = synth(f"{cls.dir}/model")
        cls.good = write(f"{cls.dir}/good.wav", wav_bytes(tone()))

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def setUp(self):
        self.out = os.path.join(self.dir, "out." + self.id().rsplit(".", 1)[1])
        os.mkdir(self.out)

    def refused(self, *args, says=(), left=(), **kwargs):
        """Runs args; they must fail with one line holding the words says, leaving only `left` in the output folder."""
        r = run(*args, **kwargs)
        err = r.stderr.decode()
        self.assertEqual(r.returncode, 1, (args, err))
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith("omni: "), err)
        self.assertGreater(len(err), 30, err)
        for word in says:
            self.assertIn(word, err)
        self.assertEqual(sorted(os.listdir(self.out)), sorted(left))
        return err

    def refused_audio(self, data, *says, name="q.wav"):
        path = write(f"{self.dir}/{name}", data)
        self.refused("ask", "-m", f"{self.dir}/model", path, "-o", f"{self.out}/a.wav", says=(path, *says))
        self.refused("probe", "-m", f"{self.dir}/model", "--stage", "mel", path, "-o", f"{self.out}/a.npy",
                     says=(path, *says))
        self.refused("ask", "-m", f"{self.dir}/model", "-", "-o", f"{self.out}/a.wav", stdin=data,
                     says=("standard input", *says))

    def refused_model(self, model, *says):
        self.refused("ask", "-m", model, self.good, "-o", f"{self.out}/a.wav", says=says)
        self.refused("info", model, says=says)

    # ---- recordings -------------------------------------------------------------

    def test_missing_recording(self):
        path = f"{self.dir}/none.wav"
        self.refused("ask", "-m", f"{self.dir}/model", path, "-o", f"{self.out}/a.wav", says=(path, "No such file"))

    def test_typed_question_without_its_option(self):
        model = f"{self.dir}/model"
        for words in (["what", "is", "the", "capital"], ["What is the capital of France?"], ["Mr. Smith?"], ["Hello."]):
            self.refused("ask", "-m", model, *words, says=(f"{words[0]}: No such file", '--text "..."'))
        self.refused("ask", "-m", model, "why " * 100, says=("too long", '--text "..."'))
        for name in ("none.wav", f"{self.dir}/none.flac"):
            self.assertNotIn("--text", self.refused("ask", "-m", model, name, says=(name, "No such file")))

    def test_folder_as_recording(self):
        self.refused("ask", "-m", f"{self.dir}/model", self.dir, "-o", f"{self.out}/a.wav", says=(self.dir,))

    def test_empty_file(self):
        self.refused_audio(b"", "empty")

    def test_no_samples(self):
        self.refused_audio(wav_bytes([]), "0 samples")

    def test_text_file(self):
        self.refused_audio(b"What is two plus two?\n" * 40, "not a recording", "wav, flac, ogg or mp3", name="q.txt")

    def test_random_bytes(self):
        self.refused_audio(np.random.default_rng(3).bytes(5000), name="noise.bin")

    def test_nan(self):
        x = tone()
        x[4000] = np.nan
        self.refused_audio(wav_bytes(x, kind="f32"), "4000", "0.250 s", "finite")

    def test_infinity(self):
        x = tone()
        x[-1] = -np.inf
        self.refused_audio(wav_bytes(x, kind="f32"), "15999", "finite")

    def test_rate_and_channels(self):
        self.refused_audio(wav_bytes(tone(), rate=100), "100 Hz")
        self.refused_audio(wav_bytes(tone(0.1), channels=40), "40")

    def test_header_alone(self):
        self.refused_audio(wav_bytes(tone())[:30])

    # ---- models -----------------------------------------------------------------

    def broken(self, name, llm=None, speech=None):
        """A model folder from the given files or the good ones."""
        folder = f"{self.dir}/{name}"
        os.makedirs(folder, exist_ok=True)
        os.symlink(llm or self.llm, f"{folder}/toy-F16.gguf") if not os.path.exists(f"{folder}/toy-F16.gguf") else None
        if not os.path.exists(f"{folder}/toy-speech-F16.gguf"):
            os.symlink(speech or self.speech, f"{folder}/toy-speech-F16.gguf")
        return folder

    def test_missing_model(self):
        self.refused_model(f"{self.dir}/nowhere", f"{self.dir}/nowhere: No such file", "wanted a model: a folder", "omni pull")
        self.refused_model("nowhere", "nowhere: No such file", "wanted a model: a folder", "omni pull")

    def test_other_file_as_model(self):
        self.refused_model(self.good, f"{self.good}: found another kind of file", "wanted a model: a folder", "omni pull")

    def test_folder_without_model(self):
        os.mkdir(f"{self.dir}/hollow")
        self.refused_model(f"{self.dir}/hollow", f"{self.dir}/hollow")

    def test_missing_speech_file(self):
        os.mkdir(f"{self.dir}/half")
        os.symlink(self.llm, f"{self.dir}/half/toy-F16.gguf")
        self.refused_model(f"{self.dir}/half", "speech")

    def test_truncated_at_many_places(self):
        for which in ("llm", "speech"):
            source = getattr(self, which)
            with open(source, "rb") as f:
                data = f.read()
            for i, n in enumerate((0, 3, 10, 200, 5000, len(data) // 2, len(data) - 40)):
                cut = write(f"{self.dir}/cut.{which}.{i}", data[:n])
                folder = self.broken(f"cut-{which}-{i}", **{which: cut})
                self.refused("info", folder, says=("gguf",))

    def test_not_gguf(self):
        text = write(f"{self.dir}/text.gguf", "this is no model\n" * 100)
        self.refused_model(self.broken("text-speech", speech=text), "gguf")
        self.refused_model(self.broken("text-llm", llm=text), "gguf")

    def test_other_llm_width(self):
        _, other = synth(f"{self.dir}/wide", **{"llm.embedding_length": 128})
        self.refused_model(self.broken("mixed", speech=other), "64", "128")

    def test_wrong_architecture(self):
        other = patch(self.speech, f"{self.dir}/arch.gguf", gguf_string("omni-speech") + gguf_string("")[:0],
                      gguf_string("omni-speecj"))
        self.refused_model(self.broken("arch", speech=other), "omni-speecj", "omni-speech")

    def test_llm_of_unknown_architecture(self):
        other = patch(self.llm, f"{self.dir}/llmarch.gguf", gguf_string("llama"), gguf_string("lhama"))
        self.refused_model(self.broken("llm-arch", llm=other))

    def test_tensor_missing(self):
        other = patch(self.speech, f"{self.dir}/lost.gguf", gguf_string("enc.pos"), gguf_string("enc.pox"))
        self.refused_model(self.broken("lost", speech=other), "enc.pos")

    def test_tensor_misshapen(self):
        # dec.out.weight [51][64]: same bytes, other shape
        old = gguf_string("dec.out.weight") + struct.pack("<IQQ", 2, 64, 51)
        new = gguf_string("dec.out.weight") + struct.pack("<IQQ", 2, 51, 64)
        self.refused_model(self.broken("bent", speech=patch(self.speech, f"{self.dir}/bent.gguf", old, new)),
                           "dec.out.weight", "51", "64")

    def test_number_out_of_range(self):
        key = gguf_string("omni-speech.decoder.upsample") + struct.pack("<I", 4)
        other = patch(self.speech, f"{self.dir}/range.gguf", key + struct.pack("<I", 25), key + struct.pack("<I", 0))
        self.refused_model(self.broken("range", speech=other), "decoder.upsample", "0")

    # ---- limits -----------------------------------------------------------------

    def test_context_too_small(self):
        self.refused("ask", "-m", f"{self.dir}/model", "-c", "8", self.good, "-o", f"{self.out}/a.wav",
                     says=("8", "context"))

    # ---- unit numbers -----------------------------------------------------------

    def refused_units(self, data, *says):
        path = write(f"{self.dir}/u.npy", data)
        self.refused("probe", "-m", f"{self.dir}/model", "--stage", "vocoder", "--units", path, "-o",
                     f"{self.out}/w.npy", says=says)

    def npy(self, array):
        path = f"{self.dir}/made.npy"
        np.save(path, array)
        with open(path, "rb") as f:
            return f.read()

    def test_units(self):
        self.refused_units(b"", "u.npy")
        self.refused_units(b"3 5 7", "u.npy")
        self.refused_units(self.npy(np.zeros(3, np.float32)), "integers")
        self.refused_units(self.npy(np.zeros((3, 2), np.int32)), "integers")
        self.refused_units(self.npy(np.zeros(0, np.int32)), "0 values")
        self.refused_units(self.npy(np.arange(9))[:-3], "truncated")
        self.refused_units(self.npy(np.arange(9)) + b"x", "after the last")
        self.refused_units(self.npy(np.array([1, 2 ** 40])), "32 bits")
        self.refused_units(self.npy(np.array([1, 50], np.int32)), "50")     # K = 50: the blank
        self.refused_units(self.npy(np.array([-1], np.int32)), "-1")


if __name__ == "__main__":
    unittest.main()
