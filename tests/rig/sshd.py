# SPDX-License-Identifier: Apache-2.0
"""A private sshd: loopback, its own port and keys, run by whoever runs the tests."""
import os
import pwd
import shutil
import signal
import socket
import subprocess

from . import process
from .relay import Relay

SFTP_SERVER = next((path for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server",
                                      "/usr/lib/ssh/sftp-server") if os.path.exists(path)), None)

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {here}/host_key
AuthorizedKeysFile {here}/authorized_keys
PidFile {here}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PrintMotd no
MaxStartups 100:30:200
SetEnv MIRROR_TEST_SSHD={here} {session}
Subsystem sftp {sftp_server}
{more}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Sshd:
    def __init__(self, here, environment, sftp_server=None, more="", relay=False,
                 session=None):
        self.here = here
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.identity = f"{here}/user_key"
        self.known_hosts = f"{here}/known_hosts"
        self.port = 0
        self.ciphers = None  # all that it has
        self.session = session or {}  # more of the environment of what it starts
        self.front = 0  # where it is reached by way of a relay
        self._environment = environment
        self._sftp_server = sftp_server or SFTP_SERVER
        self._process = None
        self._more = more  # lines of its configuration
        self._with_relay = relay
        self.relay = None  # all connections pass through it
        os.makedirs(here, mode=0o700, exist_ok=True)
        self._make_keys()

    def url(self, path):
        port = self.front or (self.relay.port if self.relay else self.port)
        return f"sftp://{self.user}@127.0.0.1:{port}{path}"

    def start(self):
        """Listens; on the same port as before where there was one."""
        if os.getuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        for _ in range(1 if self.port else 5):
            port = self.port or free_port()
            self._launch(port)
            if self._answers(port):
                self.port = port
                if self._with_relay and not self.relay:
                    self.relay = Relay(port)
                self._trust()
                return self
        raise RuntimeError(f"sshd does not start: see {self.here}/log")

    def stop(self):
        """Ends the listener and every connection, without a word to the other side."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGSTOP)
        sessions = process.descendants(self._process.pid)
        self._process.kill()
        self._process.wait()
        self._process = None
        self._signal(sessions, signal.SIGKILL)

    def cut(self):
        """Breaks every connection; new ones are welcome."""
        self._signal(process.descendants(self._process.pid), signal.SIGKILL)

    def pause(self):
        """From now on nobody answers, but connections stay."""
        self._signal([self._process.pid, *process.descendants(self._process.pid)], signal.SIGSTOP)

    def resume(self):
        self._signal([self._process.pid, *process.descendants(self._process.pid)], signal.SIGCONT)

    def authorize(self, allowed=True):
        """Whether the user's key opens the door."""
        path = f"{self.here}/authorized_keys"
        if allowed:
            shutil.copy(f"{self.identity}.pub", path)
        else:
            open(path, "w", encoding="ascii").close()

    def use_server(self, path):
        """Another SFTP server program from the next connection on."""
        self._sftp_server = path
        self.stop()
        self.start()

    def new_host_key(self):
        self._make_key("host_key")

    @staticmethod
    def _signal(pids, number):
        for pid in pids:
            process.kill(pid, number)

    def _make_key(self, name):
        path = f"{self.here}/{name}"
        for old in (path, f"{path}.pub"):
            if os.path.exists(old):
                os.unlink(old)
        done = process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path])
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    def _make_keys(self):
        self._make_key("host_key")
        self._make_key("user_key")
        self.authorize()

    def _trust(self):
        with open(f"{self.here}/host_key.pub", encoding="ascii") as file:
            kind, key = file.read().split()[:2]
        if not os.path.exists(self.known_hosts):
            with open(self.known_hosts, "w", encoding="ascii") as file:
                for port in [self.port, *([self.relay.port] if self.relay else [])]:
                    file.write(f"[127.0.0.1]:{port} {kind} {key}\n")

    def stand_behind(self, port):
        """From now on its address is this port, which leads here."""
        self.front = port
        with open(self.known_hosts, "a", encoding="ascii") as hosts, \
                open(f"{self.here}/host_key.pub", encoding="ascii") as key:
            hosts.write(f"[127.0.0.1]:{port} {' '.join(key.read().split()[:2])}\n")

    def _launch(self, port):
        config = f"{self.here}/config"
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(port=port, here=self.here, sftp_server=self._sftp_server,
                                     session=" ".join(f"{key}={value}" for key, value
                                                      in self.session.items()),
                                     more=self._more))
            if self.ciphers:
                file.write(f"Ciphers {self.ciphers}\n")
        with open(f"{self.here}/log", "ab") as log:
            self._process = subprocess.Popen(
                ["/usr/sbin/sshd", "-D", "-e", "-f", config], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=self._environment, cwd="/")

    def _answers(self, port):
        def try_it():
            if self._process.poll() is not None:
                return "died"
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as it:
                    return it.recv(4) == b"SSH-"
            except OSError:
                return False
        return process.wait_until(try_it, 30, "sshd") is True
