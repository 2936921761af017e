#!/usr/bin/env bash
# Installs what the tests need, builds, and runs them. One command on a fresh Debian 12, as root or with sudo.
#
# usage: tests/run.sh [--no-install] [--no-build] [quick|full|NAME...]
#   --no-install      installs nothing, and says which packages are missing
#   --no-build        takes build/dev, or what MILLRACE_BUILD names, as it is (so does ctest, which has each of the words below as a test)
#   quick (default)   sanitizer build; unit, contract, golden, simulation, tidy, integration with mosquitto and Kafka
#   full              quick, and: full disks, 2,000 reloads, slow links, kills, Flink and Spark jobs, ARM under qemu, packages, trixie, long simulation,
#                     ThreadSanitizer, fuzz, rabbitmq, bench
#   NAME              one or more of the words in the lists below
# Of quick, what computes runs beside what waits, of which five run at a time; what compares latencies then runs alone.
# The last line is "N passed, N failed, N skipped"; each skip has its reason above it.
set -uo pipefail
cd "$(dirname "$0")/.."
computing="unit contract golden reader simulation tidy"
waiting="endpoint main_job serial https kafka tls otlp log reload clocks modbus page modbus_tls status monitoring clouds faults names sparkplug
  kinds reporting configs examples habits payloads ship modbus_faulty standby journal"  # the longest first
alone="hostile"
quick="$computing $waiting $alone"
slow="alerts otlp_collector fleet sparkplug_edge roles site full_disk hanging_up many_reloads payload_oracle modbus_share serial_pouring firmware_size name_figures many_configs random_configs slow_links kills endpoint_kills page_costs kafka_more https_more clouds_more standby_more stream_jobs cross packages trixie long_unit long_simulation ubsan tsan fuzz
  rabbitmq bench"
build_too=yes
while :; do
  case "${1:-}" in
    --no-install) export MILLRACE_NO_INSTALL=yes ;;
    --no-build) build_too="" ;;
    *) break ;;
  esac
  shift
done
case "${1:-quick}" in
  quick) names=$quick ;;
  full) names="$quick $slow" ;;
  -h|--help) sed -n 's/^# \{0,1\}//p' "$0" | sed -n '2,12p'; for list in computing waiting alone slow; do echo "$list:" ${!list}; done; exit 0 ;;
  *) names="$*" ;;
esac
for name in $names; do
  case " $(echo $quick $slow) " in *" $name "*) ;; *) echo "there is no test called $name" >&2; exit 64 ;; esac
done

counts=$(mktemp)  # a line "passed failed skipped" for each test that ran, from whichever lane
trap 'rm -f "$counts"' EXIT
finish() {
  awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 }' "$counts"
  exit
}
packaging/install-deps.sh test || { echo "the packages could not be installed"; echo 0 1 0 >>"$counts"; finish; }
jobs=$(nproc)
build() { # preset
  cmake --preset "$1" >"build-$1.log" 2>&1 && cmake --build --preset "$1" -j "$jobs" >>"build-$1.log" 2>&1 || { tail -n 40 "build-$1.log"; rm -f "build-$1.log"; return 1; }
  rm -f "build-$1.log"
}
if [ -n "$build_too" ]; then
  echo "== build"
  begin=$SECONDS
  build dev || { echo "the build failed"; echo 0 1 0 >>"$counts"; finish; }
  echo "built in $((SECONDS - begin)) s"
  MILLRACE_BUILD=$PWD/build/dev
fi
export MILLRACE_BUILD=${MILLRACE_BUILD:-$PWD/build/dev} UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=suppressions=$PWD/tests/support/tsan.supp
export LSAN_OPTIONS=print_suppressions=0:suppressions=$PWD/tests/support/lsan.supp

