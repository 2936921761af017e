#!/usr/bin/env bash
# Makes the Debian packages, native or cross, from the files that git knows of, and lets lintian look at them.
# usage: packaging/build-deb.sh [amd64|arm64|armhf]...      (default: this machine's architecture)
# The .debs lie in build/deb.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
native=$(dpkg --print-architecture)
needs=package
for arch in "$@"; do [ "$arch" = "$native" ] || needs=arm; done
packaging/install-deps.sh $needs
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
export CCACHE_DIR=${CCACHE_DIR:-$(ccache --get-config cache_dir 2>/dev/null || echo "$HOME/.cache/ccache")}
export CCACHE_NOHASHDIR=1 MILLRACE_COMMIT=$commit
version=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
for arch in "${@:-$native}"; do
  begin=$SECONDS
  stage=$root/build/deb/$arch/millrace-$version
  rm -rf "$root/build/deb/$arch"
  mkdir -p "$stage"
  git ls-files -z | tar --null -T - -c | tar -x -C "$stage"
  mv "$stage/packaging/debian" "$stage/debian"
  options=(-us -uc -d)
  unset MILLRACE_TOOLCHAIN MILLRACE_SYSROOT
  if [ "$arch" = "$native" ]; then
    options+=(-b)
  else
    toolchains/sysroot.sh "$arch"
    export MILLRACE_TOOLCHAIN=$root/toolchains/$arch.cmake MILLRACE_SYSROOT=$root/build/sysroot/$arch
    options+=(-B "-a$arch" -Pcross,nocheck)
  fi
  if ! (cd "$stage" && CCACHE_BASEDIR=$stage dpkg-buildpackage "${options[@]}") > "$root/build/deb/$arch.log" 2>&1; then
    tail -n 40 "$root/build/deb/$arch.log" >&2
    exit 1
  fi
  find "$root/build/deb" -maxdepth 1 -name "*_$arch.deb" -delete
  mv "$root/build/deb/$arch"/*.deb "$root/build/deb/"
  rm -rf "$root/build/deb/$arch"
  echo "$arch: packages in $((SECONDS - begin)) s"
done
lintian --fail-on error,warning build/deb/*.deb 2>&1 | { grep -v 'running with root privileges' || true; }
packaging/footprint.py --packages build/deb
