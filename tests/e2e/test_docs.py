"""The documents say what the tables say, their links lead somewhere, and every section that a comment cites exists."""

import os
import re
import subprocess
import unittest

from program import OMNI, SOURCE

FLOAT = r"[-+0-9.e]+f?"


def text(path):
    with open(os.path.join(SOURCE, path)) as f:
        return f.read()


def pages():
    """Every page, but for those of builds and of other projects."""
    found = []
    for root, folders, files in os.walk(SOURCE):
        folders[:] = [f for f in folders if not f.startswith((".", "build")) and f not in ("node_modules", "shared")]
        found += [os.path.relpath(os.path.join(root, f), SOURCE) for f in files if f.endswith(".md")]
    return sorted(found)


def fragments(markdown):
    """What a link may name in a page: its headings, as GitHub makes names of them."""
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S), re.M)
    names = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", markdown))
    for heading in headings:
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        names.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return names


def number(expression):
    """The value of a bound in a .def file, as the documents print it."""
    value = eval(expression.replace("f", "").replace("INT32_MAX", str(2 ** 31 - 1)))
    return f"{value:g}" if isinstance(value, float) else str(value)


def rows(markdown):
    """First cell (without backquotes) to the list of cells, of every table row that starts with a backquote."""
    found = {}
    for line in markdown.split("\n"):
        if line.startswith("| `"):
            cells = [c.strip() for c in line.strip("|").split("|")]
            assert cells[0] not in found, f"{cells[0]} is documented twice"
            found[cells[0].strip("`")] = cells
    return found


# Numbers of the tables in the letters of MODEL.md, longest first.
LETTERS = [
    ("hp->voc.channels >> (i / hp->voc.n_res + 1)", "W"), ("hp->voc.channels >> hp->voc.n_stages", "channels>>stages"),
    ("hp->voc.channels >> (i + 1)", "channels>>(i+1)"), ("hp->voc.channels >> i", "channels>>i"),
    ("hp->voc.res_kernels[i % hp->voc.n_res]", "r"), ("hp->voc.kernels[i]", "kernels[i]"),
    ("hp->dec.width / hp->dec.heads * hp->dec.heads_kv", "H/heads*kv"),
    ("hp->adaptor.stack * hp->enc.width", "k*C"), ("hp->audio.n_fft / 2 + 1", "n_fft/2+1"),
    ("hp->dec.units + 1", "K+1"), ("hp->dec.units", "K"), ("hp->audio.n_mels", "n_mels"), ("hp->enc.context", "E"),
    ("hp->enc.width", "C"), ("hp->enc.ff", "ff"), ("hp->adaptor.hidden", "hidden"), ("hp->llm.width", "D"),
    ("hp->dec.width", "H"), ("hp->dec.ff", "ff"), ("hp->voc.embd", "embd"), ("hp->voc.dur_hidden", "dur"),
    ("hp->voc.dur_kernel", "dur_kernel"), ("hp->voc.channels", "channels"),
]


def split_arguments(s):
    """Top-level commas only."""
    parts, depth, now = [], 0, ""
    for c in s:
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            parts.append(now.strip())
            now = ""
        else:
            now += c
    return parts + [now.strip()]


def in_letters(expression):
    for long, short in LETTERS:
        expression = expression.replace(long, short)
    assert "hp->" not in expression, expression
    return expression


