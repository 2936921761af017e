#!/usr/bin/env bash
# Makes the manual pages. usage: packaging/man/build.sh FOLDER
set -euo pipefail
out=${1:?usage: packaging/man/build.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
for page in "$here"/*.scd; do
  [ "$page" = "$here/commands.scd" ] && continue
  # @CONFIG@ becomes the annotated configuration, as it is installed; @COMMANDS@ what the commands' rows say.
  awk -v config="$here/../millrace.toml" -v commands="$here/commands.scd" '
    $0 == "@CONFIG@" { while ((getline line < config) > 0) print line; next }
    $0 == "@COMMANDS@" { while ((getline line < commands) > 0) print line; next }
    { print }' "$page" |
    scdoc > "$out/$(basename "$page" .scd)"
done
