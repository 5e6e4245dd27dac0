"""What the tests of the Realtime protocol share: a server for the class, connections that are checked at their end."""

import base64
import time
import unittest

from realtime_client import Refused, Server, Socket, speech

QUESTION = "what is the capital of france"
KEY = "sk-proj-" + "k" * 192


def b64(data):
    return base64.b64encode(data).decode()


class Case(unittest.TestCase):
    options = ("-np", "6")
    model = None        # the bundled one

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.options, model=cls.model)
        cls.voice = speech()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def connect(self, manual=True, **options):
        deadline = time.monotonic() + 30
        while True:
            try:
                c = Socket(self.server, **options)
                break
            except Refused as refusal:      # a slot of the test before is being freed
                if refusal.status != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.addCleanup(c.__exit__, None, None, None)
        created = c.next()
        self.assertEqual(created["type"], "session.created")
        c.created = created["session"]
        if manual:
            c.manual()
        return c

    def fails(self, c, event, code, param=None, contains=""):
        """Sends event, wants one error of that code and param, with its event_id, and the connection alive."""
        event = dict(event, event_id="e1")
        c.send(event)
        e = c.until("error")["error"]
        self.assertEqual((e["code"], e["param"], e["event_id"]), (code, param, "e1"), e)
        self.assertIn(contains, e["message"])
        self.assertIsInstance(e["type"], str)
