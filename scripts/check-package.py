#!/usr/bin/env python3
"""The Debian package and the steps of deploy/Dockerfile, in a fresh Debian 12 (make checkdeb; root, network).

  check-package.py BUILD WORK [--build-stage]

BUILD has the .deb; WORK keeps the base system between runs. There is no container engine in this: FROM, COPY, RUN,
USER, ENTRYPOINT, CMD and HEALTHCHECK are done by chroot. Without --build-stage the first stage of the Dockerfile, which
compiles everything once more, is left out, and its COPY --from takes the package of BUILD.

/proc, /dev and a cache of this machine are mounted into WORK. That is done in a mount namespace of this process's own, so
that they are gone with it however it ends, and nothing is deleted before what is mounted below it has been taken away.
"""

import contextlib
import glob
import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PORT = 8080
NAMESPACE = "CHECK_PACKAGE_NAMESPACE"


def alone():
    """Goes on in a mount namespace of its own: what is mounted here is not there for others, nor after a kill."""
    if NAMESPACE not in os.environ:
        os.environ[NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    assert os.readlink("/proc/self/ns/mnt") != os.readlink("/proc/%d/ns/mnt" % os.getppid()), "not in a mount namespace of its own"


def mounts_below(folder):
    """Mount points in the folder, or the folder itself, the latest first."""
    folder = os.path.realpath(folder)
    with open("/proc/self/mountinfo") as f:
        points = [line.split()[4].encode().decode("unicode_escape") for line in f]
    return [p for p in reversed(points) if p == folder or p.startswith(folder + "/")]


def remove(folder):
    """The folder, and nothing that is mounted in it."""
    for point in mounts_below(folder):
        run("umount", "-l", point)
    assert not mounts_below(folder), mounts_below(folder)
    run("rm", "-rf", "--one-file-system", folder)


def run(*args, **kwargs):
    print("+", " ".join(args), flush=True)
    return subprocess.run(args, check=True, **kwargs)


def base(work):
    """A Debian 12 as in the image debian:12-slim, near enough: minbase."""
    folder = os.path.join(work, "bookworm")
    if not os.path.exists(os.path.join(folder, "complete")):
        remove(folder)
        run("debootstrap", "--variant=minbase", "bookworm", folder, stdout=subprocess.DEVNULL)
        open(os.path.join(folder, "complete"), "w").close()
    return folder


@contextlib.contextmanager
def system(work, name):
    """A copy of the base with /proc, /dev and what this machine has built of llama.cpp; removed afterwards."""
    folder = os.path.join(work, name)
    with contextlib.ExitStack() as undo:
        remove(folder)
        undo.callback(remove, folder)
        run("cp", "-a", base(work), folder)
        shutil.copy("/etc/resolv.conf", folder + "/etc/resolv.conf")
        cache = os.path.expanduser("~/.cache/llama-omni")
        os.makedirs(cache, exist_ok=True)
        for what, to in (("/proc", "/proc"), ("/dev", "/dev"), (cache, "/root/.cache/llama-omni")):
            os.makedirs(folder + to, exist_ok=True)
            run("mount", "--bind", what, folder + to)
        yield folder


def instructions(path):
    """(word, rest) of each, lines joined, without comments."""
    with open(path) as f:
        lines = [line.rstrip("\n") for line in f if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").split("\n"):
        if line.strip():
            yield tuple(line.strip().split(None, 1))


class Image:
    """One stage, built in a folder."""

    def __init__(self, folder):
        self.folder, self.user, self.work, self.env = folder, None, "/", {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        self.entry, self.command, self.health = [], [], None

    def chroot(self, *args, user=None):
        return ["chroot", *(["--userspec=%s:%s" % (user, user)] if user else []), self.folder, "/bin/sh", "-c",
                'cd "$0" && exec "$@"', self.work, *args]

    def step(self, word, rest, build, stages):
        if word == "RUN":
            run(*self.chroot("/bin/sh", "-c", rest), env=dict(self.env, DEBIAN_FRONTEND="noninteractive"), stdout=subprocess.DEVNULL)
        elif word == "WORKDIR":
            self.work = rest
            os.makedirs(self.folder + rest, exist_ok=True)
        elif word == "ENV":
            self.env.update([rest.split("=", 1)])
        elif word == "COPY":
            self.copy(rest.split(), build, stages)
        elif word == "USER":
            self.user = rest
        elif word == "ENTRYPOINT":
            self.entry = json.loads(rest)
        elif word == "CMD":
            self.command = json.loads(rest)
        elif word == "HEALTHCHECK":
            self.health = json.loads(rest.split("CMD", 1)[1])
        elif word != "EXPOSE":
            raise SystemExit("check-package: %s is not known here" % word)

    def copy(self, words, build, stages):
        source = None
        if words[0].startswith("--from="):
            source = stages.get(words.pop(0)[7:])
        *what, to = words
        to = os.path.join(self.folder, os.path.join(self.work, to).lstrip("/"))
        if what == ["."]:
            tracked = subprocess.run(["git", "-C", SOURCE, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                     check=True, capture_output=True).stdout
            tar = subprocess.Popen(["tar", "-C", SOURCE, "--null", "-T", "-", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            untar = subprocess.Popen(["tar", "-C", to, "-x"], stdin=tar.stdout)
            tar.stdin.write(tracked)
            tar.stdin.close()
            assert tar.wait() == 0 and untar.wait() == 0
            return
        for pattern in what:
            found = glob.glob(source.folder + pattern if source else os.path.join(build, os.path.basename(pattern)))
            assert found, pattern
            for path in found:
                shutil.copy(path, to)

    def size(self):
        return int(subprocess.run(["du", "-smx", "--exclude=proc", "--exclude=dev", "--exclude=root/.cache", self.folder], check=True, capture_output=True).stdout.split()[0])


def ask(key, port=PORT):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"model": "m", "messages": [{"role": "user", "content": "how much is two plus two"}], "modalities": ["text", "audio"],
            "audio": {"voice": "x", "format": "wav"}}
    c.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": "Bearer " + key})
    r = c.getresponse()
    answer = json.loads(r.read())
    assert r.status == 200, answer
    audio = answer["choices"][0]["message"]["audio"]
    print("answer: %s (%d bytes of WAV in base64)" % (audio["transcript"], len(audio["data"])))
    assert audio["transcript"] and len(audio["data"]) > 10000


def start(command, env):
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
    line = process.stdout.readline().decode()
    if not line.startswith("listening on"):
        process.kill()
        raise AssertionError((line, process.wait()))
    return process


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()      # no effect on one that has ended


def check_package(work, deb):
    """Installed, asked on the command line and as a service would be run, removed, purged."""
    with system(work, "installed") as folder:
        image = Image(folder)
        shutil.copy(deb, folder + "/package.deb")
        image.step("RUN", "apt-get update && apt-get install --yes --no-install-recommends /package.deb", None, {})
        said = run(*image.chroot("omni", "ask", "-q", "/usr/share/llama-omni/models/tiny/questions/1.wav", user="_omni"),
                   capture_output=True, env=image.env).stdout.decode()
        print("omni ask:", said.strip())
        assert said.strip()
        with open(folder + "/etc/omni/api-key") as f:
            key = f.read().strip()
        mode = os.stat(folder + "/etc/omni/api-key").st_mode & 0o777
        assert mode == 0o600 and len(key) == 32, (oct(mode), key)
        # what systemd would do: the key handed over, then the unit's own command line
        with open(folder + "/lib/systemd/system/omni.service") as f:
            line = next(x for x in f if x.startswith("ExecStart="))[10:]
        with open(folder + "/etc/default/omni") as f:
            options = shlex.split(next(x for x in f if x.startswith("OMNI_OPTIONS="))[13:])[0]
        os.makedirs(folder + "/run/credentials")
        run("install", "-m", "444", folder + "/etc/omni/api-key", folder + "/run/credentials/api-key")
        command = line.replace("${CREDENTIALS_DIRECTORY}", "/run/credentials").replace("$OMNI_OPTIONS", options).split()
        process = start(image.chroot(*command, user="_omni"), image.env)
        try:
            ask(key)
        finally:
            stop(process)
        image.step("RUN", "apt-get remove --yes llama-omni && test -e /etc/omni/api-key && test ! -e /usr/bin/omni", None, {})
        image.step("RUN", "apt-get purge --yes llama-omni && test ! -e /etc/omni && test ! -e /etc/default/omni", None, {})
        left = subprocess.run(["find", folder + "/usr", folder + "/etc", folder + "/lib", "-name", "*omni*"], capture_output=True).stdout
        assert not left, left


def check_unit(work):
    """The unit's spelling, and how much a service may do (0 nothing .. 10 all)."""
    unit = os.path.join(SOURCE, "deploy", "systemd", "omni.service")
    folder = os.path.join(work, "unit")
    os.makedirs(folder, exist_ok=True)
    with open(unit) as f, open(os.path.join(folder, "omni.service"), "w") as to:
        to.write(f.read().replace("/usr/bin/omni", "/bin/true"))        # verify wants the program to be there
    run("systemd-analyze", "verify", "--man=no", os.path.join(folder, "omni.service"))
    out = run("systemd-analyze", "security", "--offline=true", os.path.join(folder, "omni.service"), capture_output=True).stdout.decode()
    print(out.strip().splitlines()[-1])


def check_dockerfile(work, build, build_stage):
    stages, current = {}, None
    with contextlib.ExitStack() as undo:
        for word, rest in instructions(os.path.join(SOURCE, "deploy", "Dockerfile")):
            if word == "FROM":
                image, *name = rest.replace(" AS ", " ").split()
                assert image == "debian:12-slim", image
                skipped = bool(name) and not build_stage
                current = None if skipped else Image(undo.enter_context(system(work, "stage-" + (name[0] if name else "final"))))
                if name and current:
                    stages[name[0]] = current
            elif current:
                current.step(word, rest, build, stages)
        print("final stage: %d MB, of which Debian %d" % (current.size(), Image(base(work)).size()))
        os.makedirs(current.folder + "/run/secrets")
        with open(current.folder + "/run/secrets/api-key", "w") as f:
            f.write("sesame\n")
        process = start(current.chroot(*current.entry, *current.command, user=current.user), current.env)
        try:
            run(*current.chroot(*current.health, user=current.user), env=current.env)
            ask("sesame")
        finally:
            stop(process)
        assert subprocess.run(current.chroot(*current.health, user=current.user), stderr=subprocess.DEVNULL).returncode != 0


def main():
    alone()
    build, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    os.makedirs(work, exist_ok=True)
    debs = glob.glob(os.path.join(build, "*.deb"))
    assert len(debs) == 1, debs
    started = time.monotonic()
    run("lintian", "--allow-root", "--fail-on", "error", debs[0])
    check_unit(work)
    check_package(work, debs[0])
    check_dockerfile(work, build, "--build-stage" in sys.argv)
    print("all well, %.0f s" % (time.monotonic() - started))


if __name__ == "__main__":
    main()
