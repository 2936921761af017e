"""The packages that packaging/build-deb.sh made, for tests that install them into a Debian of their own."""
import shutil
import subprocess

from testsite import ROOT

DEBS = ROOT / "build" / "deb"


def why_not():
    """Why these tests cannot run here, or None."""
    if not shutil.which("mmdebstrap"):
        return "mmdebstrap is not installed: packaging/install-deps.sh package"
    if not list(DEBS.glob("millrace_*_amd64.deb")):
        return "build/deb has no packages: packaging/build-deb.sh"
    return None


def version():
    deb = next(DEBS.glob("millrace_*_amd64.deb"))
    return subprocess.run(["dpkg-deb", "-f", str(deb), "Version"], capture_output=True, text=True, check=True).stdout.strip()


def bring(root):
    """Copies them to /debs of that root."""
    (root / "debs").mkdir()
    for deb in DEBS.glob("*.deb"):
        if deb.name.endswith(("_amd64.deb", "_all.deb")):
            shutil.copy(deb, root / "debs")


def bring_newer(root, now):
    """The same packages with a higher version, as an upgrade would bring, as /newer/NAME.deb."""
    (root / "newer").mkdir(exist_ok=True)
    for name, arch in (("millrace", "amd64"), ("millrace-common", "all")):
        folder = root / "unpacked"
        subprocess.run(["dpkg-deb", "-R", str(root / f"debs/{name}_{now}_{arch}.deb"), str(folder)], check=True)
        control = folder / "DEBIAN/control"
        words = control.read_text().replace(f"Version: {now}", f"Version: {now}+1").replace(f"(= {now})", f"(= {now}+1)")
        control.write_text(words)
        subprocess.run(["dpkg-deb", "-b", str(folder), str(root / f"newer/{name}.deb")], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)
