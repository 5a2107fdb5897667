# SPDX-License-Identifier: Apache-2.0
"""
One convergence run: what is changed, what goes wrong, and what must be true.

    writers    several job.py in one tree, some killed in the middle, replaced when they end
    checkers   each: a job.py in a directory of its own; when that has ended, a flush; where the
               flush says yes, that directory is the same on both sides, whatever else goes on
    driver     one fault after the other, of faults.py

At the end all is made good, `mirrorctl flush` has to succeed, and the trees are equal.  Further
rounds, each with the next seed, go on in the same world: to begin one takes longer than a round.
"""
import os
import random
import subprocess
import sys
import threading
import time

from rig import BUILD, World

import faults
import space

JOB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "job.py")
SPACE_MB = 48
CONFIG = {"delay": "200ms", "max_delay": "2s", "keep_gone": "30s", "winnow": {"shards": 3}}
REKEY = "RekeyLimit 100K 2"


class Different(AssertionError):
    pass


class Run:
    def __init__(self, seed, seconds, names, target, out=None, rounds=1):
        self.seed, self.seconds, self.target, self.out = seed, seconds, target, out
        self.rounds = range(seed, seed + rounds)
        if out:
            os.makedirs(out, exist_ok=True)
        self.dice = random.Random(seed)
        self.faults = faults.choose(names, target, self.dice)
        self.needs = faults.needs(self.faults)
        self.counts = {"rounds": 0, "faults": 0, "flushes": 0, "reached": 0, "writers": 0,
                       "retried": 0}
        self.wrong = []  # what checkers found
        self.over = threading.Event()
        self.writers, self.lock = [], threading.Lock()
        self.space = self.world = None
        if "space" in self.needs:
            if space.possible():
                self.space = space.Space(SPACE_MB * min(rounds, 8))
            else:
                self.say("no user namespaces here: the target is never full or read-only")
                self.faults = [it for it in self.faults if faults.FAULTS[it][2] != "space"]

    def say(self, text):
        print(text, flush=True)

    def make_world(self):
        config = dict(CONFIG)
        if "journal" in self.needs:
            config["journal_size"] = "64KiB"
        return World(target=self.target, copiers=3, config=config, relay="relay" in self.needs,
                     sick="sick" in self.needs,
                     sshd_options=REKEY if "rekey" in self.needs else "")

    # --- writers ------------------------------------------------------------------------------

    def job(self, seed, operations, where, name="writer"):
        return subprocess.Popen(
            [sys.executable, "-S", JOB, str(seed), str(operations)], cwd=where,
            env={**self.world.shim_environment(), "MIRROR_JOB": name}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def keep_writing(self, count):
        with self.lock:
            self.writers = [it for it in self.writers if it.poll() is None]
            while len(self.writers) < count:
                self.counts["writers"] += 1
                self.writers.append(self.job(self.seed * 1000 + self.counts["writers"], 400,
                                             self.world.source))

    def kill_writer(self, dice):
        with self.lock:
            if self.writers:
                it = self.writers.pop(dice.randrange(len(self.writers)))
                it.kill()
                it.wait()

    def end_writers(self, dice):
        for it in self.writers:
            if dice.random() < 0.5:
                it.kill()
        for it in self.writers:
            it.wait()

    # --- checkers -----------------------------------------------------------------------------

    def check_again_and_again(self, name, dice):
        try:
            while not self.over.is_set():
                self.check_once(name, dice)
        except Exception as error:
            self.wrong.append(f"{name}: {error!r}")

    def check_once(self, name, dice):
        job = self.job(dice.randrange(10**9), dice.randint(10, 120),
                       os.path.join(self.world.source, name), name)
        if dice.random() < 0.4:
            time.sleep(dice.uniform(0.1, 1))
            job.kill()
        job.wait()
        began = time.time()
        how = dice.choice([[], ["--now"], ["--job", name]])
        done = self.world.mirrorctl("flush", *how, "--timeout", "40s")
        self.counts["flushes"] += 1
        if done.returncode == 1:
            self.retry_failed()
        if done.returncode != 0:
            return
        self.counts["reached"] += 1
        ended = time.time()
        found = self.differences(name, how)
        if found:
            time.sleep(1)
            later = self.differences(name, how)
            self.wrong.append("\n".join(
                [f"{name}: a flush {how} from {began:.3f} to {ended:.3f} was early ({len(found)} "
                 f"differences, {len(later)} a second later):", *found[:10]]))
            self.over.set()

    def differences(self, name, how):
        """A rescan that nobody waits for may be at work where one job's changes have arrived, or
        where records were lost after the flush began: for a moment, a directory has another mtime
        then, a copy has no name yet, or the names of one file are two (docs/LIMITS.md).  At the end
        all that is judged, too.
        """
        found = self.world.differences(name)
        rescans = "--job" in how or "journal" in self.needs
        passing = (" has mtime ", " is linked to ", " is a temporary ") if rescans else ()
        return [it for it in found if not any(words in it for words in passing)]

    def retry_failed(self):
        """As an operator would: else no flush would be reached any more."""
        self.counts["retried"] += 1
        self.world.mirrorctl("failed", "--retry")

    # --- the run ------------------------------------------------------------------------------

    def one_fault(self, actions):
        name, action = self.dice.choice(actions)
        self.counts["faults"] += 1
        self.say(f"{time.time():.3f} {name}")
        action(self, self.dice)

    def work(self, checkers):
        actions = faults.actions(self.faults)
        end = time.monotonic() + self.seconds
        threads = []
        for i in range(checkers):
            self.world.sh(f"mkdir -p own{i}")
        self.world.flush()
        for i in range(checkers):
            threads.append(threading.Thread(target=self.check_again_and_again, args=(
                f"own{i}", random.Random(self.dice.randrange(10**9)))))
        for it in threads:
            it.start()
        try:
            while time.monotonic() < end and not self.over.is_set():
                self.keep_writing(4)
                self.over.wait(self.dice.uniform(0.1, 1.5))
                if actions and not self.over.is_set():
                    self.one_fault(actions)
        finally:
            self.over.set()
            self.end_writers(self.dice)
            for it in threads:
                it.join()

    def make_good(self):
        """Nothing is broken any more; what has failed is tried again, as an operator would."""
        if "alarm" in self.faults:
            faults.end_disk_alarm(self)
        if self.world.sick:
            self.world.sick.target_well()
        self.world.wait_ready()
        for _ in range(3):
            done = self.world.mirrorctl("flush", "--now", "--timeout", "300s", seconds=330)
            if done.returncode != 1:
                break
            self.retry_failed()
        if done.returncode != 0:
            raise Different(f"the last flush ended with {done.returncode}:\n"
                            f"{done.stdout}{done.stderr}")

    def judge(self):
        if self.wrong:
            raise Different("\n".join(self.wrong))
        self.make_good()
        found = self.world.differences()
        if found:
            time.sleep(3)
            later = self.world.differences()
            raise Different("\n".join([f"at the end {len(found)} differences, {len(later)} 3 s later:",
                                       *found[:20]]))

    def trace(self):
        """Every message goes into a file, where that was asked for, and most records into another."""
        if not self.out:
            return []
        tests = os.path.dirname(os.path.dirname(JOB))
        with open(f"{self.out}/{self.seed}.journal", "wb") as file:
            return [subprocess.Popen([sys.executable, "-m", "rig.trace", self.world.directory,
                                      f"{self.out}/{self.seed}.trace"], cwd=tests,
                                     stdin=subprocess.DEVNULL),
                    subprocess.Popen([f"{BUILD}/bin/mirrorctl", "journal", "--follow", "--json"],
                                     env=self.world.environment, stdin=subprocess.DEVNULL,
                                     stdout=file, stderr=subprocess.DEVNULL)]

    def go(self):
        self.say(f"--seed {self.seed} --seconds {self.seconds} --target {self.target} --faults "
                 f"{','.join(self.faults) or 'none'}")
        self.world = self.make_world()
        if self.space:
            self.space.mount(self.world.target)
            self.world.before_removal = self.space.close
        try:
            self.world.start()
            for seed in self.rounds:
                self.one_round(seed)
        except BaseException:
            self.world.failed = True
            self.keep()
            raise
        finally:
            self.world.close()
        self.say(" ".join(f"{value} {key}," for key, value in self.counts.items()) + " equal")

    def one_round(self, seed):
        if seed != self.seed:
            self.say(f"seed {seed}")
            self.seed, self.dice = seed, random.Random(seed)
            self.over.clear()
            if self.dice.random() < 0.5:
                self.world.sh("rm -rf ./*")
        self.counts["rounds"] += 1
        tracers = self.trace()
        try:
            self.work(checkers=2)
            self.judge()
        finally:
            for it in tracers:
                it.kill()
                it.wait()

    def keep(self):
        if not self.out:
            print(self.world.diagnosis())
            return
        with open(f"{self.out}/{self.seed}.world", "w", encoding="utf-8",
                  errors="surrogateescape") as file:
            file.write(self.world.diagnosis())
            file.write(self.world.logs(100000))
