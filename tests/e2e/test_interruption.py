"""After an interruption the model remembers what was heard, and no more, to within one word.

Answers are cut at many places over the Realtime protocol. What was heard by then: pocketsphinx, which shares nothing with
the model, says when each word begins to sound. What is remembered: the positions that the next question's context has,
against those of a conversation that was told the answer's first words.
"""

import json
import os
import subprocess
import unittest
import wave

import numpy as np

import program
from realtime_case import Case

MODEL = "/usr/share/pocketsphinx/model/en-us/en-us"
QUESTIONS = ("what is the capital of france", "how many legs has a cat", "what day comes after monday", "how much is ten minus one",
             "what is the opposite of hot", "which number is before twenty two", "how many days does april have",
             "say river window table", "what does a dog say")
CUTS = 6
NEXT = "how much is ten minus one"
PAD = 2400      # samples of silence on both sides, which the recogniser wants


def starts(folder, pcm24, text):
    """Milliseconds at which each word of the answer begins."""
    at = np.arange(int(len(pcm24) * 2 / 3)) * 1.5
    pcm = np.interp(at, np.arange(len(pcm24)), pcm24).astype("<i2").tobytes()
    quiet = bytes(2 * PAD)
    with open(os.path.join(folder, "a.raw"), "wb") as f:
        f.write(quiet + pcm + quiet)
    program.write(os.path.join(folder, "list"), "a\n")
    program.write(os.path.join(folder, "one.gram"), "#JSGF V1.0;\ngrammar g;\npublic <s> = %s;\n" % text)
    subprocess.run(["pocketsphinx_batch", "-adcin", "yes", "-cepdir", folder, "-cepext", ".raw", "-ctl", folder + "/list",
                    "-hyp", folder + "/hyp", "-hypseg", folder + "/seg", "-hmm", MODEL, "-dict",
                    os.path.join(program.SOURCE, "lab/tiny/judge/domain.dict"), "-jsgf", folder + "/one.gram", "-cmn", "batch",
                    "-dither", "no", "-bestpath", "no", "-fwdflat", "no", "-logfn", os.devnull],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(folder, "seg")) as f:
        fields = f.read().split()[9:]       # name S n T n A n L n, then: frame, score, score, word; the last frame
    found = [(int(fields[i]), fields[i + 3]) for i in range(0, len(fields) - 1, 4)] if len(fields) % 4 == 1 else []
    words = [(frame, word.split("(")[0]) for frame, word in found if word[0] != "<"]
    assert [w for _, w in words] == text.split(), (text, fields)
    return [frame * 10 - PAD / 16 for frame, _ in words]


class Interruption(Case):
    def remembered(self, c):
        c.say(NEXT)
        return c.respond(output_modalities=["text"], max_output_tokens=1)["usage"]["input_tokens"]

    def told(self, question, words):
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": words}, {"role": "user", "content": NEXT}]
        body = {"model": "m", "messages": messages, "max_completion_tokens": 1}
        data = self.server.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})[2]
        return json.loads(data)["usage"]["prompt_tokens"]

    def cut(self, question, ms):
        """Asks, cuts the answer to its first ms (None: not at all): (connection, text, samples at 24 kHz)."""
        c = self.connect()
        c.say(question)
        item = c.respond()["output"][0]
        pcm = np.frombuffer(c.audio(), "<i2").astype(np.float64)
        if ms is not None:
            c.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=ms)
            c.until("conversation.item.truncated")
        return c, item["content"][0]["transcript"], pcm

    def test_what_was_heard_is_remembered_to_within_a_word(self):
        folder = program.scratch("heard")
        self.addCleanup(program.remove, folder)
        off, cases = [], 0
        for question in QUESTIONS:
            c, text, pcm = self.cut(question, None)
            c.sock.close()
            begins, words, length = starts(folder, pcm, text), text.split(), len(pcm) / 24
            c, _, _ = self.cut(question, 0)
            marks = [self.remembered(c)] + [self.told(question, " ".join(words[:n])) for n in range(1, len(words) + 1)]
            c.sock.close()
            for i in range(CUTS):
                ms = int(length * (i + 0.5) / CUTS)
                c, again, _ = self.cut(question, ms)
                self.assertEqual(again, text)
                tokens = self.remembered(c)
                c.sock.close()
                whole = sum(p <= tokens for p in marks[1:])
                kept = whole + (tokens > marks[whole])      # a word in part counts
                heard = sum(b < ms for b in begins)
                off.append(kept - heard)
                cases += 1
        print("cases %d, words kept - words heard: %s" % (cases, {d: off.count(d) for d in sorted(set(off))}))
        self.assertGreaterEqual(cases, 50)
        self.assertLessEqual(max(abs(d) for d in off), 1)


if __name__ == "__main__":
    unittest.main()
