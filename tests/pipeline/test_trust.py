# SPDX-License-Identifier: Apache-2.0
"""Whom the daemons trust: brokers by certificates, the node's directories by their owners."""
import os
import re
import socket
import subprocess
import threading

import pytest

from rig import BUILD, World, wait_until
from rig.process import run
from rig.sshd import free_port

from test_trouble import broker_url, write_secret

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A private one, that signs certificates for servers."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.file = f"{directory}/{name}.crt"
        openssl(directory, "req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.crt")

    def sign(self, name, host, days=1):
        """days < 0: it has expired."""
        here = self.directory
        with open(f"{here}/{name}.ext", "w", encoding="ascii") as file:
            file.write(f"subjectAltName=DNS:{host}\n")
        openssl(here, "req", *KEY, "-subj", f"/CN={host}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr")
        openssl(here, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.crt", "-CAkey",
                f"{self.name}.key", "-CAcreateserial", "-days", str(days), "-extfile",
                f"{name}.ext", "-out", f"{name}.crt")
        return f"{here}/{name}"


def openssl(directory, *arguments):
    done = run(["openssl", *arguments], cwd=directory)
    assert done.returncode == 0, done.stderr


class Impostor:
    """openssl's server: a TLS server with a certificate, which keeps what it is told in a file."""

    def __init__(self, directory, certificate):
        self.port = free_port()
        self.heard = f"{directory}/heard-{self.port}"
        with open(self.heard, "wb") as heard:
            self.process = subprocess.Popen(
                ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{self.port}", "-cert",
                 f"{certificate}.crt", "-key", f"{certificate}.key"], stdin=subprocess.PIPE,
                stdout=heard, stderr=subprocess.DEVNULL)
        wait_until(self._listens, 30, "openssl s_server")

    def _listens(self):
        with socket.socket() as it:
            return it.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self):
        """What anybody has said to it."""
        self.process.kill()
        self.process.communicate()
        with open(self.heard, "rb") as heard:
            return heard.read()


def tls_broker(host, certificate, clients):
    """The managed broker of a world that is not started yet gets a TLS port, for clients with a
    certificate of that authority."""
    port = free_port()
    directory = f"{host.directory}/state/treemirror/{host.mirror}/broker/conf.d"
    os.makedirs(directory, mode=0o700)
    with open(f"{directory}/10-tls.conf", "w", encoding="ascii") as file:
        file.write(f"listeners.ssl.1 = 127.0.0.1:{port}\n"
                   f"ssl_options.certfile = {certificate}.crt\n"
                   f"ssl_options.keyfile = {certificate}.key\n"
                   f"ssl_options.cacertfile = {clients.file}\n"
                   "ssl_options.verify = verify_peer\n"
                   "ssl_options.fail_if_no_peer_cert = true\n")
    return port


def use_broker(guest, host, at, authority, **more):
    """By its URL, with the password in the credentials; authority: whose certificates are trusted;
    more of the configuration."""
    public = broker_url(host)["right"].replace("amqp://", "amqps://")
    right = re.sub(r"@[^/]+", f"@{at}", public)
    write_secret(f"{os.path.dirname(guest.config_file)}/credentials", right)
    guest.write_config(broker=re.sub(r":[^:@/]+@", "@", right), broker_ca=authority.file,
                       **more)


