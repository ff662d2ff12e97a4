"""Regret of the device router in a simulation, beside an oracle and three other policies.

No device here is real: their times are curves with noise, drift, queues and failures. What is judged is the policy:
`devices.cost_model` and `devices.standing`, the very code that the actors use. Times are expected ones, so that the
noise of a single call counts neither for nor against a policy.

    python benchmarks/routing.py [--calls 20000] [--seeds 5]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contracts.work import Device
from devices.cost_model import CostModel
from devices.standing import Standing

CPU, GPU, NE = Device.CPU, Device.METAL_GPU, Device.NEURAL_ENGINE
ALL = (CPU, GPU, NE)
NEAR = 0.03
"""A choice within 3 % of the oracle's time is as good as the oracle's."""
TOLERANCE = {"exposures": 1e-6, "revalue": 1e-4, "network": 1e-2}
ERROR = {CPU: 0.0, GPU: 3e-7, NE: 2e-3}


@dataclass
class World:
    """Three devices whose time is fixed + work + bytes, in seconds, and how each drifts: call number to factor."""

    fixed: dict[Device, float] = field(default_factory=lambda: {CPU: 4e-6, GPU: 2.3e-4, NE: 3.5e-4})
    per_work: dict[Device, float] = field(default_factory=lambda: {CPU: 2.5e-11, GPU: 1.5e-12, NE: 6e-13})
    per_byte: dict[Device, float] = field(default_factory=lambda: {CPU: 1e-10, GPU: 6e-11, NE: 9e-11})
    drifts: tuple[tuple[int, Device, float], ...] = ()
    noise: float = 0.12
    spike: float = 0.01

    def seconds(self, device: Device, work: float, moved: float, call: int) -> float:
        """Give the expected time of a call."""
        base = self.fixed[device] + self.per_work[device] * work + self.per_byte[device] * moved
        for since, drifting, factor in self.drifts:
            if call >= since and drifting is device:
                base *= factor
        return base


@dataclass(frozen=True)
class Call:
    """One call of the stream."""

    kernel: str
    sizes: tuple[int, ...]
    work: float
    moved: float


def stream(calls: int, rng: np.random.Generator) -> list[Call]:
    """Draw calls whose sizes are spread over four decades of work, as books and scenarios are."""
    out = []
    for _ in range(calls):
        kernel = str(rng.choice(list(TOLERANCE)))
        a = int(rng.choice([1, 8, 50, 64, 420, 500, 1700, 2000, 6500, 8000]))
        b, c = int(rng.choice([500, 3000])), int(rng.choice([20, 40]))
        out.append(Call(kernel, (a, b, c), 2.0 * a * b * c, 4.0 * (a * b + b * c + a * c)))
    return out


class Policy:
    """Chooses a device for each call, and is told how long it took."""

    name = ""
    deliberate = False
    """Whether the last choice was made to learn, not because it was thought the fastest."""

    def choose(self, call: Call, candidates: tuple[Device, ...], number: int) -> Device:
        """Give the device."""
        raise NotImplementedError

    def told(self, call: Call, device: Device, seconds: float) -> None:
        """Learn."""


class Oracle(Policy):
    """Knows the true times."""

    name = "oracle"

    def __init__(self, world: World) -> None:
        self.world = world

    def choose(self, call: Call, candidates: tuple[Device, ...], number: int) -> Device:
        """Give the device."""
        return min(candidates, key=lambda d: self.world.seconds(d, call.work, call.moved, number))


class Ours(Policy):
    """The engine's cost model, with or without the calibration that an actor starts with."""

    name = "cost model"

    def __init__(self, world: World | None, rng: np.random.Generator) -> None:
        self.model = CostModel()
        if world is None:
            self.name = "cost model, no calibration"
            return
        for kernel in TOLERANCE:
            for a, b, c in ((1, 3000, 40), (100, 3000, 40), (4000, 3000, 40)):
                work, moved = 2.0 * a * b * c, 4.0 * (a * b + b * c + a * c)
                for device in ALL:
                    for _ in range(5):
                        took = world.seconds(device, work, moved, 0) * math.exp(rng.normal(0, world.noise))
                        self.model.learn(kernel, (a, b, c), work, moved, device, took, warm=True)

    def choose(self, call: Call, candidates: tuple[Device, ...], number: int) -> Device:
        """Give the device."""
        self.decision = self.model.decide(call.kernel, call.sizes, call.work, call.moved, candidates)
        self.deliberate = self.decision.explored
        return self.decision.device

    def told(self, call: Call, device: Device, seconds: float) -> None:
        """Learn."""
        self.model.finish(self.decision, seconds)


