#!/usr/bin/env bash
# Installs what Millrace is built with and tested with, from Debian's packages. As root, or with sudo.
# usage: install-deps.sh [build|demo|kafka|test|north|stream|package|arm]
# build, demo, kafka, test: each is the one before and more; test is the default. package: build, and what makes and checks .debs.
# north: the servers that records go to by HTTP, for tests/run.sh https clouds (some 500 MB).
# stream: test, and what the Flink and Spark jobs need. arm: package, and the cross compilers and emulators for arm64 and armhf.
set -euo pipefail
build="g++ cmake ninja-build pkgconf ccache git protobuf-compiler nanopb libnanopb-dev python3-protobuf libuv1-dev libsqlite3-dev
  libzstd-dev zlib1g-dev libhttp-parser-dev libc-ares-dev rapidjson-dev libtomlplusplus-dev libcli11-dev doctest-dev libmbedtls-dev libmodbus-dev libpaho-mqttpp-dev libpaho-mqtt-dev librdkafka-dev"
demo="mosquitto mosquitto-clients openssl python3"
kafka=""  # Java and Maven bring Apache Kafka; where they are there already, from whatever source, they are good
command -v java >/dev/null || kafka="$kafka openjdk-17-jre-headless"
command -v mvn >/dev/null || kafka="$kafka maven"
test="scdoc chromium chromium-driver python3-selenium faketime tmux iproute2 procps curl python3-confluent-kafka python3-zstandard python3-paho-mqtt python3-influxdb socat gpsd gpsd-tools clang-format-14 clang-14 libclang-rt-14-dev
  libsimdjson-dev libcbor-dev libcsv-dev libprotobuf-dev"
package="debhelper dpkg-dev fakeroot lintian scdoc mmdebstrap systemd-container mosquitto python3 bash-completion"
arm="gcc-arm-none-eabi libnewlib-arm-none-eabi crossbuild-essential-arm64 crossbuild-essential-armhf qemu-user-static socat"
north="influxdb victoria-metrics clickhouse-server prometheus tinyproxy"
stream="python3-venv"
command -v javac >/dev/null || stream="$stream openjdk-17-jdk-headless"
case "${1:-test}" in
  build) want="$build" ;;
  demo) want="$build $demo" ;;
  kafka) want="$build $demo $kafka" ;;
  test) want="$build $demo $kafka $test" ;;
  north) want="$build $demo $kafka $test $north" ;;
  stream) want="$build $demo $kafka $test $stream" ;;
  package) want="$build $package" ;;
  arm) want="$build $package $arm" ;;
  *) echo "usage: $0 [build|demo|kafka|test|north|stream|package|arm]" >&2; exit 64 ;;
esac
missing=""
for package in $want; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ -n "${MILLRACE_NO_INSTALL:-}" ]; then  # tests/run.sh --no-install
  echo "not installed, as asked:$missing"
  exit 0
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "these packages are missing, and this is neither root nor is there sudo:$missing" >&2; exit 1; }
  as_root="sudo"
fi
echo "installing:$missing"
# A broker that Debian starts by itself would sit on the port that a site's own broker wants; ours are started by hand.
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
  $as_root chmod 755 "$policy"
  made_policy=1
fi
trap '[ -z "$made_policy" ] || $as_root rm -f "$policy"' EXIT
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
