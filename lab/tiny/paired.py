"""Training by two processes of one thread each, which share every batch and add their gradients.

A subclass of Run says what learns from what. Learning rates and padding follow the spent share of the time. The
state is saved every few minutes and taken up again when the training is restarted. Curve: BUILD_DIR/curves/NAME.csv.
"""
import os
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import curves
import features

PROCESSES, BATCH = 2, 32


class Run:
    """One process of the training.

    A subclass sets `learner` (the module whose state is kept), `opt` and `data`, calls resume(), and defines
    losses(index, progress), rate_at(progress), room(longest), test() and export().
    """

    NAME, PORT, SEED = "", 0, 0             # of the files, of the two processes' meeting place, of the batches
    LOSSES, WEIGHTS, TEST = (), (), ""      # columns of the curve
    FULL_FROM = 1.0                         # share of the time after which all input is padded to 5 s
    SAVE_SECONDS, EVAL_STEPS = 150, 400

    def __init__(self, rank, build, seconds):
        self.rank, self.build, self.seconds = rank, build, seconds
        self.step, self.elapsed = 0, 0.0
        self.state_path = f"{build}/{self.NAME}-state.pt"

    def resume(self):
        if os.path.exists(self.state_path):
            state = torch.load(self.state_path)
            self.learner.load_state_dict(state["learner"])
            self.opt.load(state["opt"])
            self.step, self.elapsed = state["step"], state["elapsed"]

    def save(self):
        torch.save(dict(learner=self.learner.state_dict(), opt=self.opt.state(), step=self.step,
                        elapsed=self.elapsed), self.state_path + ".part")
        os.rename(self.state_path + ".part", self.state_path)
        self.export()

    def write(self, name, weights):
        """Into BUILD_DIR, whole or not at all."""
        torch.save(weights, f"{self.build}/{name}.part")
        os.rename(f"{self.build}/{name}.part", f"{self.build}/{name}")

    def frames(self, index, progress):
        """Mel frames of this batch: what its longest utterance needs, later the whole window."""
        if progress >= self.FULL_FROM:
            return features.FRAMES
        return min(features.FRAMES, self.room(max(self.data.rows[i][1] for i in index)))

    def train_step(self, index):
        progress = min(1.0, self.elapsed / self.seconds)
        parts = self.losses(index, progress)
        self.opt.zero()
        sum(w * p for w, p in zip(self.WEIGHTS, parts)).backward()
        dist.all_reduce(self.opt.grad)
        self.opt.grad /= PROCESSES
        self.opt.step(self.rate_at(progress), clip=1.0)
        self.step += 1
        return np.array([float(p) for p in parts])

    def shared_clock(self, now):
        """Both processes follow the first one's clock."""
        clock = torch.tensor([now if self.rank == 0 else 0.0], dtype=torch.float64)
        dist.all_reduce(clock)
        self.elapsed = float(clock)

    def test_both(self):
        """On seen and unseen voices; each process tests one."""
        found = torch.zeros(2)
        found[self.rank] = self.test()
        dist.all_reduce(found)
        return {f"{self.TEST}_{name}": round(float(x), 4) for name, x in zip(("seen", "unseen"), found)}

    def curve(self):
        if self.rank != 0:
            return None
        print(f"{len(self.data.rows)} utterances, from step {self.step}", flush=True)
        columns = ["step", "seconds", "rate", *self.LOSSES, f"{self.TEST}_seen", f"{self.TEST}_unseen"]
        return curves.Log(f"{self.build}/curves/{self.NAME}.csv", columns, self.step > 0)

    def go(self):
        log, first, mean = self.curve(), self.step, None
        began = saved = time.time()
        start = began - self.elapsed
        for index in self.data.batches(self.SEED + self.step):
            part = self.train_step(index)
            mean = part if mean is None else 0.97 * mean + 0.03 * part
            self.shared_clock(time.time() - start)
            over = self.elapsed >= self.seconds
            tested = self.test_both() if self.step % self.EVAL_STEPS == 0 or over else {}
            if log and (self.step % 50 == 0 or over):
                rate = (self.step - first) * BATCH / (time.time() - began)
                log.add(step=self.step, seconds=round(self.elapsed), rate=round(rate, 1),
                        **{name: round(m, 3) for name, m in zip(self.LOSSES, mean)}, **tested)
            if self.rank == 0 and (over or time.time() - saved > self.SAVE_SECONDS):
                self.save()
                saved = time.time()
            if over:
                break


def worker(rank, kind, *args):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(kind.PORT))
    dist.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    kind(rank, *args).go()
    dist.destroy_process_group()


def train(kind, *args):
    """Run kind(rank, *args) in every process until its time is over."""
    mp.spawn(worker, (kind, *args), nprocs=PROCESSES)