class StarPU(Policy):
    """StarPU's history model: a mean for each size and device; `CALIBRATE` samples each, then the least."""

    name = "StarPU's rules"
    CALIBRATE = 10

    def __init__(self) -> None:
        self.history: dict[tuple[object, ...], list[float]] = {}

    def _key(self, call: Call, device: Device) -> tuple[object, ...]:
        return call.kernel, call.sizes, device

    def choose(self, call: Call, candidates: tuple[Device, ...], number: int) -> Device:
        """Give the device."""
        rows = {d: self.history.setdefault(self._key(call, d), [0.0, 0.0, 0.0, 0.0]) for d in candidates}
        for device, row in rows.items():
            if row[1] < self.CALIBRATE:
                self.deliberate = True
                return device
        self.deliberate = False
        return min(candidates, key=lambda d: rows[d][0])

    def told(self, call: Call, device: Device, seconds: float) -> None:
        """Learn."""
        # mean, samples, errors, dropped
        row = self.history.setdefault(self._key(call, device), [0.0, 0.0, 0.0, 0.0])
        value = seconds
        if not row[3]:
            row[3] = 1.0
        elif row[1] >= self.CALIBRATE and abs(value - row[0]) > 0.5 * row[0]:
            row[2] += 1
            if row[2] >= row[1]:
                row[:3] = [0.0, 0.0, 0.0]
        else:
            row[0] = (row[0] * row[1] + value) / (row[1] + 1)
            row[1] += 1


class Static(Policy):
    """A threshold on the work for each device, the best one for the world before any drift."""

    name = "static threshold"

    def __init__(self, world: World) -> None:
        self.world = world

    def choose(self, call: Call, candidates: tuple[Device, ...], number: int) -> Device:
        """Give the device."""
        moved = call.work / 200
        return min(candidates, key=lambda d: self.world.seconds(d, call.work, moved, 0))


class EpsilonGreedy(Policy):
    """The least mean of each bucket; one call in twenty anywhere."""

    name = "epsilon-greedy"

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.means = rng, {}

    def choose(self, call: Call, candidates: tuple[Device, ...], number: int) -> Device:
        """Give the device."""
        self.deliberate = self.rng.random() < 0.05
        if self.deliberate:
            return candidates[int(self.rng.integers(len(candidates)))]
        return min(candidates, key=lambda d: self._mean(call, d)[0])

    def _mean(self, call: Call, device: Device) -> list[float]:
        key = call.kernel, call.sizes, device
        return self.means.setdefault(key, [0.0, 0.0])

    def told(self, call: Call, device: Device, seconds: float) -> None:
        """Learn."""
        row = self._mean(call, device)
        row[1] += 1
        row[0] += (seconds - row[0]) / row[1]


@dataclass
class Outcome:
    """What a policy did over a stream."""

    regret: float
    later: float
    """Regret of the second half alone: who samples everything at first has done so by then."""
    wrong: np.ndarray
    """Calls that went elsewhere than the oracle's in the belief that this was the fastest."""
    devices: list[Device]


def play(
    policy: Policy, world: World, calls: list[Call], seed: int, candidates: dict[str, tuple[Device, ...]]
) -> Outcome:
    """Send the calls one after the other; regret is against the oracle's expected time."""
    rng = np.random.default_rng(seed)
    spent = least = 0.0
    half = 0.0, 0.0
    wrong, devices = np.zeros(len(calls), bool), []
    for number, call in enumerate(calls):
        allowed = candidates[call.kernel]
        device = policy.choose(call, allowed, number)
        expected = world.seconds(device, call.work, call.moved, number)
        best = min(world.seconds(d, call.work, call.moved, number) for d in allowed)
        took = expected * math.exp(rng.normal(0.0, world.noise)) * (3.0 if rng.random() < world.spike else 1.0)
        policy.told(call, device, took)
        spent, least = spent + expected, least + best
        if 2 * number == len(calls):
            half = spent, least
        wrong[number] = expected > best * (1.0 + NEAR) and not policy.deliberate
        devices.append(device)
    return Outcome(spent / least - 1.0, (spent - half[0]) / (least - half[1]) - 1.0, wrong, devices)


def within_tolerance() -> dict[str, tuple[Device, ...]]:
    """Let `devices.standing` say which devices each kernel may use, after one measurement of each."""
    standing = Standing(ALL)
    for kernel in TOLERANCE:
        for device in (GPU, NE):
            standing.measured(device, kernel, ERROR[device])
    return {kernel: standing.candidates(kernel, tolerance) for kernel, tolerance in TOLERANCE.items()}


def recovered_after(wrong: np.ndarray, since: int) -> int:
    """Give the calls after a drift until 95 of the last 100 were as the oracle's; all that follow if never."""
    later = wrong[since:]
    for last in range(100, len(later)):
        if later[last - 100 : last].sum() <= 5:
            return last
    return len(later)


