#!/usr/bin/env bash
# Everything for ARM, on a fresh Debian 12 as root or with sudo: cross compilers, sysroots, packages for amd64, arm64 and armhf,
# and the tests of both ARM builds under qemu-user. The packages lie in build/deb.
# usage: packaging/build-arm.sh [--packages-only]
set -euo pipefail
cd "$(dirname "$0")/.."
begin=$SECONDS
tests="unit unit_drivers unit_uplinks unit_kinds contract contract_drivers contract_uplinks golden"
case "${1:-}" in ''|--packages-only) ;; *) sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 64 ;; esac
echo "== what it takes"
packaging/install-deps.sh arm
echo "== packages"
packaging/build-deb.sh amd64 arm64 armhf
if [ "${1:-}" != --packages-only ]; then
  for arch in arm64 armhf; do
    case $arch in arm64) emulator=qemu-aarch64-static ;; armhf) emulator=qemu-arm-static ;; esac
    echo "== tests of $arch"
    cmake --preset $arch >/dev/null
    cmake --build --preset $arch --target $(printf "test_%s " $tests) | tail -n 1
    for name in $tests; do
      # What a test expects to be said (refused ports, bad files) goes to a file.
      "$emulator" -L build/sysroot/$arch build/$arch/tests/test_$name >"build/$arch/$name.out" 2>&1 || { cat "build/$arch/$name.out"; exit 1; }
      grep '^\[doctest\] test cases' "build/$arch/$name.out"
    done
  done
fi
echo "== done in $((SECONDS - begin)) s"
