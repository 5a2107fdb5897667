# SPDX-License-Identifier: Apache-2.0
"""Which functions of a glibc can change files, read from its machine code.

For each exported function: the system calls that it can reach by direct calls and jumps, as far as
they can change files or what names and descriptors mean.  An open() with constant flags that only
read does not count, and neither do the ways that every function has: libc's complaint before it
aborts, and fopen(), which is a row of its own.

A lower bound: calls through tables (streams, name services, the templates of mkstemp) are not
followed.  It is what no list may contradict; the lists know more.  x86-64 only.
"""

import bisect
import collections
import re
import struct
import subprocess

# Reached by however many calls.
FAR = """rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat rmdir mkdir mkdirat
mknod mknodat truncate ftruncate fallocate chmod fchmod fchmodat fchmodat2 chown lchown fchown
fchownat utime utimes utimensat futimesat setxattr lsetxattr fsetxattr removexattr lremovexattr
fremovexattr creat openat2 open_by_handle_at pidfd_getfd pwrite64 pwritev pwritev2 copy_file_range
sendfile splice io_submit io_uring_enter execve execveat fork vfork dup2 dup3 close_range recvmmsg
mount umount2 pivot_root chroot setns unshare move_mount open_tree fsmount mount_setattr uselib
process_vm_writev ptrace remap_file_pages mq_open mq_unlink quotactl acct swapon swapoff""".split()
# Made by the function itself; further away they are everybody's, or the C library's own affair.
NEAR = "write writev close dup fcntl ioctl mmap recvmsg bind clone clone3 vmsplice".split()
# Functions beyond which nothing is learnt.
ENDS = """abort __libc_fatal __fortify_fail __chk_fail __stack_chk_fail __assert_fail __assert
__assert_perror_fail fopen fopen64 _IO_fopen freopen freopen64""".split()

INSTRUCTION = re.compile(
    r"^ *([0-9a-f]+):\t(\S+) *([^#<\n]*)(?:<[^>\n]*>)? *(?:# ([0-9a-f]+))?", re.M)
CONSTANT = re.compile(r"\$0x([0-9a-f]+),%(\w+)$")
REGISTER = {name: whole for whole in ("ax", "si", "dx") for name in ("e" + whole, "r" + whole)}


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def exports(library, kinds="TtWwiBDRVvu"):
    """{name: address} without what is between glibc's own libraries."""
    found = {}
    for line in output("nm", "-D", "--defined-only", library).splitlines():
        address, kind, symbol = line.split()
        name, _, version = symbol.partition("@")
        if "GLIBC_PRIVATE" not in version and kind in kinds:
            found[name] = int(address, 16)
    return found


def numbers():
    text = open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read()
    return {int(n): name for name, n in re.findall(r"#define __NR_(\w+) (\d+)", text)}


def frames(library):
    """Where functions begin, by the table that unwinding uses."""
    data = open(library, "rb").read()
    offset, = struct.unpack_from("<Q", data, 32)
    count, = struct.unpack_from("<H", data, 56)
    for i in range(count):
        kind, _, at, address = struct.unpack_from("<IIQQ", data, offset + 56 * i)
        if kind == 0x6474e550:  # PT_GNU_EH_FRAME
            entries, = struct.unpack_from("<i", data, at + 8)
            return {address + struct.unpack_from("<i", data, at + 12 + 8 * e)[0]
                    for e in range(entries)}
    return set()


