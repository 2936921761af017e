#!/usr/bin/env bash
# Makes the manual pages. usage: packaging/man/build.sh FOLDER
set -euo pipefail
out=${1:?usage: packaging/man/build.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
for page in "$here"/*.scd; do
  # @CONFIG@ becomes the annotated configuration, as it is installed.
  awk -v config="$here/../millrace.toml" '$0 == "@CONFIG@" { while ((getline line < config) > 0) print line; next } { print }' "$page" |
    scdoc > "$out/$(basename "$page" .scd)"
done
