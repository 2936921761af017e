#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for MILLRACE_FUZZ_SECONDS (default 60) on its small corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v clang++-14 >/dev/null || { echo "clang++-14 is not installed"; exit 77; }
seconds=${MILLRACE_FUZZ_SECONDS:-60}
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target fuzz_batch fuzz_record fuzz_json fuzz_mapping fuzz_patterns fuzz_protobuf fuzz_labels fuzz_text_forms fuzz_framers fuzz_sparkplug fuzz_config fuzz_segment fuzz_mqtt_packets fuzz_marker fuzz_http_reply fuzz_http_request fuzz_modbus fuzz_north_words | tail -n 1
work=$(mktemp -d)
proto='syntax = "proto3"; package plant; import "google/protobuf/timestamp.proto";
message Sample { google.protobuf.Timestamp at = 1; float v = 2; }
message Telemetry { enum State { IDLE = 0; RUN = 1; } string id = 1; double temperature = 2; sint32 count = 3; State state = 6;
  repeated Sample samples = 7; repeated int32 codes = 8; map<string, double> tags = 9; bytes raw = 10; optional int32 maybe = 11; }'
trap 'rm -rf "$work"' EXIT
for target in batch record json mapping patterns protobuf labels text_forms framers sparkplug config segment mqtt_packets marker http_reply http_request modbus north_words; do
  mkdir -p "$work/$target"
  case $target in
    batch) cp tests/golden/batch-1.bin "$work/$target/" ;;
    record) cp tests/golden/record-1-*.bin "$work/$target/" ;;
    json) cp tests/cases/json/parsing/y_*.json "$work/$target/"; printf '{"ts":1700000000,"a":{"b":[1,2]},"c":3,"q":192,"r":[{"v":1},{"v":2}]}' > "$work/$target/message"
          printf '[{"bn":"d/","bt":1.7e9,"n":"a","v":1},{"n":"b","vb":true}]' > "$work/$target/senml"; printf 'a,"b"\n1,2\n' > "$work/$target/csv"
          printf '\xa2\x61\x61\x01\x61\x62\x82\xf9\x3e\x00\x61\x78' > "$work/$target/cbor"; printf '{"t":nan,u:1,}\n{"t":2' > "$work/$target/sloppy"
          printf '$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n$YXXDR,C,19.5,C,air*38\r\n' > "$work/$target/nmea"
          printf '/ISk5\r\n\r\n0-0:1.0.0(101209113020W)\r\n1-0:1.8.1(000671.578*kWh)\r\n0-1:24.3.0(240103140000)(00)(16)(24)(1)(0-1:24.2.1)(m3)\r\n(1.5)\r\n!' > "$work/$target/obis"
          printf '\015\001\000\000\000\020\001\052\010\012\001\141\025\000\000\000\077\052\005\012\001\142\050\001' > "$work/$target/device"
          printf '\010\002\162\170\126\064\022\044\100\001\007\125\000\000\000\003\023\025\061\000\332\002\073\023\001\213\140\004\067\030\002' > "$work/$target/mbus" ;;
    mapping) printf '21.5C;x\n-3\n' > "$work/$target/text"; printf '\001\000\327abc\022\064\101\254' > "$work/$target/bytes"
             printf '{"ts":[1700000000,2],"r":[{"k":"aa","n":2,"v":1,"w":1,"d":"ANcS","c":{"v":[1,2],"w":["x",3]},"id":"d"}]}' > "$work/$target/json"
             printf '{"x":[{"b":"{\\"v\\":1,\\"k\\":\\"a\\",\\"w\\":[{\\"x\\":2}]}","u":"C","d":"2026-01-01","c":"12:00:00"}],"b":"{\\"k\\":\\"a\\"}"}' > "$work/$target/nested"
             printf 'x\nd,c,t\n2026-01-01,12:00,1\n' > "$work/$target/heading"; printf '\377\376{\000"\000t\000"\000:\0001\000}\000' > "$work/$target/utf16"
             # Found: two documents whose repeated values had one place.
             printf '\242\140aabcnd\001\000\000\000\000\000\242\000\000\000\000\000\000\000x' > "$work/$target/documents"
             printf '\242\141a\202\001\002\141b\141x' > "$work/$target/cbor" ;;
    patterns) printf '^(?<a>[a-c]+?)(?:x|y{2,3})*\\b(?<b>\\d|.)$\000aby 1' > "$work/$target/one"; printf '(?i)(?<t>-?[0-9.]+) C\000T 21.5 c' > "$work/$target/two" ;;
    protobuf) mkdir -p "$work/google/protobuf"; printf '%s' "$proto" > "$work/device.proto"
              echo 'syntax = "proto3"; package google.protobuf; message Timestamp { int64 seconds = 1; int32 nanos = 2; }' > "$work/google/protobuf/timestamp.proto"
              protoc -I "$work" --include_imports --descriptor_set_out="$work/device.desc" device.proto
              export MILLRACE_FUZZ_SET=$work/device.desc; cp "$work/device.desc" "$work/$target/set"
              printf '\012\002p1\021\000\000\000\000\000\200\065\100\072\007\012\005\010\200\362\327\312\101\001\002\112\006\012\004hall' > "$work/$target/one" ;;
    labels) printf 'temp\000C' > "$work/$target/nul"; printf '21.5 \260C' > "$work/$target/latin1"; printf '\355\260\200' > "$work/$target/surrogate" ;;
    text_forms) printf '2024-02-29T12:00:00.5+01:00' > "$work/$target/time"; printf 'a/{b}/+/{c...}' > "$work/$target/topic"; printf '1.5s' > "$work/$target/duration" ;;
    framers) printf '\000\00312.5\r\n13\n' > "$work/$target/lines"; printf '\002\001\002 1.5\003\002 2\003' > "$work/$target/stx_etx"
             printf '\007\005$GPGLL,4916.45,N,12311.12,W,225444,A*31\r\n!AIVDM,1,1,,A,14eG;o@034o8sd<L9i:a;WF>062D,0*7D\r\n' > "$work/$target/nmea"
             printf '\011\004\003\001\002\003\004\005\001\000' > "$work/$target/cobs"; printf '\012\001/ISK5\\2M\r\n\r\n1-0:1.8.1(000671.578*kWh)\r\n!\r\n' > "$work/$target/telegram" ;;
    # A birth, and data by alias.
    sparkplug) printf '\000\027\000\022\011\012\001\141\020\001\040\003\120\005\022\010\012\001\142\040\014\172\001\170\030\000\001\010\000\022\004\020\001\120\007\030\001' > "$work/$target/birth"
               # A second try behind a birth that is not saved yet.
               printf '\020\027\000\022\011\012\001a\020\001 \003P\005\022\010\012\001b \014z\001x\030\020\001\010\000\022\004\020\001P\007\030\001\301\301\301\301' > "$work/$target/again" ;;
    segment) for n in 1 2; do { printf '\005'; head -c 20480 tests/golden/log-1/seg-0000000$n.db; cat tests/golden/log-1/*-wal; } > "$work/segment/$n"; done ;;
    modbus) printf 'holding/4+120/1000ms/d\n\003\360' > "$work/$target/reply"; head -c 240 /dev/urandom >> "$work/$target/reply"; printf 'coil/8+8/10000ms/d\n\001\001\002' > "$work/$target/coils" ;;
    mqtt_packets) printf '\007\062\020\000\001a\000\001\000{"value":1}\064\011\000\001b\000\002\0001\142\002\000\002\300\000\340\000' > "$work/$target/talk" ;;
    http_request) printf 'GET /api/devices?part=a%%2Fb+c&max=5 HTTP/1.1\r\nHost: [::1]:9464\r\nSec-Fetch-Site: none\r\n\r\n' > "$work/http_request/one" ;;
    http_reply) printf 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad\r\nRetry-After: 5\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nCode: 27, partial\r\n0\r\n\r\n' > "$work/http_reply/one" ;;
    marker) printf 'MRM1\001\002\003\004\005\006\007\010\052\000\000\000\000\000\000\000\001\002\144\002\151\156\310\001\310\001' > "$work/$target/one" ;;
    north_words) printf '\022\032\012\024Node Control/Rebirth\040\013\160\001' > "$work/$target/rebirth"; printf 'millrace sparkplug 1\nd\tm\t10\tbar\n\tn\t12\t\n' > "$work/$target/book"
                 printf '{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"s","Token":"t","Expiration":"2026-01-01T00:00:00Z"}' > "$work/$target/keys" ;;
    config) cp packaging/millrace.toml "$work/$target/" ;;
  esac
  if ! "build/fuzz/tests/fuzz_$target" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -timeout=10 -artifact_prefix="$work/" "$work/$target" >"$work/log" 2>&1; then
    echo "$target: FAILED"; tail -n 40 "$work/log"; cp "$work"/crash-* "$work"/timeout-* "$work"/oom-* . 2>/dev/null || true; exit 1
  fi
  echo "$target: $(grep -E '^Done' "$work/log" | tail -n 1)"
done
