#!/usr/bin/env bash
# The demonstration, on a fresh Debian 12 as root or with sudo: installs, builds, starts a broker for the devices and a
# second one with TLS as the central side, runs the gateway and a fleet of 200 devices on real series, half of which publish
# to the broker and half straight to the gateway, takes the central side away for 15 s, brings it back, and tells what became
# of every reading. With --central kafka the central side is a real Apache Kafka, which Maven brings, and each reading arrives
# exactly once. Everything on loopback, on free ports, in a temporary folder that is gone afterwards. Ends non-zero if a
# reading is missing (with Kafka: or doubled). --picture draws what was sent, what arrived and what waited meanwhile.
#
# usage: quickstart.sh [--central mqtt|kafka] [--seconds N] [--outage N] [--rate N] [--picture FILE.svg] [--keep]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=60 outage=15 rate=1000 keep="" central=mqtt picture=""
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) seconds=$2; shift 2 ;;
    --outage) outage=$2; shift 2 ;;
    --rate) rate=$2; shift 2 ;;
    --picture) picture=$2; shift 2 ;;
    --keep) keep=1; shift ;;
    --central) central=$2; shift 2 ;;
    *) sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 64 ;;
  esac
done
case "$central" in mqtt|kafka) ;; *) echo "--central is mqtt or kafka" >&2; exit 64 ;; esac

echo "== 1/4 packages"
packaging/install-deps.sh "$([ "$central" = kafka ] && echo kafka || echo demo)"
if [ "$central" = kafka ]; then
  jars=$PWD/build/kafka/lib
  pom=tests/integration/kafka/pom.xml
  cmp -s "$pom" "$jars/complete" || mvn -q -B -f "$pom" dependency:copy-dependencies "-DoutputDirectory=$jars"
  cp "$pom" "$jars/complete"
fi
echo "== 2/4 build"
cmake --preset release -DMILLRACE_TESTS=OFF >/dev/null
cmake --build --preset release --target millrace millrace-sim | tail -n 1
bin=$PWD/build/release