def policies(world: World, seed: int) -> list[Policy]:
    """Make all policies for one run."""
    start = World(world.fixed, world.per_work, world.per_byte, (), world.noise)
    rng = np.random.default_rng(seed + 1000)
    return [Oracle(world), Ours(start, rng), Ours(None, rng), StarPU(), Static(start), EpsilonGreedy(rng)]


def queued(calls: list[Call], world: World, seed: int, *, aware: bool) -> float:
    """Give the mean seconds from arrival to answer when calls arrive faster than one device serves them."""
    rng = np.random.default_rng(seed)
    ours = Ours(world, rng)
    allowed = within_tolerance()
    free = dict.fromkeys(ALL, 0.0)
    waiting: list[tuple[float, object, float]] = []
    now = total = 0.0
    gap = float(np.mean([min(world.seconds(d, c.work, c.moved, 0) for d in allowed[c.kernel]) for c in calls])) * 0.8
    for number, call in enumerate(calls):
        now += float(rng.exponential(gap))
        for entry in [entry for entry in waiting if entry[0] <= now]:
            ours.model.finish(entry[1], entry[2])  # type: ignore[arg-type]
            waiting.remove(entry)
        decision = ours.model.decide(call.kernel, call.sizes, call.work, call.moved, allowed[call.kernel])
        took = world.seconds(decision.device, call.work, call.moved, number) * math.exp(rng.normal(0.0, world.noise))
        if aware:
            ours.model.begin(decision)
        else:
            decision.predicted_s = None
        done = max(now, free[decision.device]) + took
        free[decision.device] = done
        waiting.append((done, decision, took))
        total += done - now
    return total / len(calls)


@dataclass
class Outage:
    """What came of a run in which a device fails for a while."""

    regret: float
    asked: int
    """Calls that went to the device while it failed; each was answered by the CPU in the same request."""
    back_s: float
    """Seconds from its return to its first good answer."""
    late_s: float
    """Seconds of them behind the end of its last quarantine."""


def outage(calls: int, seed: int, failing: Device = GPU, seconds: float = 40.0, idle_s: float = 0.02) -> Outage:
    """Let a device fail for some seconds in the middle: its calls take their time and give nothing.

    `devices.standing` has the simulation's clock, and calls are `idle_s` apart. A call that fails costs its time and
    the CPU's, and so does the first one afterwards, which is compared. The oracle knows when the device fails.
    """
    world, rng = World(), np.random.default_rng(seed)
    policy = Ours(world, rng)
    now = [0.0]
    standing = Standing(ALL, lambda: now[0])
    for kernel in TOLERANCE:
        for device in (GPU, NE):
            standing.measured(device, kernel, ERROR[device])
    begins = 0.3 * calls * idle_s
    made, free_at = Outage(0.0, 0, math.inf, math.inf), 0.0
    spent = least = 0.0
    for number, call in enumerate(stream(calls, rng)):
        fails = begins <= now[0] < begins + seconds
        tolerance = TOLERANCE[call.kernel]
        times = {device: world.seconds(device, call.work, call.moved, number) for device in ALL}
        able = [d for d in ALL if ERROR[d] <= tolerance and not (fails and d is failing)]
        device = policy.choose(call, standing.candidates(call.kernel, tolerance), number)
        took = times[device] * math.exp(rng.normal(0.0, world.noise))
        if device is failing and fails:
            free_at = standing.failed(device, None, "it fails").until
            made.asked += 1
            policy.model.finish(policy.decision, None)
            took += times[CPU]
        else:
            policy.told(call, device, took)
            if not standing.proven(device, call.kernel):
                standing.measured(device, call.kernel, ERROR[device])
                took += times[CPU]
            if device is failing and made.back_s == math.inf and now[0] > begins:
                made.back_s, made.late_s = now[0] - begins - seconds, now[0] - free_at
        spent, least = spent + took, least + min(times[d] for d in able)
        now[0] += took + idle_s
    made.regret = spent / least - 1.0
    return made


