"""What the kernel says of a running gateway."""

import os


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptor_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def sockets_by_loop(pid, port):
    """How many connections of the listener on `port` each epoll instance watches: one number for each loop."""
    mine = set()
    with open(f"/proc/{pid}/net/tcp") as table:
        for line in table.readlines()[1:]:
            words = line.split()
            if int(words[1].split(":")[1], 16) == port and words[3] == "01":
                mine.add(words[9])
    links = {}
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            links[descriptor] = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except FileNotFoundError:
            continue
    counts = []
    for descriptor, link in links.items():
        if "eventpoll" not in link:
            continue
        with open(f"/proc/{pid}/fdinfo/{descriptor}") as info:
            watched = [line.split()[1] for line in info if line.startswith("tfd:")]
        counts.append(sum(links.get(one, "").removeprefix("socket:[").rstrip("]") in mine for one in watched))
    return sorted(counts)
