"""What `make install` puts in place is enough for a stranger: header in C11 and C++17, pkg-config, CMake."""

import os
import re
import subprocess
import unittest

from program import BUILD, scratch, synth

PROGRAM = """
#include <omni.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    omni_model *model;
    if (argc < 2 || omni_model_load(argv[1], NULL, &model) != OMNI_OK)
        return puts(omni_last_error()), 1;
    printf("%s %d\\n", omni_version(), omni_model_get_info(model)->units);
    omni_model_free(model);
    return 0;
}
"""
# What the program at the top of omni.h leaves to its reader.
SOUND = """
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
static size_t played;
static void tell(void) { fprintf(stderr, "%zu samples played\\n", played); }
static size_t read_my_microphone(float *pcm, size_t n)
{
    atexit(tell);
    for (size_t i = 0; i < n && i < 16000; i++) pcm[i] = (float)(0.3 * sin((double)i * 0.0864));
    return n < 16000 ? n : 16000;
}
static void play_my_speaker(const float *pcm, size_t n) { (void)pcm; played += n; }
"""
CMAKE = """
cmake_minimum_required(VERSION 3.16)
project(stranger LANGUAGES C CXX)
find_package(omni REQUIRED)
add_executable(stranger stranger.c)
target_link_libraries(stranger omni::omni)
"""


def run(*args, **kwargs):
    r = subprocess.run(args, capture_output=True, timeout=600, **kwargs)
    if r.returncode:
        raise AssertionError(f"{' '.join(args)}:\n{r.stdout.decode()}{r.stderr.decode()}")
    return r.stdout.decode()


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = scratch("install")
        cls.prefix = os.path.join(cls.folder, "prefix")
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        cls.library = subprocess.run(["find", cls.prefix, "-name", "libomni.so"], capture_output=True).stdout.decode().strip()
        cls.model = os.path.join(cls.folder, "model")
        synth(cls.model)
        for name in ("stranger.c", "stranger.cpp"):
            with open(os.path.join(cls.folder, name), "w") as f:
                f.write(PROGRAM)

    def check(self, program):
        env = dict(os.environ, LD_LIBRARY_PATH=os.path.dirname(self.library))
        self.assertRegex(run(program, self.model, env=env), r"^\d+\.\d+\.\d+ 50\n$")

    def test_exports_nothing_but_omni(self):
        symbols = [line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", self.library).splitlines()]
        self.assertGreater(len(symbols), 25)
        self.assertEqual([s for s in symbols if not s.startswith("omni_")], [])

    def test_exports_everything_the_header_declares(self):
        with open(os.path.join(self.prefix, "include", "omni.h")) as f:
            declared = {line.split("(")[0].split()[-1].lstrip("*") for line in f if line.startswith("OMNI_API")}
        symbols = {line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", self.library).splitlines()}
        self.assertEqual(declared, symbols)

    def test_header_is_strict_c11_and_cpp17(self):
        flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I", os.path.join(self.prefix, "include")]
        run("cc", "-std=c11", *flags, os.path.join(self.folder, "stranger.c"))
        run("c++", "-std=c++17", *flags, os.path.join(self.folder, "stranger.cpp"))

    def flags(self):
        found = subprocess.run(["find", self.prefix, "-name", "omni.pc"], capture_output=True).stdout.decode().strip()
        env = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(found))
        # The file names the configured prefix; this copy lies elsewhere.
        return run("pkg-config", f"--define-variable=libdir={os.path.dirname(self.library)}",
                   f"--define-variable=includedir={self.prefix}/include", "--cflags", "--libs", "omni", env=env).split()

    def test_pkg_config(self):
        program = os.path.join(self.folder, "by-pkg-config")
        run("cc", "-std=c11", os.path.join(self.folder, "stranger.c"), *self.flags(), "-o", program)
        self.check(program)

    def test_program_at_the_top_of_the_header(self):
        """It compiles as it stands, with a microphone and a loudspeaker, and answers."""
        with open(os.path.join(self.prefix, "include", "omni.h")) as f:
            comment = f.read().split("*/", 1)[0]
        lines = re.findall(r"^ \* {5}(.*)$|^ \*()$", comment, re.M)
        program = "\n".join(a or b for a, b in lines)
        program = program[program.index("#include <omni.h>"):program.rindex("\n}") + 3]
        self.assertIn("int main(", program)
        folder = os.path.join(self.folder, "top")
        os.makedirs(os.path.join(folder, "models"))
        os.symlink(self.model, os.path.join(folder, "models", "tiny"))
        with open(os.path.join(folder, "top.c"), "w") as f:
            f.write(SOUND + program)
        run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", os.path.join(folder, "top.c"), *self.flags(), "-lm",
            "-o", os.path.join(folder, "top"))
        env = dict(os.environ, LD_LIBRARY_PATH=os.path.dirname(self.library))
        r = subprocess.run([os.path.join(folder, "top")], cwd=folder, env=env, capture_output=True, timeout=600)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertGreater(len(r.stdout), 2)
        self.assertRegex(r.stderr, rb"(^|\n)[1-9]\d* samples played\n$")

    def test_cmake_package(self):
        with open(os.path.join(self.folder, "CMakeLists.txt"), "w") as f:
            f.write(CMAKE)
        build = os.path.join(self.folder, "build")
        run("cmake", "-S", self.folder, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}")
        run("cmake", "--build", build)
        self.check(os.path.join(build, "stranger"))

    def test_program_is_installed(self):
        self.assertTrue(run(os.path.join(self.prefix, "bin", "omni"), "--version").startswith("omni"))


if __name__ == "__main__":
    unittest.main()