class Code:
    """Functions, whom they call with what constants, and which system calls they make."""

    def __init__(self, library, known):
        self.calls = []                                   # (function, function, registers)
        self.made = collections.defaultdict(set)          # function: {(system call, flags)}
        text = output("objdump", "-d", "--no-show-raw-insn", library)
        code = [(int(a, 16), op, arg.strip(), see) for a, op, arg, see in INSTRUCTION.findall(text)]
        low, high = code[0][0], code[-1][0]
        targets = {int(arg, 16) for _, op, arg, _ in code if op == "call" and arg[0] not in "*%"}
        begins = set(known.values()) | targets | frames(library)
        self.begins = sorted(b for b in begins if low <= b <= high)
        self.read(code)

    def function(self, address):
        return self.begins[bisect.bisect_right(self.begins, address) - 1]

    def read(self, code):
        names, begins = numbers(), set(self.begins)
        loaded, unclear = collections.defaultdict(set), set()
        current, registers = None, {}
        for address, op, arg, see in code:
            if address in begins:
                current, registers = address, {}
            target = arg.rpartition("%")[2] if "%" in arg else ""
            constant = CONSTANT.match(arg) if op in ("mov", "movl") else None
            if op == "syscall":
                number = registers.pop("ax", None)
                if number is None:
                    unclear.add(current)
                elif number in names:
                    flags = registers.get("dx" if names[number] == "openat" else "si")
                    self.made[current].add((names[number], flags))
            elif constant and constant[2] in REGISTER:
                registers[REGISTER[constant[2]]] = int(constant[1], 16)
                if constant[2] == "eax":
                    loaded[current].add(int(constant[1], 16))
            elif op == "xor" and target in REGISTER and arg == f"%{target},%{target}":
                registers[REGISTER[target]] = 0
            elif op == "lea" and see and int(see, 16) in begins:
                self.calls.append((current, int(see, 16), {}))  # hands a function out
            elif (op == "call" or op[0] == "j") and arg and arg[0] not in "*%":
                callee = self.function(int(arg, 16))
                if callee != current:
                    self.calls.append((current, callee, dict(registers)))
                registers = {} if op == "call" else registers
            elif op == "call":
                registers = {}
            elif target in REGISTER:
                registers.pop(REGISTER[target], None)
        for function in unclear:  # numbers that came by a jump: all that the function ever loads
            far = {names[n] for n in loaded[function] if n in names} - set(NEAR)
            self.made[function] |= {(name, None) for name in far}


def only_reads(flags):
    return flags is not None and flags & 3 == 0 and not flags & (0o100 | 0o1000)


def mutating(library):
    """{exported name: set of system calls}"""
    known = exports(library)
    every = {name: address for line in output("nm", "-D", "--defined-only", library).splitlines()
             for address, _, symbol in [line.split()] for name in [symbol.partition("@")[0]]}
    every = {name: int(address, 16) for name, address in every.items()}
    code = Code(library, every)
    ends = {every[name] for name in ENDS if name in every}
    ends |= {callee for caller, callee, _ in code.calls if caller == every["__libc_fatal"]}
    openers = {f: "dx" if {"openat"} == {n for n, _ in made if n.startswith("open")}
               and not {every.get("open"), every.get("__open_nocancel")} & {f} else "si"
               for f, made in code.made.items() if any(n in ("open", "openat") for n, _ in made)}
    far, near = collections.defaultdict(set), collections.defaultdict(set)
    for function, made in code.made.items():
        for name, flags in made:
            if name in FAR or name in ("open", "openat") and not only_reads(flags):
                far[function].add("open" if name == "openat" else name)
            elif name in NEAR:
                near[function].add(name)
    edges = collections.defaultdict(set)
    for caller, callee, registers in code.calls:
        reads = callee in openers and only_reads(registers.get(openers[callee]))
        if callee not in ends and not reads:
            edges[caller].add(callee)
    found = {}
    for name, address in known.items():
        seen, waiting = {address}, [address]
        ways = set(near[address])
        while waiting:
            function = waiting.pop()
            ways |= far[function]
            fresh = edges[function] - seen if function not in ends else set()
            seen |= fresh
            waiting += fresh
        if ways:
            found[name] = ways
    return found


if __name__ == "__main__":
    import sys
    rows = collections.defaultdict(list)
    for name, ways in mutating(sys.argv[1]).items():
        rows[" ".join(sorted(ways))].append(name)
    for ways in sorted(rows):
        print(f"{ways}:", *sorted(rows[ways]))
