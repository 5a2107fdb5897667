# SPDX-License-Identifier: Apache-2.0
"""Whether everything that changed was told, and late enough."""
import os


class Judge:
    """Compares two snapshots with what a reader of the journal knows (conftest.Model)."""

    def __init__(self, model, before, after):
        self.model, self.before, self.after = model, before, after
        self.names = {}
        for facts in (before, after):
            for path, it in facts.items():
                self.names.setdefault(it.inode, set()).add(path)
        self.entries = {}
        for path, time in model.hints.items():
            parent = os.path.dirname(path)
            self.entries[parent] = max(time, self.entries.get(parent, 0))

    def changed(self):
        paths = self.before.keys() | self.after.keys()
        return sorted(p for p in paths
                      if p not in self.after or p not in self.before
                      or self.before[p].all != self.after[p].all)

    def missed(self):
        return [path for path in self.changed()
                if not (self._told(path) if path in self.after else self._told_gone(path))]

    def looked_for(self, path):
        """Whether the path lies where a program worked that is known to be unseen."""
        return any(path == d or path.startswith(d + b"/") for d in self.model.looks)

    def _told_gone(self, path):
        return (self.model.below(path) > 0
                or any(k in ("unlink", "rmdir", "rename") for k in self.model.by_path.get(path, [])))

    def _told(self, path):
        """A hint at the path, or at another name of the file, is not older than its last change.

        Removing another name changes the file as well, and so does making or removing an entry its
        directory: neither needs a record of its own.
        """
        now, old = self.after[path], self.before.get(path)
        names = self.names[now.inode] | self.model.links.get(path, set())
        times = [self.model.latest(name) for name in names]
        if now.is_directory and (old is None or old.own == now.own):
            if old is None and max(times) <= 0:
                return False
            times.append(self.entries.get(path, 0))
        return max(times) >= os.lstat(path).st_ctime_ns
