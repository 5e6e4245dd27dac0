"""docs/serve.md says what the tables of the server say."""

import os
import re
import unittest

from program import SOURCE


def text(path):
    with open(os.path.join(SOURCE, path)) as f:
        return f.read()


class Tables(unittest.TestCase):
    def test_limits(self):
        page = text("docs/serve.md")
        found = re.findall(r'^LIMIT\((\w+),\s*(\d+),\s*"(\w+)",\s*"([^"]*)"\)', text("apps/server/limits.def"), re.M)
        self.assertEqual(len(found), text("apps/server/limits.def").count("\nLIMIT("))
        for name, value, unit, words in found:
            self.assertIn("| `%s` | %s %s | %s |\n" % (name, value, unit, words), page)

    def test_settings(self):
        page, table = text("docs/serve.md"), text("apps/server/settings.def")
        found = re.findall(r'^SETTING\("([^"]*)", "([^"]*)", \w+, \w+,\s*"([^"]*)"\)', table, re.M)
        self.assertEqual(len(found), table.count("\nSETTING("))
        for path, beta, words in found:
            self.assertIn("| `%s` | `%s` | %s |\n" % (path or "-", beta or "-", words), page)

    def test_every_case_has_a_test_or_a_reason(self):
        tested = set()
        folder = os.path.join(SOURCE, "tests/e2e")
        for name in os.listdir(folder):
            if name.startswith("test_serve_") and name.endswith(".py"):
                for case in re.findall(r"    def test_((?:\d{3}_|to_)+)", text("tests/e2e/" + name)):
                    tested |= numbers(case.replace("_", " "))
        for name in os.listdir(folder + "/clients"):
            if name.endswith(".mjs"):
                for case in re.findall(r'^  "((?:\d{3} )+)', text("tests/e2e/clients/" + name), re.M):
                    tested |= numbers(case)
        excused = set()
        for cases in re.findall(r"^\| (\d[\d, to]*) \|", text("docs/serve.md").split("## Conformance")[1], re.M):
            excused |= numbers(cases.replace(",", " "))
        self.assertEqual(set(range(1, 175)) - tested - excused, set(), "neither a test nor a reason")
        self.assertEqual(tested - set(range(1, 175)), set())


def numbers(words):
    """{2, 3, 4, 7} of "002 to 004 007"."""
    found, words = set(), words.split()
    for i, word in enumerate(words):
        if word == "to":
            found |= set(range(int(words[i - 1]), int(words[i + 1])))
        else:
            found.add(int(word))
    return found


if __name__ == "__main__":
    unittest.main()
