"""A slow or lossy cable: carries Ethernet frames between pairs of TAP devices, late or not at all.

The kernel that the lab runs on has no netem. Runs in the fabric's namespace as a process of its own:
`wire.py CONFIG`, where CONFIG is JSON: {"delay_ms": 40, "loss_pct": 0, "pairs": [["a0n0", "b0n0"]]}. It is read again
at SIGHUP, so that the cable can change while connections are open.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import signal
import struct
import sys
import time
from collections import deque
from pathlib import Path

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
LARGEST_FRAME = 65600
# A cable that holds more than this drops frames, as a full queue of a switch does.
FRAMES_IN_FLIGHT = 20000


def open_tap(name: str) -> int:
    """Attaches to an existing TAP device."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def carry(config_path: Path) -> None:
    """Carries frames until it is killed."""
    config = json.loads(config_path.read_text())
    signal.signal(signal.SIGHUP, lambda *_: config.update(json.loads(config_path.read_text())))
    other: dict[int, int] = {}
    for near, far in config["pairs"]:
        one, two = open_tap(near), open_tap(far)
        other[one], other[two] = two, one
    # The delay is the same for all frames, so the oldest is always the next one due, unless the delay has just become
    # shorter; then the older frames hold the newer ones back and none overtakes another.
    in_flight: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait = max(0.0, in_flight[0][0] - time.monotonic()) if in_flight else 0.5
        readable, _, _ = select.select(list(other), [], [], wait)
        now, delay, loss = time.monotonic(), config["delay_ms"] / 1000, config["loss_pct"] / 100
        for descriptor in readable:
            # A few frames at a time, so that a busy direction cannot starve the other one.
            for _ in range(32):
                try:
                    frame = os.read(descriptor, LARGEST_FRAME)
                except OSError:
                    break
                if random.random() >= loss and len(in_flight) < FRAMES_IN_FLIGHT:
                    in_flight.append((now + delay, other[descriptor], frame))
        while in_flight and in_flight[0][0] <= now:
            _, descriptor, frame = in_flight.popleft()
            try:
                os.write(descriptor, frame)
            except OSError:
                # The device is down: the frame is lost, as on a cable.
                pass


if __name__ == "__main__":
    carry(Path(sys.argv[1]))
