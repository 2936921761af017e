#!/usr/bin/env bash
# Makes a folder of packages that apt takes as a source: for a site without internet, on a USB stick or any web server.
# usage: packaging/make-apt-repo.sh FOLDER [--key KEY] PACKAGE.deb...
#   --key KEY   signs it with this key of gpg's (a name or fingerprint); its public half lies in FOLDER as millrace.gpg
# What is in FOLDER already stays: older versions can be gone back to. On a box:
#   cp FOLDER/millrace.gpg /usr/share/keyrings/
#   echo "deb [signed-by=/usr/share/keyrings/millrace.gpg] file:///mnt/stick stable main" > /etc/apt/sources.list.d/millrace.list
#   apt update && apt install millrace
# Without a key: deb [trusted=yes] file:///mnt/stick stable main. Then nobody but who holds the stick vouches for what is on it.
set -euo pipefail
usage() { sed -n '2,5s/^# //p' "$0" >&2; exit 64; }
[ $# -ge 1 ] || usage
folder=$1 key=""
shift
if [ "${1:-}" = --key ]; then
  [ $# -ge 2 ] || usage
  key=$2
  shift 2
fi
command -v dpkg-scanpackages >/dev/null || { echo "dpkg-scanpackages is missing: apt install dpkg-dev" >&2; exit 1; }
mkdir -p "$folder/pool/main"
for deb in "$@"; do
  dpkg-deb --info "$deb" >/dev/null || { echo "$deb is no Debian package" >&2; exit 65; }
  cp -p "$deb" "$folder/pool/main/"
done
cd "$folder"
architectures=$(for deb in pool/main/*.deb; do dpkg-deb -f "$deb" Architecture; done | sort -u | sed '/^all$/d' | tr '\n' ' ')
[ -n "$architectures" ] || architectures=$(dpkg --print-architecture)
rm -rf dists/stable.new
for arch in $architectures; do
  into=dists/stable.new/main/binary-$arch
  mkdir -p "$into"
  dpkg-scanpackages --multiversion --arch "$arch" pool/main >"$into/Packages" 2>/dev/null
  gzip -9nk "$into/Packages"
done
(
  cd dists/stable.new
  sums() { # name of the field, command
    echo "$1:"
    find main -type f | sort | while read -r file; do printf ' %s %s %s\n' "$("$2" "$file" | cut -d' ' -f1)" "$(stat -c %s "$file")" "$file"; done
  }
  {
    printf 'Origin: Millrace\nLabel: Millrace\nSuite: stable\nCodename: stable\nArchitectures: %s\nComponents: main\n' "${architectures% }"
    printf 'Description: Millrace for a site without internet\nDate: %s\n' "$(date -Ru -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" | sed 's/+0000/UTC/')"
    sums SHA256 sha256sum
    sums SHA512 sha512sum
  } >Release.made
  mv Release.made Release
  if [ -n "$key" ]; then
    gpg --batch --yes --local-user "$key" --clearsign --output InRelease Release
    gpg --batch --yes --local-user "$key" --detach-sign --armor --output Release.gpg Release
    gpg --batch --yes --export "$key" >../../millrace.gpg
  fi
)
# The new lists take the old ones' place whole; who asks just between the two renames finds none and asks again.
rm -rf dists/stable.old
[ ! -e dists/stable ] || mv dists/stable dists/stable.old
mv dists/stable.new dists/stable
rm -rf dists/stable.old
echo "$(find pool -name '*.deb' | wc -l) packages for $architectures in $PWD$([ -n "$key" ] && echo ", signed")"
