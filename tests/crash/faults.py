# SPDX-License-Identifier: Apache-2.0
"""Everything that may go wrong in a convergence run, one function each; FAULTS is the list."""
import errno
import glob
import os
import signal
import subprocess
import time

from rig import process

STAGES = ("poster", "winnow", "copier", "tally")


def kill_some(stage):
    """One process of a stage, or all of them."""
    def fault(run, dice):
        pids = run.world.pids(stage)
        run.world.killed = run.world.killed or stage == "copier"
        for pid in pids if dice.random() < 0.3 else dice.sample(pids, min(1, len(pids))):
            process.kill(pid)
    return fault


def kill_writer(run, dice):
    """In the middle of whatever it does; another one begins."""
    run.kill_writer(dice)


def broker_killed(run, dice):
    run.world.kill("broker")


def broker_stopped(run, dice):
    run.world.stop("broker")
    time.sleep(dice.uniform(0, 2))
    try:
        run.world.start()
    except AssertionError as error:
        if "keeps dying" not in str(error):  # as it does, by other faults
            raise


def broker_hangs(run, dice):
    paused(run.world.pids("broker"), dice.uniform(0.5, 4))


def paused(pids, seconds):
    for pid in pids:
        process.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        for pid in pids:
            process.kill(pid, signal.SIGCONT)


def disk_alarm(run, dice):
    """The broker takes nothing more from who publishes."""
    if set_disk_free_limit(run.world, "1000TB"):
        time.sleep(dice.uniform(0.5, 3))
    end_disk_alarm(run)


def end_disk_alarm(run):
    """A broker that is restarted has the old limit again by itself."""
    for _ in range(5):
        if set_disk_free_limit(run.world, "200MB"):
            return


def set_disk_free_limit(world, limit):
    """
    Whether it worked; the broker may just be dead.  What rabbitmqctl would do, by a tenth of its
    processor time.
    """
    directory, = glob.glob(f"{world.directory}/state/treemirror/*/broker")
    with open(f"{directory}/url", encoding="ascii") as file:
        port = int(file.read().strip().rstrip("/").split("/")[2].rsplit(":", 1)[1])
    call = ('halt(case rpc:call(treemirror@localhost, rabbit_disk_monitor, set_disk_free_limit, '
            f'["{limit}"], 10000) of ok -> 0; _ -> 1 end).')
    try:
        done = process.run(["erl", "-noinput", "-sname", f"limit{os.getpid()}@localhost", "-dist_listen",
                            "false", "-start_epmd", "false", "-erl_epmd_port", str(port + 1), "-eval",
                            call], seconds=40, env={**world.environment, "HOME": directory}, cwd="/")
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def stages_stopped(run, dice):
    """As for an upgrade, in the middle of the work."""
    run.world.stop()
    time.sleep(dice.uniform(0, 1))
    run.world.start()


def ssh_cut(run, dice):
    run.world.killed = True  # nobody can remove a temporary name meanwhile
    run.world.sshd.relay.cut()


def ssh_late(run, dice):
    run.world.killed = True
    run.world.sshd.relay.cut_late(dice.uniform(0.1, 1.2))  # less than settle


def ssh_silent(run, dice):
    run.world.sshd.relay.silence(dice.uniform(0.5, 4))


def ssh_deaf(run, dice):
    run.world.killed = True
    run.world.sshd.relay.deafen(dice.uniform(0.1, 2))


def ssh_killed(run, dice):
    run.world.killed = True
    run.world.sshd.cut()


def sshd_away(run, dice):
    run.world.killed = True
    run.world.sshd.stop()
    time.sleep(dice.uniform(0.2, 2))
    run.world.sshd.start()


def sshd_hangs(run, dice):
    run.world.sshd.pause()
    time.sleep(dice.uniform(0.5, 4))
    run.world.sshd.resume()


def target_full(run, dice):
    run.space.fill()
    time.sleep(dice.uniform(0.5, 4))
    run.space.free()


def target_read_only(run, dice):
    if run.space.read_only(True):
        time.sleep(dice.uniform(0.5, 3))
    run.space.read_only(False)


def journal_full(run, dice):
    """The poster sleeps for so long that its journal, which is small, runs over."""
    paused(run.world.pids("poster"), dice.uniform(1, 4))


def target_sick(error):
    """Its file system fails: some calls or all, some of them after they were carried out."""
    def fault(run, dice):
        run.world.killed = True  # what cannot be written can often not be removed, either
        run.world.sick.target(error, dice.choice([20, 200, 900]), dice.choice([0, 20, 100]))
        time.sleep(dice.uniform(0.3, 4))
        run.world.sick.target_well()
    return fault


def clock_stepped(run, dice):
    """Of the daemons; the file systems' clock, and the jobs', go on as they were."""
    run.world.killed = True  # temporary names tell their age by it (docs/LIMITS.md)
    run.world.sick.clock(dice.choice([0, -0.7, 0.7, -3, 3, -90, 90, -3000, 3000]))


# name: what happens, where it is possible, what the run needs for it
FAULTS = {
    **{stage: (kill_some(stage), "any", "") for stage in STAGES},
    "writer": (kill_writer, "any", ""),
    "broker": (broker_killed, "any", ""),
    "broker-stop": (broker_stopped, "any", ""),
    "broker-hangs": (broker_hangs, "any", ""),
    "alarm": (disk_alarm, "any", ""),
    "restart": (stages_stopped, "any", ""),
    "cut": (ssh_cut, "sftp", "relay"),
    "late": (ssh_late, "sftp", "relay"),
    "silent": (ssh_silent, "sftp", "relay"),
    "deaf": (ssh_deaf, "sftp", "relay"),
    "ssh": (ssh_killed, "sftp", ""),
    "sshd": (sshd_away, "sftp", ""),
    "sshd-hangs": (sshd_hangs, "sftp", ""),
    "rekey": (None, "sftp", "rekey"),
    "full": (target_full, "any", "space"),
    "read-only": (target_read_only, "any", "space"),
    "eio": (target_sick(errno.EIO), "any", "sick"),
    "quota": (target_sick(errno.EDQUOT), "any", "sick"),
    "clock": (clock_stepped, "any", "sick"),
    "journal": (journal_full, "any", "journal"),
}


def choose(names, target, dice):
    """The faults of a run: `all`, `some` (of all, by the seed), `none`, or a list of names."""
    possible = [name for name, (_, where, _) in FAULTS.items() if where in ("any", target)]
    if names == "none":
        return []
    if names == "all":
        return possible
    if names == "some":
        return [name for name in possible if dice.random() < 0.4] or ["writer"]
    wanted = names.split(",")
    unknown = [name for name in wanted if name not in FAULTS]
    if unknown:
        raise ValueError(f"there is no fault {', '.join(unknown)}: all, some, none or of "
                         f"{', '.join(FAULTS)}")
    return [name for name in wanted if name in possible]


def needs(names):
    return {FAULTS[name][2] for name in names}


def actions(names):
    return [(name, FAULTS[name][0]) for name in names if FAULTS[name][0]]
