"""Names that lead where a test says: a gateway that sees a hosts file of its own, and asks no server."""

import functools
import subprocess


class Names:
    """A hosts file in `directory`. The gateway of `stage.gateway(…, names=names)` has it for its own."""

    def __init__(self, directory):
        self._hosts = directory / "hosts"
        self._services = directory / "nsswitch.conf"
        self._services.write_text("hosts: files\n")
        self._hosts.write_text("")

    def lead(self, name, *addresses):
        """From now on there is this name alone, and it has these addresses."""
        # The same file as before, because it is mounted.
        self._hosts.write_text("".join(f"{address} {name}\n" for address in addresses))

    @property
    def command(self):
        """What comes before a command, so that it sees these files: a mount that nobody else has."""
        script = 'mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/nsswitch.conf && shift && exec "$@"'
        return [*NAMESPACE, "sh", "-c", script, self._hosts, self._services]


NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


@functools.cache
def can_lead():
    """Whether this machine lets a user have mounts of his own; containers often don't."""
    return subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0
