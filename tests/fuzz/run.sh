#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for MILLRACE_FUZZ_SECONDS (default 60) on its small corpus.
#
# usage: tests/fuzz/run.sh [TARGET...]
#   One input again:  MILLRACE_FUZZ_TARGET=json build/fuzz/tests/fuzz_payloads FILE
#   MILLRACE_FUZZ_KEEP=FOLDER keeps what grew of each corpus there, and begins with what is there already.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v clang++-14 >/dev/null || { echo "clang++-14 is not installed"; exit 77; }
seconds=${MILLRACE_FUZZ_SECONDS:-60}
payloads="json csv pairs influx cbor senml plain nmea obis mbus device binary mapping patterns protobuf sparkplug suggest labels text_forms"
parsers="batch record framers config modbus sunspec device_frames certificate mqtt_packets segment marker http_request http_reply north_words"
targets=${*:-$payloads $parsers}
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target fuzz_payloads fuzz_parsers | tail -n 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
protoc -I tests/fuzz -I /usr/include --include_imports --descriptor_set_out="$work/device.desc" device.proto
export MILLRACE_FUZZ_SET=$work/device.desc UBSAN_OPTIONS=print_stacktrace=1
failed=0
for target in $targets; do
  corpus=${MILLRACE_FUZZ_KEEP:-$work}/$target
  mkdir -p "$corpus"
  [ ! -d "tests/fuzz/corpus/$target" ] || cp tests/fuzz/corpus/"$target"/* "$corpus/"
  case $target in
    batch) cp tests/golden/batch-*.bin "$corpus/" ;;
    record) cp tests/golden/record-1-*.bin "$corpus/" ;;
    json) cp tests/cases/json/parsing/y_*.json "$corpus/" ;;
    protobuf) cp "$work/device.desc" "$corpus/set" ;;
    segment) for n in 1 2; do { printf '\005'; head -c 20480 tests/golden/log-1/seg-0000000$n.db; cat tests/golden/log-1/*-wal; } > "$corpus/log-$n"; done ;;
    config) cp packaging/millrace.toml packaging/examples/*.toml "$corpus/" ;;
  esac
  case " $payloads " in *" $target "*) binary=fuzz_payloads ;; *) binary=fuzz_parsers ;; esac
  if ! MILLRACE_FUZZ_TARGET=$target "build/fuzz/tests/$binary" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -timeout=10 \
      -artifact_prefix="$work/$target-" "$corpus" >"$work/log" 2>&1; then
    failed=1
    echo "$target: FAILED"
    tail -n 40 "$work/log"
    cp "$work/$target"-* . 2>/dev/null || true
    continue
  fi
  echo "$target: $(grep -E '^Done' "$work/log" | tail -n 1); corpus: $(find "$corpus" -type f | wc -l)"
done
exit "$failed"