# Counts what a runner says of itself: doctest's and unittest's closing lines.
count() { # output file, exit code
  local ok bad skip
  if grep -q '^\[doctest\] test cases:' "$1"; then
    ok=$(sed -n 's/^\[doctest\] test cases: *[0-9]* | *\([0-9]*\) passed.*/\1/p' "$1" | tail -n 1)
    bad=$(sed -n 's/^\[doctest\] test cases:.*| *\([0-9]*\) failed.*/\1/p' "$1" | tail -n 1)
    skip=0
  elif grep -q '^Ran [0-9]* test' "$1"; then
    local ran errors
    ran=$(sed -n 's/^Ran \([0-9]*\) test.*/\1/p' "$1" | tail -n 1)
    bad=$(sed -n 's/^FAILED (.*failures=\([0-9]*\).*/\1/p' "$1" | tail -n 1)
    errors=$(sed -n 's/^FAILED (.*errors=\([0-9]*\).*/\1/p' "$1" | tail -n 1)
    skip=$(sed -n 's/^\(OK\|FAILED\) (.*skipped=\([0-9]*\).*/\2/p' "$1" | tail -n 1)
    bad=$((${bad:-0} + ${errors:-0})) skip=${skip:-0}
    # A class that is skipped as a whole is none of those that ran.
    ok=$((ran - bad - skip + $(grep -c "^setUpClass .* skipped '" "$1")))
  else
    ok=0 bad=0 skip=0
    [ "$2" = 0 ] && ok=1
  fi
  [ "$2" != 0 ] && [ "${bad:-0}" = 0 ] && bad=1
  echo "${ok:-0} ${bad:-0} ${skip:-0}" >>"$counts"
}
run() { # name command...
  local name=$1 out rc begin=$SECONDS cpu took TIMEFORMAT='%U %S'
  shift
  out=$(mktemp)
  cpu=$(mktemp)
  { time "$@" >"$out" 2>&1; } 2>"$cpu"
  rc=$?
  took="$((SECONDS - begin)) s, $(awk '{ printf "%d", $1 + $2 + 0.5 }' "$cpu") s of CPU"
  rm -f "$cpu"
  if [ "$rc" = 77 ]; then
    echo 0 0 1 >>"$counts"
    echo "== $name: skipped: $(tail -n 1 "$out")"
  else
    count "$out" "$rc"
    if [ "$rc" = 0 ]; then
      echo "== $name: good ($took)"
      grep -h "skipped '" "$out" | sed 's/^/   /'
    else
      echo "== $name: FAILED ($took)"
      # What failed, wherever it stands in a long output, and how it ended.
      grep -n -B 8 -A 6 -E ': (FATAL )?ERROR: |^(FAIL|ERROR): |ERROR: .*Sanitizer' "$out" | head -n 200
      tail -n 100 "$out"
    fi
  fi
  rm -f "$out"
}