work=$(mktemp -d "${TMPDIR:-/tmp}/millrace-quickstart.XXXXXX")
run=$work/run
[ -d /dev/shm ] && [ -w /dev/shm ] && run=$(mktemp -d /dev/shm/millrace-quickstart.XXXXXX)
pids=""
cleanup() {
  for pid in $pids $(cat "$work/central.pid" 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
  for pid in $pids; do wait "$pid" 2>/dev/null || true; done
  if [ -n "$keep" ]; then echo "kept: $work $run"; else rm -rf "$work" "$run"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM
free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
wait_port() {
  for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0; sleep 0.1; done
  echo "nothing listens on port $1; see $work" >&2; return 1
}

[ "$central" = kafka ] && echo "== 3/4 a broker for the devices, a Kafka, the gateway" || echo "== 3/4 two brokers, the gateway"
packaging/test-ca.sh "$work/tls" >/dev/null
device_port=$(free_port) endpoint_port=$(free_port) central_port=$(free_port) observe_port=$(free_port)
mosquitto=$(command -v mosquitto || echo /usr/sbin/mosquitto)
user=$(id -un)
cat > "$work/devices.conf" <<CONF
user $user
listener $device_port 127.0.0.1
allow_anonymous true
persistence true
persistence_location $work/
persistence_file devices.db
max_queued_messages 0
max_inflight_messages 1000
CONF
cat > "$work/central.conf" <<CONF
user $user
listener $central_port 127.0.0.1
allow_anonymous true
cafile $work/tls/ca.pem
certfile $work/tls/server.pem
keyfile $work/tls/server.key
persistence true
persistence_location $work/
persistence_file central.db
max_queued_messages 0
max_inflight_messages 1000
pid_file $work/central.pid
CONF
if [ "$central" = kafka ]; then
  controller_port=$(free_port)
  cat > "$work/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$central_port,CONTROLLER://127.0.0.1:$controller_port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$work/kafka
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
auto.create.topics.enable=false
CONF
  java=(java -Xmx400m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars/*")  # Java expands the star
  "${java[@]}" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg -c "$work/server.properties" >/dev/null 2>&1
  cat > "$work/central-up.sh" <<CONF
#!/bin/sh
java -Xmx400m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars/*" kafka.Kafka "$work/server.properties" >>"$work/central.log" 2>&1 &
echo \$! > "$work/central.pid"
CONF
else
cat > "$work/central-up.sh" <<CONF
#!/bin/sh
"$mosquitto" -c "$work/central.conf" >>"$work/central.log" 2>&1 &
CONF
fi
cat > "$work/central-down.sh" <<CONF
#!/bin/sh
kill "\$(cat "$work/central.pid")"
CONF
if [ "$central" = kafka ]; then
  uplink="[[uplinks.kafka]]
name = \"central\"
servers = [\"127.0.0.1:$central_port\"]
format = \"batch\"
exactly_once = true
max_interval = \"5s\""
  verified="server = \"kafka://127.0.0.1:$central_port\"
topic = \"millrace.raw,millrace.window,millrace.alarm\""
else
  uplink="[[uplinks.mqtt]]
name = \"central\"
servers = [\"mqtts://127.0.0.1:$central_port\"]
tls_ca = \"$work/tls/ca.pem\"
max_interval = \"5s\""
  verified="server = \"mqtts://127.0.0.1:$central_port\"
tls_ca = \"$work/tls/ca.pem\""
fi
cat > "$work/millrace.toml" <<CONF
[gateway]
name = "quickstart"
runtime_dir = "$run"
[log]
path = "$work/log"
[[inputs.mqtt]]
name = "devices"
servers = ["mqtt://127.0.0.1:$device_port"]
[[inputs.mqtt.routes]]
topic = "plant/{line}/{device}/telemetry"
tags = ["line"]
time = "ts"
metrics = { value = "value" }
[[inputs.mqtt_endpoint]]
name = "straight"
listen = "127.0.0.1:$endpoint_port"
anonymous = true
[[inputs.mqtt_endpoint.routes]]
topic = "plant/{line}/{device}/telemetry"
tags = ["line"]
time = "ts"
metrics = { value = "value" }
[[windows]]
name = "10s"
size = "10s"
allowed_lateness = "10s"
$uplink
[observe]
listen = "127.0.0.1:$observe_port"
CONF
cat > "$work/scenario.toml" <<CONF
drain_timeout = "120s"
[fleet]
server = "mqtt://127.0.0.1:$device_port"
endpoint = "mqtt://127.0.0.1:$endpoint_port"
devices = 200
rate = $rate
duration = "${seconds}s"
series = "real"
data = "$PWD/sim/data"
[central]
$verified
[[outages]]
after = "$((seconds / 3))s"
lasts = "${outage}s"
down = "sh $work/central-down.sh"
up = "sh $work/central-up.sh"
CONF
"$mosquitto" -c "$work/devices.conf" >"$work/devices.log" 2>&1 & pids="$pids $!"
sh "$work/central-up.sh"
wait_port "$device_port"
wait_port "$central_port"
if [ "$central" = kafka ]; then
  topics() { "${java[@]}" org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$central_port" --create --if-not-exists "$@" >"$work/topics.log" 2>&1 || { cat "$work/topics.log"; return 1; }; }
  for topic in millrace.raw millrace.window millrace.alarm; do topics --topic "$topic" --partitions 3; done
  topics --topic millrace-markers --partitions 1 --config cleanup.policy=compact
fi
"$bin/millrace" check -c "$work/millrace.toml"
"$bin/millrace" run -c "$work/millrace.toml" 2>"$work/millrace.log" & gateway=$!
pids="$pids $gateway"
wait_port "$observe_port"
wait_port "$endpoint_port"

echo "== 4/4 200 devices (half of them straight to the gateway) for $seconds s; the central side is away for $outage s after $((seconds / 3)) s"
verdict=0
"$bin/millrace-sim" run "$work/scenario.toml" --json "$work/account.json" --course "$work/course.csv" || verdict=$?
[ -z "$picture" ] || { sim/outage_picture.py "$work/course.csv" > "$picture"; echo "a picture of it: $picture"; }
"$bin/millrace" status --json -c "$work/millrace.toml" > "$work/status.json" || true
python3 - "$work/status.json" "$work/account.json" <<'PY' || verdict=1
import json, sys
status, account = (json.load(open(path)) for path in sys.argv[1:])
written = status["flash_bytes_written"]
print(f"gateway: {status['resident_bytes'] / 1e6:.1f} MB resident, {written / max(1, account['sent']):.0f} bytes written to flash per reading, "
      f"log {status['log']['bytes_used'] / 1e6:.1f} MB, still to send {sum(u['backlog_records'] for u in status['uplinks'])}")
PY
if [ "$central" = kafka ] && ! python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["doubled"] != 0)' "$work/account.json"; then
  echo "readings came twice although exactly_once is set"; verdict=1
fi
kill -0 "$gateway" 2>/dev/null || { echo "the gateway died; its last words:"; tail -n 5 "$work/millrace.log"; verdict=1; }
exit "$verdict"