def decision_us(repeats: int = 20_000) -> float:
    """Give microseconds of one decision with all that belongs to it: candidates, choice, queue, learning."""
    world = World()
    model = Ours(world, np.random.default_rng(0)).model
    standing = Standing(ALL)
    for device in (GPU, NE):
        standing.measured(device, "exposures", 0.0)
    calls = stream(200, np.random.default_rng(0))
    least = math.inf
    for _ in range(5):
        began = time.process_time()
        for i in range(repeats // 5):
            call = calls[i % 200]
            allowed = standing.candidates("exposures", 1e-6)
            decision = model.decide("exposures", call.sizes, call.work, call.moved, allowed, 5.0)
            model.begin(decision)
            model.finish(decision, decision.predicted_s)
        least = min(least, (time.process_time() - began) / (repeats // 5))
    return least * 1e6


def gate(what: str, value: float, limit: float, unit: str = "") -> bool:
    """Print a figure beside its limit."""
    met = value <= limit
    print(f"{what:58} {value:10.4g}{unit}  at most {limit:g}{unit}  {'met' if met else 'missed'}")
    return met


def table(title: str, world: World, calls: int, seeds: int, since: int | None) -> dict[str, list[Outcome]]:
    """Play every policy over every seed and print a line for each."""
    allowed = within_tolerance()
    outcomes: dict[str, list[Outcome]] = {}
    for seed in range(seeds):
        drawn = stream(calls, np.random.default_rng(seed))
        for policy in policies(world, seed):
            made = play(policy, world, drawn, seed, allowed)
            outcomes.setdefault(policy.name, []).append(made)
            if isinstance(policy, Ours):
                made.share = policy.model.explored / policy.model.calls  # type: ignore[attr-defined]
    print(f"\n{title}: {seeds} runs of {calls} calls")
    for name, made in outcomes.items():
        regrets = [100 * outcome.regret for outcome in made]
        line = f"  {name:28} regret {np.mean(regrets):7.2f} %  (worst {max(regrets):.2f} %)"
        line += f"   second half {100 * np.mean([o.later for o in made]):7.2f} %"
        if since is not None:
            line += f"   recovered after {np.mean([recovered_after(o.wrong, since) for o in made]):8.0f} calls"
        print(line)
    return outcomes


def main() -> int:
    """Print tables and gates; 1 where a gate is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    calls, seeds = options.calls, options.seeds
    half = calls // 2
    steady = table("steady", World(), calls, seeds, None)
    kinds = {
        "the GPU slows down to a third": ((half, GPU, 3.0),),
        "the CPU slows down by half": ((half, CPU, 1.5),),
        "the Neural Engine becomes twice as fast": ((half, NE, 0.5),),
        "the GPU slows down, and comes back": ((half // 2, GPU, 3.0), (half, GPU, 1 / 3)),
    }
    drifting = {name: table(name, World(drifts=drifts), calls, seeds, half) for name, drifts in kinds.items()}
    drawn = stream(calls // 4, np.random.default_rng(0))
    with_queue, without = (queued(drawn, World(), 0, aware=aware) for aware in (True, False))
    print(
        f"\nbusy devices: {with_queue * 1e3:.3f} ms to the answer with the queue counted, {without * 1e3:.3f} without"
    )
    outages = [outage(max(calls, 10_000), seed) for seed in range(seeds)]
    print(
        f"the GPU fails for 40 s: {np.mean([o.asked for o in outages]):.1f} calls are sent there meanwhile and the CPU "
        f"answers, it answers again {np.mean([o.back_s for o in outages]):.0f} s after its return, regret "
        f"{100 * np.mean([o.regret for o in outages]):.1f} % over {max(calls, 10_000) * 0.02:.0f} s"
    )
    print("\ngates")
    ours = "cost model"
    met = [gate("regret, steady, mean", 100 * np.mean([o.regret for o in steady[ours]]), 2.0, " %")]
    for name, outcomes in drifting.items():
        met.append(gate(f"regret, {name}", 100 * np.mean([o.regret for o in outcomes[ours]]), 5.0, " %"))
        own, starpu = (
            float(np.mean([recovered_after(o.wrong, half) for o in outcomes[which]])) for which in (ours, StarPU.name)
        )
        met.append(gate("  recovery in calls, beside StarPU's", own, starpu))
    everything = [o for outcomes in (steady, *drifting.values()) for o in outcomes[ours]]
    met.append(gate("share of explored calls", 100 * max(o.share for o in everything), 2.0, " %"))  # type: ignore[attr-defined]
    allowed = within_tolerance()
    outside = 0
    for seed in range(seeds):
        drawn = stream(calls, np.random.default_rng(seed))
        for outcomes in (steady, *drifting.values()):
            outside += sum(d not in allowed[c.kernel] for c, d in zip(drawn, outcomes[ours][seed].devices, strict=True))
    met.append(gate("calls on a device outside the tolerance", outside, 0))
    met.append(gate("busy devices, with the queue over without", with_queue / without, 1.0))
    met.append(gate("calls to a device in the 40 s that it fails, most", max(o.asked for o in outages), 2))
    late = max(o.late_s for o in outages)
    met.append(gate("until it is asked again, behind its last quarantine", late, 1.0, " s"))
    met.append(gate("a decision, CPU time", decision_us(), 20.0, " us"))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