programs_of() { # word: those of doctest's, a folder each
  case $1 in
  unit) echo unit unit_drivers unit_uplinks unit_kinds ;;
  contract) echo contract contract_drivers contract_uplinks ;;
  *) echo "$1" ;;
  esac
}
one() { # name of a test
  local name=$1 part
  case $name in
    unit|contract|golden|simulation) for part in $(programs_of "$name"); do run "$part" timeout 600 "$MILLRACE_BUILD/tests/test_$part"; done ;;
    reader) run reader timeout 60 /usr/bin/python3 tests/golden/read_batch_test.py "$MILLRACE_BUILD/generated/record.desc" ;;
    tidy) run tidy timeout 180 /usr/bin/python3 tests/tidy/tidy_test.py ;;
    alerts) run alerts_packages packaging/install-deps.sh north; run alerts timeout 900 /usr/bin/python3 tests/integration/alerts_test.py ;;
    names) run names timeout 300 /usr/bin/python3 tests/integration/names_test.py Names ;;
    name_figures) run name_figures timeout 300 /usr/bin/python3 tests/integration/names_test.py Figures ;;
    main_job|payloads|examples|habits|modbus|modbus_tls|modbus_faulty|site|reporting|faults|status|monitoring|fleet|ship|journal|otlp|otlp_collector|kinds|sparkplug|tls|log|endpoint|hostile|reload|full_disk|clocks) run "$name" timeout 900 /usr/bin/python3 "tests/integration/${name}_test.py" ;;
    sparkplug_edge|roles) run "$name" timeout 300 /usr/bin/python3 "tests/integration/${name}_test.py" ;;
    standby) run standby timeout 300 /usr/bin/python3 tests/integration/standby_test.py Https.test_an_outage_goes_to_the_spare_side_and_nothing_twice; run iot_clouds timeout 300 /usr/bin/python3 tests/integration/iot_clouds_test.py ;;
    standby_more) run standby_more_packages packaging/install-deps.sh north; run standby_more env MILLRACE_KILLS=30 timeout 1800 /usr/bin/python3 tests/integration/standby_test.py; run iot_clouds_more env MILLRACE_KILLS=1 timeout 600 /usr/bin/python3 tests/integration/iot_clouds_test.py ;;
    configs) run configs timeout 120 /usr/bin/python3 tests/integration/configs_test.py Old Serial Once Some
      run some_random_configs env MILLRACE_CONFIGS=4 timeout 120 /usr/bin/python3 tests/integration/random_configs_test.py ;;
    many_configs) run many_configs timeout 900 /usr/bin/python3 tests/integration/configs_test.py All ;;
    random_configs) run random_configs env MILLRACE_CONFIGS=200 timeout 3000 /usr/bin/python3 tests/integration/random_configs_test.py ;;
    serial) run serial timeout 600 /usr/bin/python3 tests/integration/serial_test.py Framings Nmea Plugging InTheMiddle Deaf Servers Asking SigningOn Scanning Devices ;;
    page) run page timeout 300 /usr/bin/python3 tests/integration/page_test.py OnTheWire InABrowser ;;
    page_costs) run page_costs timeout 300 /usr/bin/python3 tests/integration/page_test.py Costs ;;
    modbus_share) run modbus_share env MILLRACE_SHARE=0.95 timeout 300 /usr/bin/python3 tests/integration/modbus_test.py Trouble.test_one_dead_and_one_slow_of_32_cost_the_others_nothing ;;
    serial_pouring) run serial_pouring env MILLRACE_KILLS=50 timeout 1800 /usr/bin/python3 tests/integration/serial_test.py Pouring Streams Devices InTheMiddle.test_a_line_is_not_joined_with_another_over_what_a_full_log_lost ;;
    firmware_size) run firmware_size proto/device/size.sh ;;
    https) run https timeout 300 /usr/bin/python3 tests/integration/https_test.py Stored Lies.test_what_is_no_success \
      Connections.test_as_many_requests_as_connections ;;
    https_more) run https_more_packages packaging/install-deps.sh north; run https_more env MILLRACE_KILLS=30 timeout 1800 /usr/bin/python3 tests/integration/https_test.py ;;
    clouds) run clouds timeout 300 /usr/bin/python3 tests/integration/clouds_test.py Objects.test_batches_are_objects_that_a_reader_reads Pubsub EventHubs Packed
      run https_ways timeout 300 /usr/bin/python3 tests/integration/https_ways_test.py ;;
    clouds_more) run clouds_more_packages packaging/install-deps.sh north; run clouds_more env MILLRACE_KILLS=30 timeout 1800 /usr/bin/python3 tests/integration/clouds_test.py ;;
    kafka) run kafka timeout 600 /usr/bin/python3 tests/integration/kafka_test.py Forms Registry ExactlyOnce.test_kills_with_exactly_once ;;
    kafka_more) run kafka_more env MILLRACE_KILLS=30 timeout 3000 /usr/bin/python3 tests/integration/kafka_test.py ;;
    stream_jobs) run stream_jobs_packages packaging/install-deps.sh stream; run stream_jobs timeout 3000 /usr/bin/python3 tests/integration/stream_jobs_test.py ;;
    cross)
      run cross_build timeout 3000 packaging/build-arm.sh
      run cross timeout 600 /usr/bin/python3 tests/integration/cross_test.py ;;
    packages)
      [ -n "$(ls build/deb/millrace_*_amd64.deb 2>/dev/null)" ] || run packages_build timeout 1800 packaging/build-deb.sh
      run packages timeout 900 /usr/bin/python3 tests/integration/packages_test.py
      run booted timeout 900 /usr/bin/python3 tests/integration/booted_test.py ;;
    trixie) run trixie timeout 3000 tests/integration/trixie.sh ;;
    payload_oracle) run payload_oracle env MILLRACE_PAYLOADS=300000 timeout 3000 "$MILLRACE_BUILD"/tests/test_unit -tc="oracle: *" ;;
    many_reloads) run many_reloads env MILLRACE_RELOADS=2000 MILLRACE_SEED=2 timeout 3000 /usr/bin/python3 tests/integration/reload_test.py UnderLoad ;;
    hanging_up) run hanging_up timeout 600 /usr/bin/python3 tests/integration/links_test.py HangingUp Silence ;;
    slow_links) run slow_links timeout 4500 /usr/bin/python3 tests/integration/links_test.py Mqtt Kafka ;;
    kills) run kills env MILLRACE_KILLS=50 timeout 3000 /usr/bin/python3 tests/integration/main_job_test.py MainJob.test_kill_9_at_random_moments_loses_nothing MainJob.test_kill_9_with_qos_2 MainJob.test_kill_9_with_qos_2_of_mqtt_3_1_1 ;;
    endpoint_kills) run endpoint_kills env MILLRACE_KILLS=50 MILLRACE_CUTS=50 timeout 3000 /usr/bin/python3 tests/integration/endpoint_test.py Durable PowerCuts ;;
    long_unit) for part in $(programs_of unit); do run "long_$part" env MILLRACE_EFFORT=10 timeout 3000 "$MILLRACE_BUILD/tests/test_$part"; done ;;
    long_simulation) run long_simulation env MILLRACE_EFFORT=50 timeout 3000 "$MILLRACE_BUILD"/tests/test_simulation ;;
    ubsan)
      if build ubsan; then
        for part in $(programs_of unit) $(programs_of contract) golden simulation; do run "ubsan_$part" timeout 1800 "build/ubsan/tests/test_$part"; done
      else
        echo 0 1 0 >>"$counts"
      fi ;;
    tsan)
      if build tsan; then
        # Without contract_uplinks: librdkafka's threads are C11's, which the sanitizer of gcc 12 does not know: it crashes in them.
        for part in $(programs_of unit) contract contract_drivers; do run "tsan_$part" timeout 900 "build/tsan/tests/test_$part"; done
        run tsan_reload env MILLRACE_BUILD="$PWD/build/tsan" MILLRACE_RELOADS=40 timeout 900 /usr/bin/python3 tests/integration/reload_test.py
      else
        echo 0 1 0 >>"$counts"
      fi ;;
    fuzz) run fuzz tests/fuzz/run.sh ;;
    rabbitmq) run rabbitmq timeout 600 /usr/bin/python3 tests/integration/rabbitmq_test.py ;;
    bench) run bench tests/bench/run.sh ;;
  esac
}
lane() { # the tests of $names that are among these, one after the other
  local name
  for name in $names; do
    case " $* " in *" $name "*) one "$name" ;; esac
  done
}
several() { # the same, five at a time: when one ends, the next begins
  local name running=0
  for name in "$@"; do
    case " $(echo $names) " in *" $name "*) ;; *) continue ;; esac
    [ "$running" -lt 5 ] || { wait -n; running=$((running - 1)); }
    one "$name" &
    running=$((running + 1))
  done
  wait
}
lane $computing &
several $waiting &
wait
lane $alone $slow
finish
