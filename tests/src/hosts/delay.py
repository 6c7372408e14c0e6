"""Joins two TAP devices, and forwards each frame after a time: delay.py NAME NAME SECONDS.

The kernel may have no netem. Both devices are made here; one is moved to another namespace afterwards. It ends when it is
killed, and the devices with it.
"""

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
FRAMES_MAX = 20_000  # more are dropped, as by a router


def tap(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


def main(one, other, delay):
    devices = [tap(one), tap(other)]
    waiting = {devices[0]: deque(), devices[1]: deque()}  # by where they go
    across = dict(zip(devices, reversed(devices)))
    while True:
        due = min((frames[0][0] for frames in waiting.values() if frames), default=None)
        patience = None if due is None else max(0.0, due - time.monotonic())
        for device in select.select(devices, [], [], patience)[0]:
            frames = waiting[across[device]]
            try:
                for _ in range(64):
                    frame = os.read(device, 65536)
                    if len(frames) < FRAMES_MAX:
                        frames.append((time.monotonic() + delay, frame))
            except BlockingIOError:
                pass
        now = time.monotonic()
        for device, frames in waiting.items():
            while frames and frames[0][0] <= now:
                try:
                    os.write(device, frames.popleft()[1])
                except OSError:
                    pass  # the device is not up, or has no room


main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
