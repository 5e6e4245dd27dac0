#!/usr/bin/python3
"""Clients that come and go: churn.py [OMNI] [--connections N] [--kills N]

N connections, each with a session that is opened and left, half of them by RST, every eighth in the middle of an answer;
then clients in processes of their own that kill -9 ends in the middle of an answer. Passes when memory, descriptors, seats
and sessions are afterwards what they were after the first tenth. Exit code 0: passed. `make churn` runs it.
"""

import argparse
import os
import signal
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def read_arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("omni", nargs="?", default=os.path.join(ROOT, "build", "omni"), help="the program (default: build/omni)")
    p.add_argument("-m", "--model", default=os.path.join(ROOT, "models", "tiny"))
    p.add_argument("--connections", type=int, default=10000)
    p.add_argument("--kills", type=int, default=100, help="clients ended by kill -9 (default: 100)")
    p.add_argument("--growth", type=float, default=2, metavar="PERCENT", help="of resident memory that is allowed (default: 2)")
    return p.parse_args()


# A client that asks and then only prints a line for the first sound, to be killed there.
ASKER = """
import socket, sys
from realtime_client import Socket
class At:
    port = int(sys.argv[1])
    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)
c = Socket(At())
c.next()
c.say("What is the capital of France?")
c.send("response.create")
c.until("response.output_audio.delta")
print("sounds", flush=True)
c.sock.setsockopt(1, 8, 4096)
import time
time.sleep(600)
"""


def come_and_go(server, i):
    from realtime_client import Refused, Socket
    for _ in range(600):
        try:
            c = Socket(server)
            break
        except Refused as e:
            if e.status != 503:
                raise
            time.sleep(0.05)        # the seats of those who left are being given back
    else:
        raise SystemExit("churn: FAILED: no seat in 30 s")
    c.next()
    if i % 8 == 0:
        c.say("What is the capital of France?")
        c.send("response.create")
        c.until("response.output_audio.delta")
    if i % 2:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.sock.close()


def kill_one(server):
    asker = subprocess.Popen([sys.executable, "-c", ASKER, str(server.port)], stdout=subprocess.PIPE,
                             env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path[:2])))
    line = asker.stdout.readline()
    asker.send_signal(signal.SIGKILL)
    asker.communicate()
    if line.strip() != b"sounds":
        raise SystemExit("churn: FAILED: a client got no answer")


def rest(server):
    """Waits until all has been given back."""
    until = time.monotonic() + 30
    while time.monotonic() < until and (server.metric("s2s_slots_free") < server.metric("s2s_slots") or server.metric("s2s_sockets")):
        time.sleep(0.05)
    o = {"seats": server.metric("s2s_slots_free"), "sessions": server.metric('s2s_sessions_active{dialect="ga"}'),
         "sockets": server.metric("s2s_sockets"), "rss": server.rss(), "descriptors": server.descriptors()}
    for _ in range(20):                 # the connections of these questions are not closed at once
        time.sleep(0.05)
        o["descriptors"] = min(o["descriptors"], server.descriptors())
    return o


def main():
    options = read_arguments()
    os.environ.update(OMNI=os.path.abspath(options.omni), OMNI_SOURCE_DIR=ROOT, OMNI_TEST_MODEL=os.path.abspath(options.model))
    os.environ.setdefault("OMNI_BUILD_DIR", os.path.dirname(os.environ["OMNI"]))
    sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "e2e")]
    from realtime_client import Server

    warm = max(8 * 8, options.connections // 10)    # every seat has answered
    with Server("-np", "8", model=os.environ["OMNI_TEST_MODEL"]) as server:
        began = time.monotonic()
        for i in range(warm):
            come_and_go(server, i)
        before = rest(server)
        for i in range(warm, options.connections):
            come_and_go(server, i)
        seconds = time.monotonic() - began
        between = rest(server)
        for _ in range(options.kills):
            kill_one(server)
        after = rest(server)
        answers = server.metric('s2s_sessions_total{dialect="ga"}')
    growth = 100 * (after["rss"] / before["rss"] - 1)
    for name, o in (("after %d" % warm, before), ("after %d" % options.connections, between), ("after %d kills" % options.kills, after)):
        print("%-16s %8.1f MB, %d descriptors, %d seats free, %d sessions, %d sockets" %
              (name, o["rss"] / 1e6, o["descriptors"], o["seats"], o["sessions"], o["sockets"]))
    print("%d sessions, %.0f connections a second, memory %+.2f %%" % (answers, options.connections / seconds, growth))
    failed = (growth > options.growth or after["seats"] < before["seats"] or after["sessions"] or after["sockets"] or
              after["descriptors"] > before["descriptors"])
    print("churn: FAILED: something was left" if failed else "churn: passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
