"""The bundled model works: its shipped questions, held out of all training, get the right words and intelligible speech.

The judge is pocketsphinx, which shares nothing with the model.
"""

import os
import sys
import unittest

from program import SOURCE, remove, run, scratch

sys.path.insert(0, f"{SOURCE}/lab/tiny")
import judge      # noqa: E402

MODEL = os.environ["OMNI_TEST_MODEL"]
QUESTIONS = f"{MODEL}/questions"


class Tiny(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = scratch("tiny")
        with open(f"{QUESTIONS}/questions.txt") as f:
            cls.rows = [line.rstrip("\n").split("\t") for line in f if line.strip() and not line.startswith("#")]

    @classmethod
    def tearDownClass(cls):
        remove(cls.dir)

    def ask(self, *args):
        r = run("ask", "-q", "-m", MODEL, *args)
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        return r.stdout.decode().rstrip("\n")

    def test_there_are_questions(self):
        self.assertGreaterEqual(len(self.rows), 3)
        for name, _, _, _ in self.rows:
            self.assertTrue(os.path.exists(f"{QUESTIONS}/{name}"), name)

    def test_text_is_right(self):
        for name, voice, question, answer in self.rows:
            self.assertEqual(self.ask(f"{QUESTIONS}/{name}"), answer, f"{name}: {question} ({voice})")

    def test_typed_questions_too(self):
        for _, _, question, answer in self.rows:
            self.assertEqual(self.ask("--text", question), answer)
            self.assertEqual(self.ask("--text", f" {question.capitalize().replace(' ', ', ', 1)}?!"), answer, "as people write it")

    def test_speech_is_understood(self):
        for options in ([], ["--early-audio"]):
            texts, paths = [], []
            for i, (name, _, _, _) in enumerate(self.rows):
                paths.append(f"{self.dir}/{i}.wav")
                texts.append(self.ask(f"{QUESTIONS}/{name}", "-o", paths[-1], *options))
            wer, _, _ = judge.score(judge.listen(paths), texts)
            self.assertLessEqual(wer, 0.15, (options, texts))

    def test_the_answer_ends_by_itself(self):
        for name, _, _, _ in self.rows:
            self.assertIn('"reason":"stop"', self.ask(f"{QUESTIONS}/{name}", "--json"))

    def test_conversation_of_all_questions(self):
        names = [f"{QUESTIONS}/{row[0]}" for row in self.rows]
        said = self.ask(*names).split("\n")
        right = sum(s == row[3] for s, row in zip(said, self.rows))
        self.assertEqual(len(said), len(self.rows))
        self.assertGreaterEqual(right, len(self.rows) - 1, said)


if __name__ == "__main__":
    unittest.main()
