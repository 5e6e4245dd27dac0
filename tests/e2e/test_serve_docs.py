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


if __name__ == "__main__":
    unittest.main()
