#!/usr/bin/env python3
"""What a built program consists of, as SPDX 2.3 (JSON): of the build itself, not of a list kept by hand. Libraries it loads (the ELF file
says), archives linked in (the linker's command line), headers compiled in (the compiler's dependencies), each as the Debian package
it came from with version, source package and licence.

usage: sbom.py --build FOLDER --binary FILE --name NAME --version VERSION [--target NINJA_TARGET] [--sysroot FOLDER] > NAME.spdx.json
FOLDER is a build by ninja that still has its objects. --sysroot: of a cross build, with its dpkg database."""
import argparse
import datetime
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
# Debian's short names of licences (DEP-5) where SPDX has others.
LICENCES = {"Expat": "MIT", "MIT": "MIT", "Apache-2.0": "Apache-2.0", "Apache-2": "Apache-2.0", "BSD-2-clause": "BSD-2-Clause", "BSD-3-clause": "BSD-3-Clause",
            "BSD-3-Clause": "BSD-3-Clause", "BSD-2-Clause": "BSD-2-Clause", "LGPL-2.1+": "LGPL-2.1-or-later", "LGPL-2.1": "LGPL-2.1-only", "LGPL-2+": "LGPL-2.0-or-later",
            "GPL-2+": "GPL-2.0-or-later", "GPL-2": "GPL-2.0-only", "GPL-3+": "GPL-3.0-or-later", "Zlib": "Zlib", "zlib": "Zlib", "public-domain": "LicenseRef-public-domain",
            "EPL-2.0": "EPL-2.0", "ISC": "ISC", "curl": "curl"}


class Debian:
    """Which package a file belongs to, here or in a sysroot."""

    def __init__(self, sysroot):
        self.sysroot = os.path.realpath(sysroot) if sysroot else ""
        self.query = ["dpkg-query", *([f"--admindir={self.sysroot}/var/lib/dpkg"] if sysroot else [])]
        self.known = {}

    def inside(self, path):
        real = os.path.realpath(path)
        return real[len(self.sysroot):] if self.sysroot and real.startswith(self.sysroot + "/") else real

    def owners(self, paths):
        """Names of the packages that these files belong to; the build's own files belong to none."""
        wanted = sorted({self.inside(path) for path in paths})
        # Where /lib is a link to /usr/lib the database may know either.
        spelled = [*wanted, *(path[4:] for path in wanted if path.startswith("/usr/lib"))]
        found = set()
        for at in range(0, len(spelled), 500):
            done = subprocess.run([*self.query, "-S", *spelled[at:at + 500]], capture_output=True, text=True)
            for line in done.stdout.splitlines():
                if not line.startswith("diversion"):
                    found.update(name.strip() for name in line.rsplit(": ", 1)[0].split(","))
        return found

    def about(self, package):
        if package not in self.known:
            form = "${Package}\\t${Version}\\t${Architecture}\\t${source:Package}\\t${source:Version}\\t${Homepage}"
            self.known[package] = subprocess.run([*self.query, "-W", "-f", form, package], capture_output=True, text=True, check=True).stdout.split("\t")
        return self.known[package]

    def licence(self, name):
        path = Path(f"{self.sysroot}/usr/share/doc/{name}/copyright")
        if not path.exists():
            return "NOASSERTION", ""
        words = path.read_text(errors="replace")
        for paragraph in re.split(r"\n\s*\n", words):
            if re.search(r"(?m)^Files:\s*\*\s*$", paragraph):
                said = re.search(r"(?m)^License:\s*(.+)$", paragraph)
                if said:
                    return LICENCES.get(said.group(1).strip(), "NOASSERTION"), "Debian's copyright file says: " + said.group(1).strip()
        return "NOASSERTION", "see Debian's copyright file of " + name


def ninja(build, *words):
    return subprocess.run(["ninja", "-C", str(build), *words], capture_output=True, text=True, check=True).stdout


def loaded(binary):
    """Names of the libraries that the dynamic linker brings."""
    done = subprocess.run(["readelf", "-d", str(binary)], capture_output=True, text=True, check=True)
    return re.findall(r"\(NEEDED\).*\[(\S+)\]", done.stdout)


def find_library(name, sysroot):
    for folder in sorted(Path(f"{sysroot or ''}/usr/lib").glob("*-linux-gnu*")) + [Path(f"{sysroot or ''}/usr/lib"), Path(f"{sysroot or ''}/lib")]:
        if (folder / name).exists():
            return str(folder / name)
    return None


