"""What the kernel says of a running gateway."""

import os


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptor_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def open_files(pid):
    """What each of its descriptors is, by number; those that are closed meanwhile are left out."""
    links = {}
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            links[descriptor] = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except FileNotFoundError:
            continue
    return links


def connecting_count(pid, port):
    """How many of its connections to `port` are being made, and are neither accepted nor refused yet."""
    owned = set(open_files(pid).values())
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(
        row[3] == "02" and int(row[2].split(":")[1], 16) == port and f"socket:[{row[9]}]" in owned for row in rows)


def sockets_by_loop(pid, port):
    """How many connections of the listener on `port` each epoll instance watches: one number for each loop."""
    mine = set()
    with open(f"/proc/{pid}/net/tcp") as table:
        for line in table.readlines()[1:]:
            words = line.split()
            if int(words[1].split(":")[1], 16) == port and words[3] == "01":
                mine.add(words[9])
    links = open_files(pid)
    counts = []
    for descriptor, link in links.items():
        if "eventpoll" not in link:
            continue
        with open(f"/proc/{pid}/fdinfo/{descriptor}") as info:
            watched = [line.split()[1] for line in info if line.startswith("tfd:")]
        counts.append(sum(links.get(one, "").removeprefix("socket:[").rstrip("]") in mine for one in watched))
    return sorted(counts)
