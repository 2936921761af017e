"""A network and an /etc of a test's own: what it says of name servers is said to its own processes only. As root."""
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

INSIDE = "MILLRACE_PRIVATE_NETWORK"
ADDRESS = "192.0.2.100"
DEAD = ("192.0.2.1", "192.0.2.2")  # whose name servers never answer


def enter():
    """Runs the calling script again, in a network and mount namespace where /etc is a copy. Where that is not allowed the script
    goes on as it is, and inside() says no."""
    if inside() or os.geteuid() != 0:
        return
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode != 0:
        return
    with tempfile.TemporaryDirectory(prefix="millrace-etc-") as etc:
        addresses = "".join(f"ip addr add {address}/32 dev lo && " for address in (ADDRESS, *DEAD))
        run = f'cp -a /etc/. "{etc}" && mount --bind "{etc}" /etc && ip link set lo up && {addresses} exec "$@"'
        code = subprocess.run(["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", run, "sh", sys.executable, *sys.argv],
                              env={**os.environ, INSIDE: "1"}).returncode
    sys.exit(code)


def inside():
    return INSIDE in os.environ


def resolv_conf(text):
    """None: there is no such file, as before DHCP has written it."""
    path = Path("/etc/resolv.conf")
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)


def dead_name_servers():
    """Until the answer is closed."""
    sockets = ExitStack()
    for address in DEAD:
        taken = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        taken.bind((address, 53))
    resolv_conf("".join(f"nameserver {address}\n" for address in DEAD) + "search plant.test company.test\n")
    return sockets
