#!/usr/bin/env bash
# Builds Millrace against Debian trixie (gcc 14, mbedTLS 3.6, newer Paho) in a chroot of its own, and runs the unit, contract and
# golden tests there. As root. Ends with 77 and a reason where that is not possible.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "a chroot needs root"; exit 77; }
packaging/install-deps.sh package
tests="unit unit_drivers unit_uplinks unit_kinds contract contract_drivers contract_uplinks golden"
root=$(mktemp -d /tmp/millrace-trixie.XXXXXX)
clean() {
  for where in dev/pts proc; do umount -l "$root/$where" 2>/dev/null || true; done
  rm -rf "$root"
}
trap clean EXIT
packages=$(eval "$(sed -n '/^build="/,/"$/p' packaging/install-deps.sh)"; echo $build | tr " " ",")
mmdebstrap --quiet --variant=apt --include="$packages" trixie "$root" || { echo "mmdebstrap cannot make a trixie here"; exit 77; }
mount -t proc proc "$root/proc"
mkdir -p "$root/dev/pts"
mount -t devpts -o ptmxmode=0666 devpts "$root/dev/pts"
ln -sf pts/ptmx "$root/dev/ptmx"
cp /etc/hosts "$root/etc/hosts"  # localhost
mkdir -p "$root/src"
git ls-files -z | tar --null -T - -c | tar -x -C "$root/src"
inside() { chroot "$root" env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root LC_ALL=C.UTF-8 sh -c "cd /src && $1"; }
inside "g++ --version | head -n 1; dpkg-query -W -f '\${Package} \${Version}\n' libmbedtls-dev libpaho-mqttpp-dev libpaho-mqtt-dev librdkafka-dev libsqlite3-dev libuv1-dev"
inside "cmake --preset release >/dev/null && cmake --build --preset release --target millrace millrace-sim $(printf "test_%s " $tests) | tail -n 1"
inside "cmake --preset core >/dev/null && cmake --build --preset core | tail -n 1"
inside "build/release/millrace version && build/core/millrace version"
for name in $tests; do
  inside "build/release/tests/test_$name" > "$root/out" 2>&1 || { tail -n 100 "$root/out"; exit 1; }
  grep '^\[doctest\] test cases' "$root/out"
done
