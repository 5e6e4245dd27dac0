"""Help, man page, completion and the parser: all from one table, none stale, wrong words answered well."""

import os
import re
import shutil
import subprocess
import unittest

from program import OMNI, SOURCE, remove, run, scratch, write

COMMANDS = ["ask", "talk", "serve", "info", "probe", "bench", "synth-model", "convert", "quantize", "pull"]


def text(r):
    return r.stdout.decode()


class Tables(unittest.TestCase):
    def refused(self, *args, says=()):
        r = run(*args, threads=False)
        err = r.stderr.decode()
        self.assertEqual(r.returncode, 2, err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith("omni: "), err)
        self.assertEqual(r.stdout, b"")
        for word in says:
            self.assertIn(word, err)

    def test_help_names_every_command(self):
        for args in (["--help"], ["-h"], ["help"]):
            r = run(*args)
            self.assertEqual((r.returncode, r.stderr), (0, b""))
            for name in COMMANDS:
                self.assertIn("\n  " + name, text(r))

    def test_every_command_explains_itself(self):
        for name in COMMANDS:
            r = run(name, "--help", threads=False)
            self.assertEqual((r.returncode, r.stderr), (0, b""))
            self.assertEqual(run("help", name).stdout, r.stdout)
            self.assertIn(f"usage: omni {name}", text(r))
            self.assertIn("--help", text(r))
            self.assertLessEqual(max(map(len, text(r).split("\n"))), 110)

    def test_version(self):
        with open(f"{SOURCE}/include/omni.h") as f:
            wanted = ".".join(re.findall(r"#define OMNI_VERSION_\w+ (\d+)", f.read()))
        self.assertEqual(text(run("--version")), f"omni {wanted}\n")

    def test_man_page_is_not_stale(self):
        with open(f"{SOURCE}/docs/omni.1") as f:
            self.assertEqual(text(run("--man")), f.read(), "run: ./omni --man > docs/omni.1")

    def test_man_page_is_good_roff(self):
        self.assertTrue(shutil.which("man"), "man is missing: scripts/setup.sh test")
        r = subprocess.run(["man", "--warnings=w", "-l", f"{SOURCE}/docs/omni.1"], capture_output=True,
                           env=dict(os.environ, LC_ALL="C.UTF-8", MANWIDTH="100"))
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        for name in COMMANDS:
            self.assertIn(f"omni {name}", r.stdout.decode())

    def options_of(self, name):
        return set(re.findall(r"--[a-z0-9-]+", text(run(name, "--help", threads=False)).split("\noptions\n")[1]))

    def complete(self, *words):
        script = f"""
            source <({OMNI} --completion bash)
            COMP_WORDS=({' '.join(f"'{w}'" for w in words)}); COMP_CWORD={len(words) - 1}
            _omni; printf '%s\\n' "${{COMPREPLY[@]}}" """
        r = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
        return r.stdout.decode().splitlines()

    def completions(self, *words):
        return set(self.complete(*words))

    def test_completion_knows_commands_options_and_choices(self):
        self.assertTrue(set(COMMANDS) <= self.completions("omni", ""))
        self.assertEqual(self.completions("omni", "sy"), {"synth-model"})
        for name in COMMANDS:
            shown = {o for o in self.options_of(name)}
            self.assertTrue(self.completions("omni", name, "--") <= shown)
            self.assertIn("--help", self.completions("omni", name, "--"))
        self.assertEqual(self.completions("omni", "probe", "--stage", "u"), {"units"})
        self.assertEqual(self.completions("omni", "synth-model", "--llm-type", "q8"), {"q8_0"})
        self.assertEqual(self.completions("omni", "he"), {"help"})
        self.assertEqual(self.completions("omni", "help", "sy"), {"synth-model"})

    def test_completion_keeps_spaces_of_names(self):
        here = scratch("tables")
        self.addCleanup(remove, here)
        write(f"{here}/two words.wav", "")
        r = self.complete("omni", "ask", f"{here}/two")
        self.assertEqual(r, [f"{here}/two words.wav"])

    def test_unknown_words_are_answered_with_the_nearest(self):
        self.refused("aks", says=["'aks'", "'ask'"])
        self.refused("synthmodel", says=["synth-model"])
        self.refused("ask", "--treads", "2", says=["--treads", "--threads"])
        self.refused("ask", "--ealry-audio", says=["--early-audio"])
        self.refused("bench", "-x", says=["-x"])
        self.refused("info", "--temp", "1", says=["--temp"])
        for word, wanted in (("-t1", "-t 1"), ("-t=4", "-t 4"), ("-ngl99", "-ngl 99"), ("-n-1", "-n -1"), ("-oa.wav", "-o a.wav"),
                             ("-mmodels/tiny", "-m models/tiny")):
            self.refused("ask", word, "q.wav", says=[f"'{word}'", "a space", f": {wanted}\n"])
        self.refused("ask", "-threads", "1", says=["--threads"])
        self.refused("ask", "-model", "a/b", says=["--model"])
        self.refused("--frobnicate", says=["--frobnicate"])
        self.refused("ask", "--" + "x" * 500, says=["unknown option"])

    def test_values_are_checked(self):
        self.refused("ask", "-n", says=["-n", "argument"])
        self.refused("ask", "-n", "three", "q.wav", says=["three", "whole number"])
        self.refused("ask", "-n", "5x", "q.wav", says=["5x"])
        self.refused("ask", "-n", "0", "q.wav", says=["0", "1 to"])
        self.refused("ask", "-n", "99999999999999999999", "q.wav", says=["99999999999999999999"])
        self.refused("ask", "--temp", "nan", "q.wav", says=["nan"])
        self.refused("ask", "--temp=-1", "q.wav", says=["-1"])
        self.refused("ask", "--top-p=1.5", "q.wav", says=["1.5"])
        self.refused("ask", "--json=yes", "q.wav", says=["no argument"])
        self.refused("ask", "--text", "", says=["empty"])
        self.refused("ask", "", says=["empty"])
        self.refused("probe", "--stage", "vocodr", says=["vocodr", "vocoder"])
        self.refused("synth-model", "--llm-type", "q3", says=["q3", "q4_0"])
        self.refused("--completion", "zsh", says=["zsh", "bash"])

    def test_what_is_missing_is_named(self):
        self.refused(says=["no command"])
        self.refused("ask", says=["no question"])
        self.refused("probe", "q.wav", "-o", "x.npy", says=["--stage"])
        self.refused("probe", "--stage", "mel", "q.wav", says=["-o"])
        self.refused("probe", "--stage", "mel", "-o", "x.npy", says=["found 0 recordings"])
        self.refused("probe", "--stage", "vocoder", "-o", "x.npy", says=["--units"])
        self.refused("probe", "--stage", "mel", "--units", "u.npy", "q.wav", "-o", "x.npy", says=["--units"])
        self.refused("synth-model", "-o", "x", says=["--like"])
        self.refused("synth-model", "--like", "llama-omni-8b", says=["-o"])
        self.refused("ask", "--no-speech", "-o", "x.wav", "q.wav", says=["contradict"])
        self.refused("ask", "-", "-", says=["only once"])
        self.refused("info", "a", "b", says=["wanted one"])

    def test_what_would_be_ignored_is_refused(self):
        self.refused("info", "-m", "a", "b", says=["-m a", "wanted one"])
        self.refused("ask", "--packet", "9", "q.wav", says=["--packet", "-o"])
        self.refused("ask", "--early-audio", "q.wav", says=["--early-audio", "-o"])
        for name in ("a.mp3", "a.FLAC", "a.ogg", "a.opus", "a.m4a", "a.b.aac"):
            self.refused("ask", "q.wav", "-o", name, says=[f"-o {name}", "a WAV file", f"{os.path.splitext(name)[0]}.wav"])
        self.refused("bench", "q.wav", "--seconds", "3", says=["--seconds", "q.wav"])
        self.refused("bench", "--serve", "ws://a", "--rpc", "b:1", says=["--rpc"])
        self.refused("talk", "--push-to-talk", "--silence", "300", says=["--silence", "contradict"])
        self.refused("talk", "--push-to-talk", "--interrupt", "300", says=["--interrupt", "contradict"])

    def test_control_characters_do_not_make_a_second_line(self):
        self.refused("ask", "--a\nb\x1b[31m", says=["--a?b?[31m"])


if __name__ == "__main__":
    unittest.main()
