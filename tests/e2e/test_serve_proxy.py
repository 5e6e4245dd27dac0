"""deploy/nginx/omni.conf, as it is shipped but for names and ports, in Debian's nginx in front of omni serve."""

import http.client
import json
import os
import signal
import shutil
import socket
import ssl
import subprocess
import time
import unittest

import program
from realtime_client import DEADLINE, Closed, Refused, Server, Socket, speech

KEY = "sesame"
QUESTION = [{"role": "user", "content": "how much is two plus two"}]
PER_ADDRESS = 128


def free_ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def change(text, *pairs):
    """Replaces each line, which must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


class Proxy:
    """nginx with the shipped file; in its terms a Server for Socket."""

    def __init__(self, folder, *servers):
        self.folder = folder
        self.port, self.plain = free_ports(2)
        cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        with open(os.path.join(program.SOURCE, "deploy", "nginx", "omni.conf")) as f:
            text = f.read()
        site = change(text, ("    listen 80;\n    listen [::]:80;\n", "    listen 127.0.0.1:%d;\n" % self.plain),
                      ("    listen 443 ssl http2;\n    listen [::]:443 ssl http2;\n", "    listen 127.0.0.1:%d ssl http2;\n" % self.port),
                      ("/etc/ssl/omni/fullchain.pem", cert), ("/etc/ssl/omni/privkey.pem", key),
                      ("    server 127.0.0.1:8080 max_fails=0;",
                       "\n".join("    server 127.0.0.1:%d max_fails=0;" % s.port for s in servers)))
        program.write(os.path.join(folder, "omni.conf"), site)
        temporary = "".join("    %s_temp_path %s/%s;\n" % (n, folder, n) for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        program.write(os.path.join(folder, "nginx.conf"),
                      "%sdaemon off;\nworker_processes 2;\npid %s/pid;\nerror_log %s/error.log;\nevents {}\nhttp {\n    access_log off;\n%s"
                      "    include %s/omni.conf;\n}\n" % ("user root;\n" if os.geteuid() == 0 else "", folder, folder, temporary, folder))
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        assert os.path.exists(nginx), "nginx is missing: scripts/setup.sh test installs it"
        self.log = open(os.path.join(folder, "stderr"), "wb")
        self.process = subprocess.Popen([nginx, "-p", folder, "-c", os.path.join(folder, "nginx.conf")], stderr=self.log)
        self.context = ssl.create_default_context(cafile=cert)
        until = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.plain), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < until, self.errors()
                time.sleep(0.02)

    def errors(self):
        return "".join(open(os.path.join(self.folder, n)).read() for n in ("stderr", "error.log") if os.path.exists(os.path.join(self.folder, n)))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.process.terminate()
        self.process.wait(timeout=DEADLINE)
        self.log.close()

    def connect(self, source="127.0.0.1"):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE, source_address=(source, 0))
        return self.context.wrap_socket(s, server_hostname="127.0.0.1")

    def open(self, method, path, body=None, headers=None, source="127.0.0.1"):
        c = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=DEADLINE, source_address=(source, 0))
        c.request(method, path, json.dumps(body) if body else None, dict({"Authorization": "Bearer " + KEY}, **(headers or {})))
        return c, c.getresponse()

    def request(self, *args, **kwargs):
        c, r = self.open(*args, **kwargs)
        data = r.read()
        c.close()
        return r.status, r.headers, data


class Behind(unittest.TestCase):
    def setUp(self):
        self.folder = program.scratch("proxy")
        self.addCleanup(program.remove, self.folder)

    def enter(self, context):
        self.addCleanup(context.__exit__, None, None, None)
        return context

    def serve(self, *options):
        return self.enter(Server("--api-key", KEY, "--trusted-proxy", "127.0.0.1", *options))

    def proxy(self, *servers):
        return self.enter(Proxy(self.folder, *servers))


class One(Behind):
    def test_the_page_health_and_what_is_hidden(self):
        proxy = self.proxy(self.serve())
        for path in ("/", "/app.js", "/worklets.js", "/style.css"):
            status, headers, body = proxy.request("GET", path)
            self.assertEqual(status, 200)
            self.assertTrue(body)
            self.assertIn("default-src 'none'", headers["content-security-policy"])
            self.assertEqual(headers["strict-transport-security"], "max-age=31536000")
        self.assertEqual(proxy.request("GET", "/health")[0], 200)
        self.assertEqual(proxy.request("GET", "/metrics")[0], 403)
        self.assertEqual(proxy.request("GET", "/v1/models", headers={"Authorization": "Bearer wrong"})[0], 401)
        c = http.client.HTTPConnection("127.0.0.1", proxy.plain, timeout=DEADLINE)
        c.request("GET", "/x?y", headers={"Host": "omni.example.org"})
        r = c.getresponse()
        self.assertEqual((r.status, r.headers["location"]), (308, "https://omni.example.org/x?y"))
        c.close()

    def test_a_spoken_turn_as_a_page_holds_it(self):
        proxy = self.proxy(self.serve())
        origin = {"Origin": "https://127.0.0.1:%d" % proxy.port}
        with Socket(proxy, headers=origin, protocols=["realtime", "openai-insecure-api-key." + KEY]) as c:
            c.manual()
            c.append(speech("2.wav", 0.2))
            c.send("input_audio_buffer.commit")
            self.assertEqual(c.respond()["status"], "completed")
            self.assertGreater(len(c.audio()), 24000)
        with self.assertRaises(Refused) as caught:
            Socket(proxy, key=KEY, headers={"Origin": "https://evil.example"})
        self.assertEqual(caught.exception.status, 403)

    def test_a_stream_is_not_held_back(self):
        server = self.serve("-np", "1")
        proxy = self.proxy(server)
        with Socket(server, key=KEY):       # has the only place: the answer can not begin
            c, r = proxy.open("POST", "/v1/chat/completions", {"model": "m", "messages": QUESTION, "stream": True},
                              {"Content-Type": "application/json"})
            self.assertEqual((r.status, r.headers["content-type"].split(";")[0]), (200, "text/event-stream"))
            first = r.readline()            # and yet its first event is here
            self.assertEqual(json.loads(first[6:])["choices"][0]["delta"]["role"], "assistant")
            self.assertEqual(server.metric("s2s_queue_depth"), 1)
        rest = r.read().decode()
        c.close()
        self.assertTrue(rest.endswith("data: [DONE]\n\n"))
        words = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content") or "" for line in rest.split("\n\n")[:-2] if line.strip())
        self.assertTrue(words)

    def test_limits_count_clients_not_the_proxy(self):
        server = self.serve()
        proxy = self.proxy(server)
        held = []
        for _ in range(PER_ADDRESS):        # requests of 127.0.0.9 whose body does not come, as another proxy brings them
            s = server.connect()
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 127.0.0.9\r\n"
                      b"Content-Length: 100\r\n\r\n{")
            held.append(s)
        until = time.monotonic() + DEADLINE
        while proxy.request("GET", "/v1/models", source="127.0.0.9")[0] != 429:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)
        forged = {"X-Forwarded-For": "192.0.2.7"}
        status, headers, body = proxy.request("GET", "/v1/models", headers=forged, source="127.0.0.9")
        self.assertEqual((status, headers["retry-after"], json.loads(body)["error"]["code"]), (429, "1", "rate_limit_exceeded"))
        with self.assertRaises(Refused) as caught:
            Socket(self.through(proxy, "127.0.0.9"), key=KEY)
        self.assertEqual(caught.exception.status, 429)
        self.assertEqual(proxy.request("GET", "/v1/models", source="127.0.0.8")[0], 200)
        self.assertEqual(proxy.request("GET", "/v1/models", headers={"X-Forwarded-For": "127.0.0.9"}, source="127.0.0.8")[0], 200)
        for s in held:
            s.close()
        while proxy.request("GET", "/v1/models", source="127.0.0.9")[0] != 200:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)
        for text in ("", "localhost", "1.2.3.4/33", "1.2.3.4,"):
            r = program.run("serve", "--trusted-proxy", text)
            self.assertEqual(r.returncode, 2, text)
            self.assertIn("--trusted-proxy", r.stderr.decode())

    @staticmethod
    def through(proxy, source):
        class From:
            port = proxy.port
            connect = staticmethod(lambda: proxy.connect(source))
        return From


class Two(Behind):
    def setUp(self):
        super().setUp()
        self.servers = [self.serve("-np", "4"), Server("--api-key", KEY, "--trusted-proxy", "127.0.0.1", "-np", "4")]
        self.addCleanup(self.end_second)
        self.proxy_ = self.proxy(*self.servers)

    def end_second(self):
        self.servers[1].process.kill()
        self.servers[1].process.communicate()

    def ask(self):
        status, _, body = self.proxy_.request("POST", "/v1/chat/completions", {"model": "m", "messages": QUESTION}, {"Content-Type": "application/json"})
        self.assertEqual(status, 200, body)

    def open_on(self, which):
        """A conversation through the proxy that lies on this server; others are closed again."""
        for _ in range(10):
            before = self.servers[which].metric('s2s_sessions_total{dialect="ga"}')
            c = Socket(self.proxy_, key=KEY)
            c.until("session.created")
            if self.servers[which].metric('s2s_sessions_total{dialect="ga"}') > before:
                return c
            c.sock.close()
        self.fail("the proxy never chose server %d" % which)

    def test_one_is_killed_the_other_goes_on(self):
        here, there = self.open_on(0), self.open_on(1)
        self.servers[1].process.kill()
        start = time.monotonic()
        with self.assertRaises((Closed, ConnectionError, ssl.SSLError)):
            there.until("nothing")
        again = Socket(self.proxy_, key=KEY)
        again.until("session.created")
        print("killed; another conversation %.0f ms later" % (1000 * (time.monotonic() - start)))
        for c in (here, again):
            c.manual()
            c.say("how much is two plus two")
            self.assertEqual(c.respond()["status"], "completed")
            c.sock.close()
        times = []
        for _ in range(20):
            start = time.monotonic()
            self.ask()
            times.append(time.monotonic() - start)
        print("20 of 20 answered, median %.0f ms, most %.0f ms" % (1000 * sorted(times)[10], 1000 * max(times)))

    def test_full_servers_still_answer_all_else(self):
        held = []
        for server in self.servers:
            for _ in range(4):
                held.append(Socket(server, key=KEY))
        for _ in range(4):
            with self.assertRaises(Refused) as caught:
                Socket(self.proxy_, key=KEY)
            self.assertEqual(caught.exception.status, 503)      # the servers' own word, not nginx's 502
            self.assertEqual(self.proxy_.request("GET", "/v1/models")[0], 200)
        c, r = self.proxy_.open("POST", "/v1/chat/completions", {"model": "m", "messages": QUESTION, "stream": True}, {"Content-Type": "application/json"})
        self.assertEqual(r.status, 200)     # it stands in line
        for s in held:
            s.sock.close()
        self.assertTrue(r.read().endswith(b"data: [DONE]\n\n"))
        c.close()

    def test_one_is_drained(self):
        c = self.open_on(1)
        self.servers[1].process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + DEADLINE
        while self.servers[1].request("GET", "/health")[0] != 503:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)
        before = self.servers[1].metric('s2s_sessions_total{dialect="ga"}')
        for _ in range(4):      # whatever is new goes to the other
            self.ask()
            with Socket(self.proxy_, key=KEY) as new:
                new.until("session.created")
        self.assertEqual(self.servers[1].metric('s2s_sessions_total{dialect="ga"}'), before)
        c.manual()              # what was there goes on
        c.say("how much is two plus two")
        self.assertEqual(c.respond()["status"], "completed")
        self.assertIsNone(self.servers[1].process.poll())
        c.sock.close()          # and when it ends, so does the server
        self.assertEqual(self.servers[1].process.wait(timeout=DEADLINE), 0)
        self.ask()


if __name__ == "__main__":
    unittest.main()
