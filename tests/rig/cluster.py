# SPDX-License-Identifier: Apache-2.0
"""A cluster of RabbitMQ nodes on loopback, run by whoever runs the tests, each node killed at will."""
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from . import process

BIN = "/usr/lib/rabbitmq/bin"  # the ones in sbin insist on root or the user rabbitmq
USER = "treemirror"

SETTINGS = """\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = {user}
default_pass = {password}
loopback_users = none
cluster_name = {name}
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
{nodes}
log.console = false
log.file = rabbit.log
log.file.level = info
num_acceptors.tcp = 2
consumer_timeout = 31622400000
raft.wal_max_size_bytes = 67108864
disk_free_limit.absolute = 100MB
vm_memory_high_watermark.absolute = 512MB
"""


def free_ports(count):
    """Below the kernel's range for outgoing connections, so that they are free after a kill too."""
    ports = []
    while len(ports) < count:
        port = random.randrange(16384, 32768)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


class Cluster:
    """`with Cluster() as cluster`: all nodes run and know each other.  Nodes are numbered from 0."""

    def __init__(self, count=3):
        self.directory = tempfile.mkdtemp(prefix="tm-")
        self.count = count
        self._password = secrets.token_hex(12)
        self._epmd_port, *ports = free_ports(1 + 2 * count)
        self.ports, self._dist_ports = ports[:count], ports[count:]
        self._epmd = None
        self._nodes = [None] * count
        for node in range(count):
            self._write_settings(node)

    def __enter__(self):
        try:
            self._epmd = subprocess.Popen(
                ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"], cwd="/",
                env=self._environment(0), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
            self.start(0)  # the others join what they find
            starting = [threading.Thread(target=self.start, args=(node,))
                        for node in range(1, self.count)]
            for thread in starting:
                thread.start()
            for thread in starting:
                thread.join()
            process.wait_until(lambda: len(self._running()) == self.count, 60,
                               f"{self.count} nodes in one cluster; see {self.directory}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    @property
    def urls(self):
        return [f"amqp://{USER}@127.0.0.1:{port}/" for port in self.ports]

    @property
    def credentials(self):
        """Lines for the credentials file."""
        return "".join(f"amqp://{USER}:{self._password}@127.0.0.1:{port}/\n" for port in self.ports)

    def start(self, node, seconds=120):
        """Runs a node, on its old data where there are any, and waits until it can be used."""
        self._nodes[node] = subprocess.Popen(
            [f"{BIN}/rabbitmq-server"], cwd="/", env=self._environment(node),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.wait_until(lambda: self._answers(node), seconds,
                           f"node {node}; see {self.directory}")

    def kill(self, node):
        self._nodes[node].kill()
        self._nodes[node].wait()
        self._nodes[node] = None

    def hang(self, node):
        """It answers nobody any more, and its connections stay: as where the network is cut."""
        self._nodes[node].send_signal(signal.SIGSTOP)

    def go_on(self, node):
        self._nodes[node].send_signal(signal.SIGCONT)

    def leader(self, queue):
        """Number of the node that leads this quorum queue."""
        alive = next(i for i, it in enumerate(self._nodes) if it)
        text = self._ctl(alive, "list_queues", "name", "leader", "--no-table-headers")
        found = re.search(rf"^{re.escape(queue)}\s+tm(\d)@", text, re.M)
        assert found, text
        return int(found.group(1))

    def connections(self, node):
        """How many clients are with this node."""
        text = self._ctl(node, "list_connections", "pid", "--no-table-headers")
        return len(re.findall(rf"<tm{node}@", text))

    def close(self):
        for node in self._nodes:
            if node:
                node.kill()
                node.wait()
        if self._epmd:
            self._epmd.kill()
            self._epmd.wait()
        process.end_all(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _running(self):
        try:
            text = self._ctl(0, "eval", "rabbit_nodes:all_running().")
        except AssertionError:
            return []
        return re.findall(r"tm\d@localhost", text)

    def _ctl(self, node, *arguments):
        done = process.run([f"{BIN}/rabbitmqctl", "-q", "-n", f"tm{node}@localhost", *arguments],
                           env=self._environment(node), cwd="/")
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def _answers(self, node):
        assert self._nodes[node].poll() is None, f"node {node} ended; see {self.directory}"
        try:
            with socket.create_connection(("127.0.0.1", self.ports[node]), timeout=5) as peer:
                peer.settimeout(5)
                peer.sendall(b"AMQP\0\0\x09\x01")
                return peer.recv(1) == b"\x01"
        except OSError:
            time.sleep(0.2)
            return False

    def _write_settings(self, node):
        here = f"{self.directory}/{node}"
        os.makedirs(here)
        nodes = "\n".join(f"cluster_formation.classic_config.nodes.{i + 1} = tm{i}@localhost"
                          for i in range(self.count))
        with open(f"{here}/rabbitmq.conf", "w", encoding="ascii") as file:
            file.write(SETTINGS.format(port=self.ports[node], user=USER, nodes=nodes,
                                       password=self._password, name="treemirror-test"))
        for name, text in (("enabled_plugins", "[].\n"), ("advanced.config", "[].\n")):
            with open(f"{here}/{name}", "w", encoding="ascii") as file:
                file.write(text)

    def _environment(self, node):
        here, dist = f"{self.directory}/{node}", self._dist_ports[node]
        return {
            "HOME": self.directory,  # of the cookie, which all share
            "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell in between
            "RABBITMQ_NODENAME": f"tm{node}@localhost", "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_MNESIA_BASE": f"{here}/data", "RABBITMQ_LOG_BASE": f"{here}/log",
            "RABBITMQ_PID_FILE": f"{here}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/enabled_plugins",
            "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq.conf",
            "RABBITMQ_CONFIG_FILES": f"{here}/conf.d",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{here}/advanced.config",
            "RABBITMQ_DIST_PORT": str(dist), "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                "+sbwt none +sbwtdcpu none +sbwtdio none +S 2:2 +SDcpu 2:2 +SDio 2",
            "ERL_EPMD_PORT": str(self._epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_ZFLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_MAX_PORTS": "4096", "ERL_CRASH_DUMP_SECONDS": "0"}