def linked_in(build, target):
    """Archives of the linker's command line that are none of the build's own, and libstdc++ where it is told to be one."""
    command = ninja(build, "-t", "commands", target).strip().splitlines()[-1]
    words = shlex.split(command)
    archives = [word for word in words if word.endswith(".a") and word.startswith("/")]
    compiler = next(word for word in words if re.search(r"([cg]|clang)\+\+[\d.-]*$", word))
    for flag, name in (("-static-libstdc++", "libstdc++.a"), ("-static-libgcc", "libgcc.a")):
        if flag in words:
            archives.append(subprocess.run([compiler, "-print-file-name=" + name], capture_output=True, text=True).stdout.strip())
    return archives


def compiled_in(build, target):
    """Headers of others that what is linked was compiled with."""
    objects = {line.strip() for line in ninja(build, "-t", "inputs", target).splitlines() if line.strip().endswith(".o")}
    headers, current = set(), False
    for line in ninja(build, "-t", "deps").splitlines():
        if not line.startswith(" "):
            current = line.split(":")[0] in objects
        elif current and line.strip().startswith("/"):
            headers.add(line.strip())
    return [path for path in headers if not path.startswith(str(ROOT) + "/")]


def package(name, version, spdx, licence="NOASSERTION", comment="", **more):
    return {"SPDXID": spdx, "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "NOASSERTION",
            "licenseDeclared": licence, **({"licenseComments": comment} if comment else {}), "copyrightText": "NOASSERTION", **more}


def identifier(words):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", words)


def document(arguments):
    debian = Debian(arguments.sysroot)
    parts = {"DYNAMIC_LINK": debian.owners(filter(None, (find_library(name, arguments.sysroot) for name in loaded(arguments.binary)))),
             "STATIC_LINK": debian.owners(linked_in(arguments.build, arguments.target))}
    # A library's development files bring its declarations; what has no library at all is compiled in whole.
    headers = debian.owners(compiled_in(arguments.build, arguments.target))
    sources = {debian.about(name)[3] for names in parts.values() for name in names}
    parts["CONTAINS"] = {name for name in headers if debian.about(name)[3] not in sources and not name.startswith(("libc6-dev", "linux-libc-dev", "libstdc++", "libgcc-"))}
    digest = hashlib.sha256(Path(arguments.binary).read_bytes()).hexdigest()
    own = identifier(arguments.name)
    packages = [package(arguments.name, arguments.version, own, "Apache-2.0", supplier="Organization: The Millrace authors", primaryPackagePurpose="APPLICATION",
                        checksums=[{"algorithm": "SHA256", "checksumValue": digest}])]
    relationships = [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": own}]
    for how in sorted(parts):
        for name in sorted(parts[how]):
            plain, version, arch, source, source_version, homepage = debian.about(name)
            spdx = identifier(f"deb-{plain}")
            licence, comment = debian.licence(plain)
            if all(one["SPDXID"] != spdx for one in packages):
                packages.append(package(plain, version, spdx, licence, comment, sourceInfo=f"built from Debian's source package {source} {source_version}",
                                        supplier="Organization: Debian", **({"homepage": homepage} if homepage.startswith("http") else {}),
                                        externalRefs=[{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                                                       "referenceLocator": f"pkg:deb/debian/{quote(plain)}@{quote(version)}?arch={arch}&upstream={source}"}]))
            relationships.append({"spdxElementId": own, "relationshipType": how, "relatedSpdxElement": spdx})
    when = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")) or int(Path(arguments.binary).stat().st_mtime), datetime.timezone.utc)
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"{arguments.name}-{arguments.version}",
            "documentNamespace": f"https://millrace.example.org/spdx/{arguments.name}-{arguments.version}-{digest[:16]}",
            "creationInfo": {"created": when.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": ["Organization: The Millrace authors", "Tool: packaging/sbom.py"]},
            "packages": packages, "relationships": relationships,
            **({"hasExtractedLicensingInfos": [{"licenseId": "LicenseRef-public-domain", "extractedText": "In the public domain."}]}
               if any(one["licenseDeclared"] == "LicenseRef-public-domain" for one in packages) else {})}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("build", "binary", "name", "version"):
        options.add_argument("--" + name, required=True)
    options.add_argument("--target", default="millrace")
    options.add_argument("--sysroot", default="")
    json.dump(document(options.parse_args()), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
