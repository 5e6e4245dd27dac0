#!/usr/bin/python3
"""A server at full load for a long time, with clients that nobody wants among the others: soak.py [OMNI] [OPTIONS]

Conversations in real time (omni bench --serve), in slices. The first slice has only these; from the second on clients read
slowly or never, fall silent without a word, leave in the middle of answers and send nonsense (trouble.py). Passes when the
server neither crashed nor grew, no descriptor and no seat was left, and no conversation of the others was refused, broken
or left without an answer. Exit code 0: passed. Run by `make soak`.

Memory: a conversation's sound is kept while it lasts, so memory swings with what is said. It is looked at twice, under load
(the median of a slice) and in the pause after it (the least), when everybody has gone; what is compared are the medians of the
last quarter of the slices and of the quarter after the first, both ways.
"""

import argparse
import collections
import glob
import json
import os
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def read_arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("omni", nargs="?", default=os.path.join(ROOT, "build", "omni"), help="the program (default: build/omni)")
    p.add_argument("-m", "--model", default=os.path.join(ROOT, "models", "tiny"))
    p.add_argument("--minutes", type=float, default=20)
    p.add_argument("--slice", type=float, default=1, metavar="MINUTES", help="(default: 1)")
    p.add_argument("--sessions", type=int, default=32, help="conversations in real time (default: 32)")
    p.add_argument("--growth", type=float, default=2, metavar="PERCENT", help="of resident memory that is allowed (default: 2)")
    p.add_argument("--p95", type=float, default=500, metavar="MS", help="95 %% of first sounds within, 0: not judged (default: 500)")
    p.add_argument("--serve", default="", help="further options of omni serve")
    return p.parse_args()


class Memory(threading.Thread):
    """Samples the server four times a second."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.rss, self.descriptors, self.over = server, [], [], threading.Event()

    def run(self):
        while not self.over.wait(0.25):
            try:
                self.rss.append(self.server.rss())
                self.descriptors.append(self.server.descriptors())
            except OSError:
                return


PAUSE = 12      # seconds: the server gives free pages back every ten


def memory_at_rest(server):
    """The least in a pause."""
    memory = Memory(server)
    memory.start()
    time.sleep(PAUSE)
    memory.over.set()
    memory.join()
    return min(memory.rss)


def cpu_seconds(server):
    with open("/proc/%d/stat" % server.process.pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def converse(server, options, minutes, seed):
    """One slice: what omni bench says, and the server's memory meanwhile."""
    memory = Memory(server)
    memory.start()
    before, began = cpu_seconds(server), time.monotonic()
    r = subprocess.run([options.omni, "bench", "--serve", "ws://127.0.0.1:%d" % server.port, "--sessions", str(options.sessions),
                        "--minutes", str(minutes), "--seed", str(seed), "--json",
                        *sorted(glob.glob(os.path.join(options.model, "questions", "*.wav")))], capture_output=True, timeout=60 * minutes + 300)
    memory.over.set()
    memory.join()
    if r.returncode != 0:
        raise SystemExit("soak: FAILED: omni bench: " + r.stderr.decode().strip())
    o = json.loads(r.stdout)
    o["rss"] = statistics.median(memory.rss)
    o["descriptors"] = max(memory.descriptors)
    o["cpu"] = (cpu_seconds(server) - before) / (time.monotonic() - began)
    return o


def one_slice(server, options, i, done):
    """Only the first is without the unwanted; what they did is added to done."""
    from trouble import Trouble

    if i == 0:
        o = converse(server, options, options.slice, 1)
    else:
        with Trouble(server, seed=i) as trouble:
            o = converse(server, options, options.slice, i + 1)
        done.update(trouble.done)
    o["rest"] = memory_at_rest(server)
    show(str(i) if i else "alone", o)
    return o


def show(name, o):
    first = o["first_audio_ms"]
    print("%-8s %5.0f %5.0f %5.0f %6d %6d %5d %8.1f %7.1f MB %5d %5.0f %%  %s" %
          (name, first["p50"], first["p95"], first["p99"], o["answers"], o["interruptions"], o["underruns"], o["rss"] / 1e6, o["rest"] / 1e6, o["descriptors"],
           100 * o["cpu"], " ".join("%s: %d" % kv for kv in list(o["errors"].items()) + list(o["refused"].items()))), flush=True)


def wait_until(true, seconds=30):
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.1)
    return true()


def growth(slices, name):
    """Percent. A quarter of the time is for buffers and heaps to become as large as they get."""
    n = max(1, len(slices) // 4)
    first, last = (statistics.median(o[name] for o in part) for part in (slices[n:2 * n], slices[-n:]))
    return 100 * (last / first - 1)


def judge(slices, grown, before, server, options):
    """The complaints, one a line."""
    troubled = slices[1:]
    for o in slices:
        for what in ("errors", "refused"):
            if o[what]:
                yield "conversations had trouble: %s %r" % (what, o[what])
        if o["unanswered"]:
            yield "%d questions got no answer" % o["unanswered"]
    if options.p95 and max(o["first_audio_ms"]["p95"] for o in troubled) > options.p95:
        yield "first audio p95 rose to %.0f ms, wanted at most %.0f" % (max(o["first_audio_ms"]["p95"] for o in troubled), options.p95)
    if grown > options.growth:
        yield "resident memory grew by %.1f %%, wanted at most %.1f" % (grown, options.growth)
    if not wait_until(lambda: server.metric("s2s_slots_free") == server.metric("s2s_slots")):
        yield "%d seats were not given back" % (server.metric("s2s_slots") - server.metric("s2s_slots_free"))
    if server.metric('s2s_sessions_active{dialect="ga"}') or server.metric("s2s_sockets"):
        yield "sessions were left open"
    if not wait_until(lambda: server.descriptors() <= before):
        yield "%d descriptors were left open" % (server.descriptors() - before)


def main():
    options = read_arguments()
    os.environ.update(OMNI=os.path.abspath(options.omni), OMNI_SOURCE_DIR=ROOT, OMNI_TEST_MODEL=os.path.abspath(options.model))
    os.environ.setdefault("OMNI_BUILD_DIR", os.path.dirname(os.environ["OMNI"]))
    sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
    from realtime_client import Server

    n = max(3, round(options.minutes / options.slice))
    slices, done = [], collections.Counter()
    print("         first audio, ms                interrup- under- memory: median, after  descrip-\n"
          "slice      p50   p95   p99 answers  tions  runs                               tors    cpu  trouble")
    with Server("-np", str(options.sessions + 10), *options.serve.split(), model=os.environ["OMNI_TEST_MODEL"]) as server:
        server.metric("s2s_slots")          # the first request takes what stays
        before = server.descriptors()
        for i in range(n):
            slices.append(one_slice(server, options, i, done))
        grown = {name: growth(slices, name) for name in ("rss", "rest")}
        print("memory under load %+.2f %%, after a slice %+.2f %%; trouble: %s" % (grown["rss"], grown["rest"],
              ", ".join("%d %s" % (v, k.replace("_", " ")) for k, v in sorted(done.items()))))
        complaints = list(judge(slices, max(grown.values()), before, server, options))
        print("descriptors %d before, %d after" % (before, server.descriptors()))
    for line in complaints:
        print("soak: FAILED: " + line)
    if not complaints:
        print("soak: passed")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
