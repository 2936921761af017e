#!/usr/bin/env bash
# Shows that packages are reproducible: builds them twice, from the files that git knows of, in two folders of different names and depths,
# with another umask, time zone and language, without a compiler cache, and compares the results byte by byte.
# usage: packaging/reproducible.sh [--quick]
#   --quick   of the core profile the program alone, not optimised, with the packages' other flags
set -euo pipefail
cd "$(dirname "$0")/.."
quick=""
[ "${1:-}" != --quick ] || quick=yes
[ -n "$quick" ] || packaging/install-deps.sh package
version=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l packaging/debian/changelog -S Timestamp)
MILLRACE_COMMIT=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
export SOURCE_DATE_EPOCH MILLRACE_COMMIT CCACHE_DISABLE=1
work=$(mktemp -d "${TMPDIR:-/var/tmp}/millrace-twice-XXXXXX")
trap 'rm -rf "$work"' EXIT
build() { # folder: the program, or the packages beside it
  mkdir -p "$1"
  git ls-files -z | tar --null -T - -c | tar -x -C "$1"
  (
    cd "$1"
    if [ -n "$quick" ]; then
      flags="$(dpkg-buildflags --get CPPFLAGS) $(dpkg-buildflags --get CXXFLAGS) -O0 -g0"
      cmake -S . -B build/core -G Ninja -DMILLRACE_PROFILE=core -DMILLRACE_TESTS=OFF "-DMILLRACE_COMMIT=$MILLRACE_COMMIT" -DCMAKE_BUILD_TYPE=None \
        "-DCMAKE_C_FLAGS=$flags" "-DCMAKE_CXX_FLAGS=$flags" "-DCMAKE_EXE_LINKER_FLAGS=$(dpkg-buildflags --get LDFLAGS)" >log
      ninja -C build/core "-j${MILLRACE_JOBS:-$(nproc)}" millrace >>log || { tail -n 20 log >&2; exit 1; }
      mkdir ../result && cp build/core/millrace ../result
    else
      mv packaging/debian debian
      dpkg-buildpackage -us -uc -d -b "-j${MILLRACE_JOBS:-$(nproc)}" >../log 2>&1 || { tail -n 40 ../log >&2; exit 1; }
      mkdir ../result && mv ../*.deb ../result
    fi
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
