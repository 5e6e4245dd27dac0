"""A server that behaves like the hub, well or badly: python's standard library only.

    hub = Hub()                      # two ports: the hub, and the storage it redirects big files to
    hub.put("user/repo", {"config.json": b"{}", "model.safetensors": b"..."})
    hub.fault("model.safetensors", "drop", times=2)
    ... HF_ENDPOINT=hub.url ...
    hub.requests                     # what was asked: (server, method, path, headers)
"""

import hashlib
import http.server
import json
import random
import threading
import time
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        hub = self.server.hub
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        with hub.lock:
            hub.requests.append((self.server.role, self.command, self.path, dict(self.headers)))
        try:
            if self.server.role == "hub" and self.moved(hub):
                return
            if self.server.role == "storage":
                self.storage(hub, path)
            elif path.startswith("/api/models/"):
                self.api(hub, path[len("/api/models/"):])
            elif "/resolve/" in path:
                self.resolve(hub, path)
            else:
                self.say(404)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def moved(self, hub):
        """A repository that was renamed: the hub says where it is now, without its own address."""
        for old, new in hub.renamed.items():
            if f"/{old}/" in self.path:
                self.say(307, Location=self.path.replace(f"/{old}/", f"/{new}/"))
                return True
        return False

    def say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def api(self, hub, rest):
        user, name, what, revision = rest.split("/", 3)
        files = hub.repos.get(f"{user}/{name}")
        fault = hub.take(what)
        if fault and self.misbehave(hub, fault, b"[]"):
            return
        if files is None:
            self.say(404, X_Error_Code="RepoNotFound")
        elif revision not in ("main", COMMIT, "refs/pr/1"):
            self.say(404, X_Error_Code="RevisionNotFound")
        elif what == "revision":
            self.say(200, json.dumps({"sha": COMMIT, "cardData": {"license": "apache-2.0"}}).encode())
        elif hub.tree is not None:
            self.say(200, hub.tree)
        else:
            self.tree(hub, files, f"{user}/{name}")

    def tree(self, hub, files, repo):
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "images"}]
        for path, data in files.items():
            entry = {"type": "file", "oid": git_blob(data), "size": len(data), "path": path}
            if hub.is_lfs(data):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            if path in hub.claims:
                entry["size"] = entry["lfs"]["size"] = hub.claims[path]
            entries.append(entry)
        page = int(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("page", ["0"])[0])
        more = {}
        if len(entries) > (page + 1) * 3:
            to = hub.next or f"{hub.url}/api/models/{repo}/tree/{COMMIT}?page={page + 1}"
            more["Link"] = f'<{hub.url}/first>; rel="first", <{to}>; rel="next"'
        self.say(200, json.dumps(entries[page * 3:page * 3 + 3]).encode(), **more)

    def resolve(self, hub, path):
        repo, rest = path[1:].split("/resolve/", 1)
        commit, name = rest.split("/", 1)
        data = hub.repos.get(repo, {}).get(name)
        if data is None or commit != COMMIT:
            self.say(404, X_Error_Code="EntryNotFound")
            return
        if hub.is_lfs(data):
            target = hub.redirect or f"{hub.storage_url}/blob/{repo}/{name}?signature=1"
            self.say(302, Location=target, X_Repo_Commit=COMMIT, X_Linked_Size=len(data),
                     X_Linked_Etag=f'"{hub.etag or hashlib.sha256(data).hexdigest()}"')
        else:
            self.send(hub, name, data, X_Repo_Commit=COMMIT)

    def storage(self, hub, path):
        user, repo, name = path.split("/", 4)[2:]
        self.send(hub, name, hub.repos[f"{user}/{repo}"][name])

    def send(self, hub, name, data, **headers):
        fault = hub.take(name)
        first, last = 0, len(data) - 1
        asked = self.headers.get("Range")
        if asked:
            a, b = asked.split("=")[1].split("-")
            first, last = int(a), min(int(b or last), last)
        if fault == "wrong":
            data = bytes(b ^ 1 for b in data[:100]) + data[100:]
        if fault == "no-ranges" or not asked:
            first, last, asked = 0, len(data) - 1, None
        if fault and self.misbehave(hub, fault, data[first:last + 1]):
            return
        self.send_response(206 if asked else 200)
        if asked:
            off, more = (1 if fault == "other-range" else 0), (1 if fault == "other-size" else 0)
            self.send_header("Content-Range", f"bytes {first + off}-{last}/{len(data) + more}")
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if self.command != "HEAD":
            self.body(hub, fault, data[first:last + 1])

    def body(self, hub, fault, data):
        if fault == "drop":
            self.wfile.write(data[:hub.random.randrange(len(data))])
            self.close_connection = True
        elif fault == "stall":
            self.wfile.write(data[:len(data) // 2])
            self.wfile.flush()
            time.sleep(3)
            self.close_connection = True
        elif fault == "slow":
            for at in range(0, len(data), 1 << 16):
                self.wfile.write(data[at:at + (1 << 16)])
                time.sleep(0.02)
        else:
            self.wfile.write(data)

    def misbehave(self, hub, fault, data):
        """Answers with a status instead of the data, if the fault is one."""
        if not isinstance(fault, int):
            return False
        headers = {"Retry_After": hub.retry_after} if fault == 429 else {"X_Error_Code": "GatedRepo"} if fault == 403 else {}
        if fault == 416:
            headers["Content_Range"] = f"bytes */{len(data)}"
        self.say(fault, b"no", **headers)
        return True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that were killed are nothing to talk about."""


class Hub:
    """repos, and what goes wrong with them."""

    def __init__(self, lfs_from=1000):
        self.repos, self.faults, self.claims, self.requests = {}, {}, {}, []
        self.tree = self.redirect = self.etag = self.next = None
        self.renamed, self.retry_after = {}, 1
        self.lfs_from = lfs_from
        self.random = random.Random(5)
        self.lock = threading.Lock()
        self.servers = []
        for role in ("hub", "storage"):
            server = Server(("127.0.0.1", 0), Handler)
            server.role, server.hub = role, self
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            self.servers.append(server)
        self.url, self.storage_url = (f"http://127.0.0.1:{s.server_address[1]}" for s in self.servers)

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def is_lfs(self, data):
        return len(data) >= self.lfs_from

    def put(self, repo, files):
        self.repos[repo] = dict(files)

    def fault(self, name, what, times=1):
        """The next `times` requests for the file (or for revision, tree) fail: a status, or drop, stall, slow,
        wrong, no-ranges, other-range (other bytes than asked for), other-size (of a file of another length)."""
        self.faults[name] = [what] * times

    def take(self, name):
        with self.lock:
            waiting = self.faults.get(name)
            return waiting.pop(0) if waiting else None

    def asked(self, name, method="GET", role=None):
        with self.lock:
            return [r for r in self.requests if name in r[2] and r[1] == method and role in (None, r[0])]
