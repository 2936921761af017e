#!/usr/bin/env bash
# What the helper for firmware takes on Cortex-M: flash and RAM of millrace_device.o, and the deepest stack of a function, by Debian's cross compiler.
# usage: proto/device/size.sh
set -euo pipefail
cd "$(dirname "$0")"
command -v arm-none-eabi-gcc >/dev/null || { echo "gcc-arm-none-eabi and libnewlib-arm-none-eabi are not installed"; exit 77; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
printf '%-12s %6s %5s %6s\n' core flash RAM stack
for core in cortex-m0plus cortex-m3 cortex-m4 cortex-m33; do
  arm-none-eabi-gcc -std=c99 -Wall -Wextra -Werror -pedantic -Os -mcpu=$core -mthumb -fstack-usage -c millrace_device.c -o "$out/device.o"
  stack=$(awk '{ if ($2 > most) most = $2 } END { print most }' "$out"/*.su)
  arm-none-eabi-size "$out/device.o" | awk -v core=$core -v stack="$stack" 'NR == 2 { printf "%-12s %6d %5d %6d\n", core, $1, $2 + $3, stack }'
done
