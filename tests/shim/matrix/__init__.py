# SPDX-License-Identifier: Apache-2.0
"""Command lines of real programs: the same results bare and under the shim, and all of it told.

commands      the command lines
misses        what goes unseen all the same, each with its reason
sources/      small programs that they build
serve         a web server or an sshd for one command line
judge.py      what "told" means; tree.py: what counts as changed
"""
