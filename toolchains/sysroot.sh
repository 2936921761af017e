#!/usr/bin/env bash
# Makes a sysroot: the libraries that Millrace is built with, of another architecture, from the mirror this machine is set up
# with. A private apt does it: no foreign architecture is added to the machine, nothing foreign runs, root is not needed.
# usage: toolchains/sysroot.sh arm64|armhf [FOLDER]      (default: build/sysroot/ARCH; what is there already is kept)
set -euo pipefail
arch=${1:?usage: toolchains/sysroot.sh arm64|armhf [FOLDER]}
root=$(cd "$(dirname "$0")/.." && pwd)
target=${2:-$root/build/sysroot/$arch}
packages="libc6-dev libstdc++-12-dev libuv1-dev libsqlite3-dev zlib1g-dev libzstd-dev libhttp-parser-dev libc-ares-dev libmbedtls-dev libmodbus-dev libnanopb-dev
  libpaho-mqttpp-dev libpaho-mqtt-dev librdkafka-dev rapidjson-dev libtomlplusplus-dev libcli11-dev doctest-dev"
recipe=$(echo "$packages"; cat "$0")
[ "$(cat "$target/.recipe" 2>/dev/null)" = "$recipe" ] && exit 0
case $arch in arm64|armhf) ;; *) echo "there is no recipe for $arch" >&2; exit 64 ;; esac

# The mirror of this machine's own release. Its main suite alone: the security suite of other architectures can lag behind.
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
  awk -v codename="$codename" '$1 == codename && $2 == "main" { print $3; exit }')
[ -n "$mirror" ] || { echo "apt on this machine knows no mirror for $codename main (has 'apt-get update' run?)" >&2; exit 69; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,etc/parts,etc/preferences.d,dpkg}
: > "$work/dpkg/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $codename main" > "$work/etc/sources.list"
cat > "$work/apt.conf" <<CONF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Retries "3";
Dir::State "$work/state";
Dir::State::status "$work/dpkg/status";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/etc/sources.list";
Dir::Etc::sourceparts "$work/etc/parts";
Dir::Etc::preferencesparts "$work/etc/preferences.d";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get update -qq
# Download only: what the packages pull in beyond libraries (dpkg, perl, ...) is left out below.
# shellcheck disable=SC2086
apt-get install -y -qq --download-only $packages >/dev/null

rm -rf "$target"
mkdir -p "$target/var/lib/dpkg/info"
: > "$target/var/lib/dpkg/status"
echo 1 > "$target/var/lib/dpkg/info/format"  # notes of Multi-Arch packages carry the architecture in their names
for deb in "$work"/cache/archives/*.deb; do
  dpkg-deb -x "$deb" "$target"
  # dpkg's notes on each package: dpkg-shlibdeps finds by them which package a library is of.
  control=$(mktemp -d -p "$work")
  dpkg-deb -e "$deb" "$control"
  name=$(dpkg-deb -f "$deb" Package)
  if [ "$(dpkg-deb -f "$deb" Multi-Arch)" = same ]; then file="$name:$arch"; else file=$name; fi
  for note in symbols shlibs; do
    [ ! -e "$control/$note" ] || cp "$control/$note" "$target/var/lib/dpkg/info/$file.$note"
  done
  dpkg-deb --fsys-tarfile "$deb" | tar -t | sed "s|^\.|$target|; s|/\$||" > "$target/var/lib/dpkg/info/$file.list"
  { dpkg-deb -f "$deb" | sed 's/^Package: .*/&\nStatus: install ok installed/'; echo; } >> "$target/var/lib/dpkg/status"
done
# Links to absolute paths would lead out of the sysroot.
find "$target" -type l -lname '/*' -print0 | while IFS= read -r -d '' link; do
  ln -snf "$(realpath -m --relative-to="$(dirname "$link")" "$target$(readlink "$link")")" "$link"
done
rm -rf "$target"/usr/share/{doc,man,locale}
printf '%s' "$recipe" > "$target/.recipe"
echo "$target: $(grep -c ^Package: "$target/var/lib/dpkg/status") packages, $(du -sm "$target" | cut -f1) MB"