class Docs(unittest.TestCase):
    def setUp(self):
        self.rows = rows(text("docs/format.md"))

    def test_keys(self):
        table = text("src/base/hparams.def").split("#define OM_HPARAMS", 1)[1]
        kinds = {"U": "u32", "F": "f32", "S": "str", "B": "bool", "A": "i32[]", "O": "str"}
        found = re.findall(r'^    ([UFSBAO])\("([^"]+)",\s*(.*)\) ?\\?$', table, re.M)
        self.assertGreater(len(found), 40)
        for kind, key, rest in found:
            self.assertIn(key, self.rows, "docs/format.md lacks a key")
            cells = self.rows[key]
            self.assertEqual(cells[1], kinds[kind], key)
            if kind in "UFA":
                low, high = split_arguments(rest)[-2:]
                self.assertEqual(cells[2:4], [number(low), number(high)], key)
        known = {key for _, key, _ in found}
        for key in self.rows:
            if re.match(r"(audio|encoder|adaptor|decoder|vocoder|prompt)\.[a-z_]+$", key):
                self.assertIn(key, known, "docs/format.md has a key that is no more")

    def test_shape_keys(self):
        table = text("lab/convert/synth-shape.def").split("#define OM_SYNTH_LLM")[1]
        found = re.findall(r'^    ([UF])\("([^"]+)",\s*(\w+),\s*(.*)\) ?\\?$', table, re.M)
        self.assertGreater(len(found), 10)
        for kind, key, _, rest in found:
            low, high = split_arguments(rest)
            self.assertEqual(self.rows[key][1:4], ["integer" if kind == "U" else "real", number(low), number(high)])
        self.assertEqual({k for k in self.rows if k.startswith("llm.")} - {"llm.embedding_length"},
                         {key for _, key, _, _ in found})

    def test_tensors(self):
        table = text("src/tensors.def").split("*/", 1)[1].replace("\\\n", " ")
        found = re.findall(r'T([123])\("([^"]+)",\s*(F32|MAT|CONV|UPC),\s*(.*?)\)(?=\s+(?:T[123]\(|#define|$))', table + " #define")
        self.assertGreater(len(found), 60)
        for n, name, kind, rest in found:
            self.assertIn(name, self.rows, "docs/format.md lacks a tensor")
            shape = [in_letters(a) for a in split_arguments(rest)]
            self.assertEqual(len(shape), int(n), name)
            self.assertEqual(self.rows[name][1:3], [kind, "".join(f"[{a}]" for a in shape)], name)
        known = {name for _, name, _, _ in found}
        for name in self.rows:
            if re.match(r"(mel|enc|adaptor\.\d|dec|voc)\.", name) and re.search(r"(weight|bias|filters|pos|embd)$", name):
                self.assertIn(name, known, "docs/format.md has a tensor that is no more")

    def test_links(self):
        self.assertGreater(len(pages()), 15)
        for page in pages():
            body = re.sub(r"```.*?```", "", text(page), flags=re.S)
            for link in re.findall(r"\]\(([^)\s]+)\)", body):
                if "://" in link:
                    continue
                file, _, fragment = link.partition("#")
                path = os.path.normpath(os.path.join(os.path.dirname(page), file)) if file else page
                self.assertTrue(os.path.exists(os.path.join(SOURCE, path)), f"{page} links to {link}")
                if fragment and path.endswith(".md"):
                    self.assertIn(fragment, fragments(text(path)), f"{page} links to {link}")

    def test_commands_in_code_blocks_exist(self):
        """Every omni COMMAND --option and every make target; what is said about a command stands behind a #."""
        targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.M))
        helps, commands = {}, 0
        for page in pages():
            for block in re.findall(r"^```\w*\n(.*?)^```", text(page), re.M | re.S):
                for line in block.replace("\\\n", " ").split("\n"):
                    where = f"{page}: {line}"
                    command = line.split("#")[0]
                    if re.match(r"(sudo )?(omni|make|while|cmake|docker|systemctl|apt|curl|python3|npm|node|scripts/\S+) ", line):
                        self.assertNotRegex(command.rstrip(), r"\S {3,}\S", f"a remark without #: {where}")
                    for target in re.findall(r"^(?:sudo )?make ([a-z]+)", command):
                        self.assertIn(target, targets, where)
                    for part in re.split(r"[|&;]", command):
                        words = re.match(r"\s*(?:sudo )?(?:\./|build/)?omni ([a-z-]+)(.*)", part)
                        if not words:
                            continue
                        name, commands = words[1], commands + 1
                        if name not in helps:
                            helps[name] = subprocess.run([OMNI, name, "--help"], capture_output=True)
                        self.assertEqual(helps[name].returncode, 0, where)
                        for option in re.findall(r"(?<=[\s\[])(--?[a-z][a-z0-9-]*)", words[2]):
                            self.assertRegex(helps[name].stdout.decode(), rf"(?<![\w-]){re.escape(option)}(?![\w-])", where)
        self.assertGreater(commands, 25)

    @unittest.skipUnless(os.path.exists(os.path.join(SOURCE, ".git")), "no history here")
    def test_commits_that_were_measured_exist(self):
        git = ["git", "-c", "safe.directory=*", "-C", SOURCE]
        if subprocess.run([*git, "rev-parse", "--is-shallow-repository"], capture_output=True).stdout != b"false\n":
            self.skipTest("not the whole history")
        lines = re.findall(r"^commits? +(.*)$", text("SPEED.md"), re.M)
        commits = [c for line in lines for c in re.findall(r"\b[0-9a-f]{7,40}\b", line)]
        self.assertGreater(len(commits), 5)
        for commit in commits:
            self.assertEqual(subprocess.run([*git, "cat-file", "-e", f"{commit}^{{commit}}"], capture_output=True).returncode, 0, commit)

    def test_files_named_in_the_tour_exist(self):
        for page in ("README.md", "docs/how-to-add-a-stage.md", "docs/performance.md"):
            for path in re.findall(r"`((?:src|apps|lab|include|tests|scripts|examples|docs)/[\w./-]+)`", text(page)):
                if "NAME" not in path:
                    self.assertTrue(os.path.exists(os.path.join(SOURCE, path)), f"{page} names {path}")

    def test_cited_sections_exist(self):
        sections = set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", text("MODEL.md"), re.M))
        cited = 0
        for root, _, files in os.walk(SOURCE):
            parts = os.path.relpath(root, SOURCE).split(os.sep)
            if parts[0] not in ("src", "tests", "lab", "include", "apps", "examples"):
                continue
            for name in files:
                if not name.endswith((".c", ".h", ".py", ".def")):
                    continue
                for section in re.findall(r"[Ss]pec §(\d+(?:\.\d+)?)", text(os.path.join(root, name))):
                    cited += 1
                    self.assertIn(section, sections, f"{root}/{name} cites a section that MODEL.md lacks")
        self.assertGreater(cited, 5)

    def test_functions_of_the_header_are_in_the_api_page(self):
        functions = set(re.findall(r"OMNI_API [\w \*]*?\b(omni_\w+)\(", text("include/omni.h")))
        self.assertGreater(len(functions), 25)
        page = set(re.findall(r"omni_\w+", text("docs/api.md")))
        self.assertEqual(functions - page, set(), "docs/api.md lacks functions")

    def test_statuses_are_in_the_errors_page(self):
        statuses = set(re.findall(r"^    (OMNI_(?:OK|AGAIN|ERR_\w+))\s*=", text("include/omni.h"), re.M))
        self.assertGreater(len(statuses), 9)
        page = text("docs/errors-and-limits.md")
        for status in statuses:
            self.assertIn(f"`{status}`", page)


if __name__ == "__main__":
    unittest.main()
