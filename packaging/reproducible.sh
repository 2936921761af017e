#!/usr/bin/env bash
# Shows that packages are reproducible: builds them twice, from the files that git knows of, in two folders of different names and depths,
# with another umask, time zone and language, without a compiler cache, and compares the results byte by byte.
# usage: packaging/reproducible.sh
set -euo pipefail
cd "$(dirname "$0")/.."
packaging/install-deps.sh package
version=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l packaging/debian/changelog -S Timestamp)
MILLRACE_COMMIT=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
export SOURCE_DATE_EPOCH MILLRACE_COMMIT CCACHE_DISABLE=1
work=$(mktemp -d "${TMPDIR:-/var/tmp}/millrace-twice-XXXXXX")
trap 'rm -rf "$work"' EXIT
build() { # folder; the packages lie beside it, in result
  mkdir -p "$1"
  git ls-files -z | tar --null -T - -c | tar -x -C "$1"
  (
    cd "$1"
    mv packaging/debian debian
    dpkg-buildpackage -us -uc -d -b >../log 2>&1 || { tail -n 40 ../log >&2; exit 1; }
    mkdir ../result && mv ../*.deb ../result
  )
}
(umask 022; TZ=UTC LC_ALL=C build "$work/a/millrace-$version")
(umask 002; TZ=Asia/Kathmandu LC_ALL=C.UTF-8 build "$work/somewhere/else/by-a-longer-name/millrace-$version")
other="$work/somewhere/else/by-a-longer-name/result"
failed=0
for one in "$work"/a/result/*; do
  name=$(basename "$one")
  if cmp "$one" "$other/$name"; then
    echo "$name: the same $(stat -c %s "$one") bytes twice, $(sha256sum "$one" | cut -c1-16)"
  else
    failed=1
  fi
done
exit $failed
