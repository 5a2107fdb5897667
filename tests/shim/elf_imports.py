# SPDX-License-Identifier: Apache-2.0
"""What the ELF programs and libraries of a machine import, read from their dynamic symbols."""

import collections
import mmap
import os
import struct

PLACES = ["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/local", "/opt"]

STRINGS, SYMBOLS, HASH = 5, 6, 4
GNU_HASH, VERSIONS, NEEDED, NEEDED_COUNT = 0x6ffffef5, 0x6ffffff0, 0x6ffffffe, 0x6fffffff


def candidates(places):
    waiting = list(places)
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif ".so" in entry.name or entry.stat(follow_symlinks=False).st_mode & 0o111:
                yield entry.path


class Elf:
    """One 64-bit little-endian object; empty where it has no dynamic symbols."""

    def __init__(self, data):
        self.data = data
        self.loads, self.tags = [], {}
        offset, = struct.unpack_from("<Q", data, 32)
        count, = struct.unpack_from("<H", data, 56)
        for header in struct.iter_unpack("<IIQQQQQQ", data[offset:offset + 56 * count]):
            kind, _, at, address, _, size, _, _ = header
            if kind == 1:
                self.loads.append((address, size, at))
            elif kind == 2:
                for tag, value in struct.iter_unpack("<qQ", data[at:at + size // 16 * 16]):
                    self.tags.setdefault(tag, value)

    def place(self, tag):
        address = self.tags[tag]
        return next(place + address - start for start, length, place in self.loads
                    if start <= address < start + length)

    def at(self, tag, size, offset=0):
        place = self.place(tag) + offset
        return self.data[place:place + size]

    def text(self, offset):
        begin = self.place(STRINGS) + offset
        return self.data[begin:self.data.find(b"\0", begin)].decode("latin1")

    def symbol_count(self):
        """Of those not in the hash table, which are what is imported; all, where that is empty."""
        if GNU_HASH in self.tags:
            buckets, first, words, _ = struct.unpack("<IIII", self.at(GNU_HASH, 16))
            table = self.at(GNU_HASH, 4 * buckets, 16 + 8 * words)
            if any(table):
                return first
            return (self.tags[STRINGS] - self.tags[SYMBOLS]) // 24  # as linkers lay them out
        return struct.unpack("<II", self.at(HASH, 8))[1] if HASH in self.tags else 0

    def version_files(self):
        """{version index: the library that it is asked of}, or what glibc's own share: private"""
        found, at = {}, 0
        for _ in range(self.tags.get(NEEDED_COUNT, 0)):
            _, count, file, aux, following = struct.unpack("<HHIII", self.at(NEEDED, 16, at))
            name = self.text(file)
            place = at + aux
            for _ in range(count):
                _, _, index, text, step = struct.unpack("<IHHII", self.at(NEEDED, 16, place))
                found[index] = "private" if self.text(text) == "GLIBC_PRIVATE" else name
                place += step
            at += following
        return found

    def imports(self):
        """[(name, the library it is asked of or "")]"""
        if SYMBOLS not in self.tags:
            return []
        count = self.symbol_count()
        files = self.version_files()
        versions = struct.unpack(f"<{count}H", self.at(VERSIONS, 2 * count)) \
            if VERSIONS in self.tags else [1] * count
        symbols = struct.iter_unpack("<IBBHQQ", self.at(SYMBOLS, 24 * count))
        return [(self.text(name), files.get(version & 0x7fff, ""))
                for (name, _, _, section, _, _), version in zip(symbols, versions)
                if section == 0 and name]


def survey(places=PLACES):
    """How many objects, and {(name, library): [objects that import it]}."""
    users, count = collections.defaultdict(list), 0
    for path in candidates(places):
        try:
            with open(path, "rb") as file:
                if file.read(6) != b"\x7fELF\2\1":
                    continue
                data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except OSError:
            continue
        count += 1
        try:
            for symbol in Elf(data).imports():
                users[symbol].append(path)
        except (struct.error, StopIteration, KeyError):
            continue  # an object that no linker would take
    return count, users
