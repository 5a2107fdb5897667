# SPDX-License-Identifier: Apache-2.0
"""LD_PRELOAD with $LIB: each loader finds what it can load, and programs of 32 bits start in silence."""

import os
import pathlib
import subprocess

import pytest

from conftest import BUILD, SHIM, program

PLACE = BUILD / "lib" / "treemirror"
BY_LOADER = f"{PLACE}/$LIB/libmirrorshim.so"
LIBC_32 = [pathlib.Path(name) for name in ("/lib32/libc.so.6", "/lib/i386-linux-gnu/libc.so.6")]

pytestmark = pytest.mark.skipif(not PLACE.exists(), reason="the compiler makes no i386 libraries")

HELLO = """
int puts(const char *);
int rename(const char *, const char *);
void exit(int);
int close(int);
int creat(const char *, unsigned);
__attribute__((force_align_arg_pointer)) void _start(void)
{
	close(creat("made", 0600));
	rename("made", "moved");
	puts("hello");
	exit(3);
}
"""


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A real program of 32 bits; what links it are no headers, and the libc that will run it."""
    libc = [path for path in LIBC_32 if path.exists()]
    if not libc or not os.path.exists("/lib/ld-linux.so.2"):
        pytest.skip("no libc of 32 bits here (libc6-i386)")
    place = tmp_path_factory.mktemp("narrow")
    (place / "hello.c").write_text(HELLO)
    subprocess.run(["cc", "-m32", "-w", "-O1", "-fno-pie", "-no-pie", "-nostdlib", "-fno-builtin",
                    "-o", place / "hello", place / "hello.c", str(libc[0]),
                    "-Wl,--dynamic-linker=/lib/ld-linux.so.2"], check=True)
    return place / "hello"


def under(journal, work, *argv, preload=BY_LOADER):
    got = subprocess.run(argv, cwd=work, env=journal.environment(LD_PRELOAD=preload),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         timeout=60)
    return got.returncode, got.stdout, got.stderr


def test_a_program_of_32_bits_starts_in_silence(journal, work, narrow):
    code, out, err = under(journal, work, narrow, preload=str(SHIM))
    assert (code, out) == (3, b"hello\n") and b"wrong ELF class" in err, "so it were without"
    assert under(journal, work, narrow) == (3, b"hello\n", b"")
    assert journal.take() == []


def test_it_is_recognised_all_the_same(journal, work, narrow):
    assert under(journal, work, "sh", "-c", f"{narrow}; echo $?") == (0, b"hello\n3\n", b"")
    unseen = [r for r in journal.take() if r["kind"] == "unseen"]
    assert [(r["path"], r["dir"], r["reason"]) for r in unseen] == [(str(narrow), str(work), "machine")]


@pytest.mark.parametrize("preload", [BY_LOADER, f"{PLACE}//libmirrorshim.so"])
def test_all_others_are_seen(journal, work, preload):
    assert under(journal, work, "bash", "-c", "echo x > f; mv f g; sh -c 'cat g'",
                 preload=preload) == (0, b"x\n", b"")
    assert journal.model().kinds(work / "g") == ["rename"]
    assert not [r for r in journal.take() if r["kind"] == "unseen"]


def test_musl_takes_the_word_as_it_stands(journal, work):
    assert under(journal, work, program("bus-musl"), "ignored") == (0, b"lives\n", b"")
    assert journal.model().kinds(work / "before-renamed") == ["rename"]


def test_bin_is_found_from_everywhere():
    """The shim looks for the poster beside the directory that it was loaded from."""
    for name in "$LIB", "lib64", "lib/x86_64-linux-gnu":
        assert os.path.exists(f"{PLACE}/{name}/../bin/mirror-poster"), name
        assert os.path.samefile(f"{PLACE}/{name}/libmirrorshim.so", SHIM)