def refused(guest, *words):
    """A daemon says so in one line, and goes on trying."""
    daemon = subprocess.Popen([f"{BUILD}/bin/mirror-winnow", "-c", guest.config_file, "-i", "0"],
                              env=guest.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    guard = threading.Timer(60, daemon.kill)
    guard.start()
    try:
        for line in daemon.stderr:
            if all(word in line for word in words):
                return
        raise AssertionError(f"the winnow does not say {words}")
    finally:
        guard.cancel()
        daemon.kill()
        daemon.communicate()


@pytest.mark.slow
def test_broker_by_certificate():
    host, guest = World(target="local"), World(target="local")
    try:
        good, other = (Authority(host.directory, name) for name in ("good-ca", "other-ca"))
        certificate = good.sign("broker", "localhost")
        port = tls_broker(host, certificate, other)
        host.start()
        use_broker(guest, host, f"localhost:{port}", other)
        refused(guest, "the certificate of 'localhost' is not accepted", "other-ca.crt")
        doctor = guest.mirrorctl("doctor").stdout
        assert "the certificate of 'localhost' is not accepted" in doctor, doctor
        use_broker(guest, host, f"127.0.0.1:{port}", good)
        refused(guest, "the certificate of '127.0.0.1' is not accepted", "mismatch")
        for days, its_host, authority, word in ((-1, "localhost", good, "expired"),
                                                (1, "elsewhere.example", good, "mismatch"),
                                                (1, "localhost", other, "trusted")):
            impostor = Impostor(host.directory, authority.sign("impostor", its_host, days))
            use_broker(guest, host, f"localhost:{impostor.port}", good)
            refused(guest, "the certificate of 'localhost' is not accepted", word)
            assert impostor.end() == b"", "nothing is said to it"
        use_broker(guest, host, f"localhost:{port}", good)
        refused(guest, "TLS with 'localhost'", "certificate")
        ours = other.sign("ours", "guest")
        more = {"broker_cert": f"{ours}.crt", "broker_key": f"{ours}.key"}
        use_broker(guest, host, f"localhost:{port}", good, **more)
        os.chmod(more["broker_key"], 0o640)
        assert "has mode 0640; expected 0600" in guest.mirrorctl("doctor").stdout
        os.chmod(more["broker_key"], 0o600)
        guest.start()
        guest.sh("echo 1 > a")
        guest.check(seconds=240)
    finally:
        guest.close()
        host.close()


def test_journal_where_others_may_write():
    """The next place is taken, and doctor and the poster's log say why."""
    world = World(target="local")
    try:
        world.write_config(journal=[f"{world.directory}/{name}" for name in ("first", "second")])
        os.makedirs(f"{world.directory}/first/treemirror-{os.getuid()}", mode=0o700)
        os.chmod(f"{world.directory}/first/treemirror-{os.getuid()}", 0o770)
        words = r"journal in '?\S*first\S* is of no use: .*may be written by others"
        doctor = world.mirrorctl("doctor")
        assert re.search(r"first\S*: not usable: .*may be written by others", doctor.stdout), doctor.stdout
        world.start()
        assert re.search(words, world.logs(10000)), world.logs()
        world.sh("echo 1 > a")
        assert f"{world.directory}/second/" in world.journal_ring()
        world.check()
        assert not os.path.exists(
            f"{world.directory}/first/treemirror-{os.getuid()}/{world.mirror}/ring")
    finally:
        world.close()


@pytest.mark.root
def test_what_others_own():
    """A journal's place that somebody else made first, and passwords that are his."""
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    nobody = 65534
    world = World(target="local", config={"broker": "amqp://op@localhost/"})
    try:
        world.write_config(journal=[f"{world.directory}/{name}" for name in ("first", "second")])
        place = f"{world.directory}/first/treemirror-0"
        credentials = f"{os.path.dirname(world.config_file)}/credentials"
        os.makedirs(f"{place}/{world.mirror}", mode=0o700)
        write_secret(credentials, "amqp://op:secret@localhost/")
        for path in f"{place}/{world.mirror}", place, credentials:
            os.chown(path, nobody, nobody)
            doctor = world.mirrorctl("doctor").stdout
            assert re.search(r"belongs to (another )?user", doctor), doctor
            assert "secret" not in doctor
            os.chown(path, 0, 0)
        os.rename(place, f"{place}-away")
        os.symlink(f"{place}-away", place)
        doctor = world.mirrorctl("doctor").stdout
        assert re.search("first.*not usable: .*symlink", doctor), doctor
    finally:
        world.close()
