#!/usr/bin/env bash
# Builds the release and the bench programs, and measures. usage: tests/bench/run.sh [--json FILE] [id ...]
set -euo pipefail
cd "$(dirname "$0")/../.."
cmake --preset release -DMILLRACE_TESTS=ON >/dev/null
cmake --build --preset release --target millrace millrace-sim codec_bench decode_bench log_bench broker_source null_subscriber pipelined_publisher produce_loop modbus_loop modbus_slave north_bench | tail -n 1
cmake --preset core >/dev/null
cmake --build --preset core | tail -n 1
exec /usr/bin/python3 tests/bench/bench.py "$@"
