"""Training logs: one line on the screen, one line in a csv file."""
import os


class Log:
    def __init__(self, path, names, resume=False):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fresh = not (resume and os.path.exists(path))
        self.file = open(path, "w" if fresh else "a", buffering=1)
        self.names = names
        if fresh:
            self.file.write(",".join(names) + "\n")

    def add(self, **values):
        self.file.write(",".join(str(values.get(n, "")) for n in self.names) + "\n")
        print("  ".join(f"{k} {v}" for k, v in values.items() if v != ""), flush=True)
