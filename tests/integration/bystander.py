"""A client that has nothing to do with what a test does to its server, and must not notice it."""

import threading
import time

from clients import Fcgi, fcgi, handshake, numbers, poll
from harness import SLOW, wait_until

NAME = {"REMOTE_USER": "bystander"}  # for auth.uid = remote_user


class Bystander(threading.Thread):
    """Another client, which gets an event every 20 ms all the while and measures how late they are."""

    def __init__(self, world, responder):
        super().__init__(daemon=True)
        self.world, self.responder = world, responder
        self.stopping = threading.Event()
        self.received, self.late, self.error = [], [], None

    def run(self):
        try:
            self.follow()
        except Exception as error:
            self.error = error

    def follow(self):
        fcgi(self.responder.address, "GET", handshake("bystander"), **NAME)
        db = self.world.db()
        n = 0
        while not self.stopping.is_set():
            connection = Fcgi(self.responder.address)
            connection.request("GET", poll("bystander"), **NAME)
            time.sleep(0.02)
            n += 1
            begin_time = time.monotonic()
            db.execute("INSERT INTO dw_push (uid, event, data) VALUES ('bystander', 'test/n', ?)", (str(n),))
            self.received += numbers(connection.receive(10).text)
            self.late.append(time.monotonic() - begin_time)
            connection.close()

    def check(self):
        """Whatever the test did: events go on arriving behind it."""
        enough = len(self.received) + 4
        wait_until(lambda: len(self.received) >= enough or self.error, 10 * SLOW, "the bystander goes on")
        self.stopping.set()
        self.join(20)
        assert self.error is None
        assert self.received == list(range(1, len(self.received) + 1))
        worst = max(self.late)
        assert worst < 1 * SLOW, "an event came %.3f s late" % worst
