# SPDX-License-Identifier: Apache-2.0
"""A relay between copiers and sshd, for what goes wrong on the way between them."""
import random
import select
import socket
import struct
import threading
import time

BLOCK = 16384
ESTABLISHED = 1  # of TCP_INFO's states


class Connection(threading.Thread):
    """Passes bytes on, both ways, until one side ends or it was told to misbehave."""

    def __init__(self, near, port, dice):
        super().__init__(daemon=True)
        self.near, self.port, self.dice = near, port, dice
        self.cut_after = None   # bytes that still pass
        self.late_s = None      # the near side ends at once, the far one gets the rest so much later
        self.silent_until = 0   # nothing passes before
        self.deaf_until = None  # answers are lost until then, when the near side ends

    def run(self):
        try:
            with self.near, socket.create_connection(("127.0.0.1", self.port), timeout=20) as far:
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self.step(far):
                    pass
        except OSError:
            pass

    def step(self, far):
        if time.monotonic() < self.silent_until:
            time.sleep(0.05)
            return True
        if self.deaf_until is not None and time.monotonic() > self.deaf_until:
            reset(self.near)
            return False
        ready, _, _ = select.select([self.near, far], [], [], 0.1)
        for side in ready:
            block = side.recv(BLOCK)
            if not block or not self.pass_on(side, far if side is self.near else self.near, block):
                return False
        return True

    def pass_on(self, side, other, block):
        if self.late_s is not None and side is self.near:
            reset(self.near)
            time.sleep(self.late_s)
            other.sendall(block)
            time.sleep(0.2)  # for the server to take it
            return False
        if self.deaf_until is not None and other is self.near:
            return True
        if self.cut_after is None:
            other.sendall(block)
            return True
        other.sendall(block[:self.cut_after])
        self.cut_after -= len(block)
        if self.cut_after > 0:
            return True
        if self.dice.random() < 0.5:
            reset(self.near)
        return False


def reset(end):
    """Closed without a farewell: RST."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


class Relay:
    """Listens on a port of its own; goes on when what is behind it comes and goes."""

    def __init__(self, port, seed=0):
        self.far_port = port
        self._dice = random.Random(seed)
        self._connections = []
        self._lock = threading.Lock()
        self._held = None  # not held
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._held is not None:
                    self._held.append(near)
                    continue
            self._carry_on(near)

    def _carry_on(self, near):
        it = Connection(near, self.far_port, random.Random(self._dice.random()))
        self._connections = [old for old in self._connections if old.is_alive()] + [it]
        it.start()

    def hold(self):
        """New connections lead nowhere and get no answer, until release()."""
        self._held = []

    def held(self):
        """How many of these there are that nobody has given up."""
        with self._lock:
            return sum(near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED
                       for near in self._held)

    def release(self):
        with self._lock:
            held, self._held = self._held, None
        for near in held:
            self._carry_on(near)

    def cut(self):
        """Ends each connection in the middle of what passes next, a packet as a rule."""
        for it in self._connections:
            it.cut_after = it.dice.randrange(1, 3000)

    def cut_late(self, seconds):
        """To the near side all is over, and the server gets what was on its way `seconds` later."""
        for it in self._connections:
            it.late_s = seconds

    def silence(self, seconds):
        """Half-open: connections stay, and nothing comes through them."""
        for it in self._connections:
            it.silent_until = time.monotonic() + seconds

    def deafen(self, seconds):
        """What is asked arrives and is done; no answer comes back before the connection breaks."""
        for it in self._connections:
            it.deaf_until = time.monotonic() + seconds

    def close(self):
        self._listener.close()
