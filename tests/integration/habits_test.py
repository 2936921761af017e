#!/usr/bin/python3
"""Habits of real devices, as a technician tries them: a route, a payload, `millrace test`. Each was seen in a public tracker or a
maker's documentation; the payloads were written for this test. What is read is said as "device/metric = value unit [quality] @time": the
device where it is not "d", the time where the payload gives it."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import BUILD

NOON = "@2026-01-01T12:00:00Z"  # 1767268800


class Habit:
    """`told`: words of what could not be read; without them all of it was. `topic`: else "NAME/d"."""

    def __init__(self, name, keys, payload, *readings, told="", topic=None, ignored=False):
        self.name, self.keys, self.readings, self.told, self.ignored = name, keys, list(readings), told, ignored
        self.payload = payload if isinstance(payload, bytes) else payload.encode()
        self.pattern = None if topic else f"{name.replace(' ', '-')}/{{device}}"
        self.topic = topic or f"{name.replace(' ', '-')}/d"


# The lines of part B of the field list.
FIELD = [
    Habit("B1 nan", "", '{"t":nan,"h":45.1}', "h = 45.1"),
    Habit("B1 infinity", "", '{"t":Infinity,"h":1}', "h = 1"),
    Habit("B2", "", '{"t":1e400,"h":1}', "h = 1", told='"t" does not fit a double'),
    Habit("B3", 'each = "r[]"\ntime = "ts"\nmetrics = { v = "v" }',
          '{"r":[{"ts":1767268800,"v":1},{"ts":1767268800,"v":null},{"ts":"soon","v":3},{"ts":1767268800,"v":4}]}',
          f"v = 1 {NOON}", f"v = 4 {NOON}", told='r[2]: not a time: "soon"'),
    Habit("B4 null", 'time = "ts"', '{"ts":null,"t":1}', "t = 1"),
    Habit("B4 empty", 'time = "ts"', '{"ts":"","t":1}', "t = 1"),
    Habit("B4 missing", 'time = "ts"', '{"t":1}', "t = 1"),
    Habit("B5", 'time = "ts"\ntime_zone = "Europe/Berlin"', '{"ts":"2024-07-01T12:00:00","t":1}', "t = 1 @2024-07-01T10:00:00Z"),
    Habit("B6 zero", 'time = "ts"', '{"ts":0,"t":1}', "t = 1", "device_time = 0"),
    Habit("B6 1970", 'time = "ts"', '{"ts":"1970-01-01T00:00:03","t":1}', "t = 1", 'device_time = "1970-01-01T00:00:03"'),
    Habit("B6 uptime", 'time = "ts"', '{"ts":12345,"t":1}', "t = 1", "device_time = 12345"),
    Habit("B7", 'time = "ts"', '{"ts":20240701,"t":1}', told="digits that could be a date"),
    Habit("B7 by a format", 'time = "ts"\ntime_format = "%Y%m%d"', '{"ts":20240701,"t":1}', "t = 1 @2024-07-01T00:00:00Z"),
    Habit("B8 dots", 'time = "ts"\ntime_format = "%d.%m.%Y %H:%M:%S"', '{"ts":"01.07.2024 12:00:00","t":1}', "t = 1 @2024-07-01T12:00:00Z"),
    Habit("B8 slashes", 'time = "ts"', '{"ts":"2024/07/01 12:00:00","t":1}', "t = 1 @2024-07-01T12:00:00Z"),
    Habit("B8 blank", 'time = "ts"', '{"ts":"2024-07-01 12:00:00 +02:00","t":1}', "t = 1 @2024-07-01T10:00:00Z"),
    Habit("B9 number", 'metrics = { t = { path = "t", type = "number" } }', '{"t":"21.5"}', "t = 21.5"),
    Habit("B9 integer", 'metrics = { a = { path = "a", type = "integer" }, b = { path = "b", type = "integer" }, c = { path = "c", type = "integer" } }',
          '{"a":"42","b":21.0,"c":true}', "a = 42", "b = 21", "c = 1"),
    Habit("B10", "", '{"temps":[20.1,20.2],"v":1}', "temps[0] = 20.1", "temps[1] = 20.2", "v = 1"),
    Habit("B11 lists", "", '{"s":[{"v":1},{"v":2}]}', "s[0].v = 1", "s[1].v = 2"),
    Habit("B11 dots", "", '{"a.b":1,"a":{"b":2}}', "'a.b' = 1", "a.b = 2"),
    Habit("B12", '''metrics = { t = "data.'temp.in'" }''', '{"data":{"temp.in":21.5}}', "t = 21.5"),
    Habit("B13", "", b'{"t":1}\0', "t = 1"),
    Habit("B13 plain", 'format = "plain"\nmetrics = { t = {} }', b"21.5\0", "t = 21.5"),
    Habit("B14 mark", "", b'\xef\xbb\xbf{"t":1}', "t = 1"),
    Habit("B14 lines", "", '{"t":1}\n{"t":2}', "t = 1", "t = 2"),
    Habit("B15 large", "", '{"a":9223372036854775808,"b":9223372036854775809}', "a = 9223372036854775808", told='"b" is too large to be kept exactly'),
    Habit("B15 plain", 'format = "plain"\nmetrics = { n = {} }', "9007199254740993", "n = 9007199254740993"),
    Habit("B15 signs", 'format = "plain"\nmetrics = { n = {} }', "+-5", told="not a value"),
    Habit("B16 words", 'quality = "q"\neach = "[]"', '[{"q":"Good","t":1},{"q":"Bad","t":2},{"q":192,"t":3}]', "t = 1", "t = 2 [bad]", "t = 3"),
    Habit("B16 opcua", 'quality = "q"\nquality_format = "opcua"', '{"q":0,"t":1}', "t = 1"),
    Habit("B17", 'each = "r[]"\nmetrics = { fw = "$.fw", v = "v" }', '{"fw":"1.2","r":[{"v":1},{"v":2}]}', "v = 1", "v = 2", 'fw = "1.2"'),
    Habit("B18", 'topic = "esp/{device}/sensor/{metric}/state"\nformat = "plain"\nmetrics = { "{metric}" = {} }', "45.5", "attic/humidity = 45.5",
          topic="esp/attic/sensor/humidity/state"),
    Habit("B19", 'device = "{.model}-{.id}"\ntime = "time"\nmetrics = { t = "temperature_C" }',
          '{"time":"2026-01-01 12:00:00","model":"Acurite-Tower","id":1234,"temperature_C":21.3}', f"Acurite-Tower-1234/t = 21.3 {NOON}"),
    Habit("B20 word", 'format = "plain"\nmetrics = { s = {} }', "online", 's = "online"'),
    Habit("B20 bool", 'format = "plain"\nmetrics = { s = { type = "bool" } }', "ON", "s = true"),
    Habit("B20 comma", 'format = "plain"\ndecimal = ","\nmetrics = { t = {} }', "21,5", "t = 21.5"),
    Habit("B20 unit", 'format = "plain"\nmetrics = { t = {} }', "21.5 °C", "t = 21.5 °C"),
    Habit("B23 ignore", 'topic = "homeassistant/#"\nignore = true', "online", topic="homeassistant/status", ignored=True),
    Habit("B23 empty each", 'each = "r[]"', '{"r":[]}'),
    Habit("B23 nothing", "", ""),
    Habit("B24", "", "21.5", told='the path "@" gives it one, or format = "plain"'),
    Habit("B24 by its path", 'metrics = { t = "@" }', "21.5", "t = 21.5"),
    Habit("B25 senml", 'format = "senml"', '[{"bt":1767268800,"bn":"x/","n":"t","u":"Cel","v":21.5},{"n":"ok","vb":true}]', f"t = 21.5 Cel {NOON}", f"ok = true {NOON}"),
    # An NBIRTH with seq 0 and one metric: name "t", Float, 21.5.
    Habit("B25 sparkplug", 'topic = "spBv1.0/#"\nformat = "sparkplug"', bytes.fromhex("08 80acb7cbb733 12 0a 0a0174 2009 650000ac41 1800"), f"g/n/t = 21.5 {NOON}", topic="spBv1.0/g/NBIRTH/n"),
]
SERIAL = [
    (b"12.345\r12.346\r", ["weight = 12.345", "weight = 12.346"]),         # B21
    (b"ST,GS,+  12.345kg\r\n", ["weight = 12.345 kg"]),                    # B22
    (b"   12.345 kg\r\n", ["weight = 12.345 kg"]),
]

RUUVI = "0201061BFF990405" + "12FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"
MORE = [
    # Double encoding: a JSON text in JSON.
    Habit("chirpstack 3 objectJSON", 'device = "{.devName}"\nmetrics = { t = { path = "objectJSON.temperature", unit = "C" }, ok = "objectJSON.list[1].ok" }',
          r'{"devName":"hall","objectJSON":"{\"temperature\":21.5,\"list\":[0,{\"ok\":true}]}"}', "hall/t = 21.5 C", "hall/ok = true"),
    Habit("onem2m", 'metrics = { t = "m2m:cin.con.t" }', r'{"m2m:cin":{"con":"{\"t\":21.5}"}}', "t = 21.5"),
    Habit("teltonika modbus", 'metrics = { r = "data[0]" }\ntime = "time"', '{"time":1767268800,"data":"[215]"}', f"r = 215 {NOON}"),
    # Each device's readings beside the others'.
    Habit("thingsboard gateway", 'each = "*[]"\ndevice = "{@key}"\ntime = "ts"\nmetrics = { t = "values.t" }',
          '{"Device A":[{"ts":1767268800000,"values":{"t":42}},{"ts":1767268800000,"values":{"t":43}}],"Device B":[{"ts":1767268800000,"values":{"t":1}}]}',
          f"Device A/t = 42 {NOON}", f"Device A/t = 43 {NOON}", f"Device B/t = 1 {NOON}"),
    Habit("ubidots", 'each = "*"\ntime = "timestamp"\nmetrics = { "{@key}" = "value" }', '{"temperature":{"value":21.5,"timestamp":1767268800000,"context":{}},"hum":{"value":45}}',
          f"temperature = 21.5 {NOON}", "hum = 45"),
    Habit("telegraf json", 'each = "metrics[].fields.*"\ndevice = "{^.tags.host}"\ntime = "^.timestamp"\nmetrics = { "{^.name}_{@key}" = "@" }',
          '{"metrics":[{"fields":{"idle":98.5,"user":1},"name":"cpu","tags":{"host":"box"},"timestamp":1767268800}]}',
          f"box/cpu_idle = 98.5 {NOON}", f"box/cpu_user = 1 {NOON}"),
    Habit("fronius units", 'each = "Body.*"\nmetrics = { "{@key}" = { path = "Values.1", unit = "{.Unit}" } }',
          '{"Head":{},"Body":{"PAC":{"Unit":"W","Values":{"1":1234}},"DAY_ENERGY":{"Unit":"Wh","Values":{"1":5678}},"TOTAL":{"Values":{"1":9}}}}',
          "PAC = 1234 W", "DAY_ENERGY = 5678 Wh", "TOTAL = 9"),
    Habit("tasmota two sensors", 'each = "*"\nwhen = "Temperature"\ntime = "$.Time"\ndevice = "{@key}"\nmetrics = { t = { path = "Temperature", unit = "{$.TempUnit}" } }',
          '{"Time":"2026-01-01T12:00:00","DS18B20-1":{"Id":"0113","Temperature":21.5},"DS18B20-2":{"Id":"0114","Temperature":22},"TempUnit":"C"}',
          f"DS18B20-1/t = 21.5 C {NOON}", f"DS18B20-2/t = 22 C {NOON}"),
    # Sentinels, and what stands for nothing.
    Habit("sentinel", 'metrics = { t = { path = "t", no_value = -127 }, pm = { path = "pm", no_value = -1, scale = 0.1 } }', '{"t":-127,"pm":35}', "pm = 3.5"),
    Habit("victron nothing", 'metrics = { v = "value" }', '{"value":[]}'),
    Habit("victron null", 'metrics = { v = "value" }', '{"value":null}'),
    Habit("home assistant unavailable", 'format = "plain"\nmetrics = { t = { type = "number" } }', "unavailable"),
    Habit("home assistant unknown", 'metrics = { t = { path = "state", type = "number" } }', '{"state":"unknown"}'),
    Habit("dashes", 'metrics = { t = { path = "t", type = "number" }, h = { path = "h", type = "number" } }', '{"t":"--","h":"45"}', "h = 45"),
    # Numbers as people and locales write them.
    Habit("no-break space", 'metrics = { t = { path = "t", type = "number" } }', '{"t":"21.5\u00a0°C"}', "t = 21.5 °C"),
    Habit("typographic minus", 'metrics = { t = { path = "t", type = "number" } }', '{"t":"\u22125.5"}', "t = -5.5"),
    Habit("degree alone", 'format = "plain"\nmetrics = { t = {} }', "21.5°", "t = 21.5 °"),
    Habit("thousands", 'metrics = { t = { path = "t", type = "number" } }', '{"t":"1,234.5"}', told='"t" is not a number: 1,234.5'),
    Habit("below the limit", 'metrics = { t = { path = "t", type = "number" } }', '{"t":"<0.1"}', told="is not a number: <0.1"),
    Habit("sys uptime", 'topic = "$SYS/broker/uptime"\ndevice = "broker"\nformat = "plain"\nmetrics = { uptime = {} }', "1234 seconds", "broker/uptime = 1234 seconds", topic="$SYS/broker/uptime"),
    Habit("hex of a receiver", 'metrics = { code = { path = "RfReceived.Data", type = "integer" } }', '{"RfReceived":{"Data":"0x144FA4"}}', "code = 1331108"),
    Habit("json between stx and etx", "", b'\x02{"t":21.5}\x03', "t = 21.5"),
    Habit("plc literals", 'metrics = { a = { path = "a", type = "number" }, b = { path = "b", type = "integer" } }', '{"a":"16#FF","b":"2#1010_0001"}', "a = 255", "b = 161"),
    Habit("hex with an h", 'metrics = { a = { path = "a", type = "number" } }', '{"a":"1Fh"}', told='"a" is not a number: 1Fh'),
    # Bytes that are JSON to those who wrote them.
    Habit("python repr", "", "{'t': 21.5, 'ok': True, 'x': None}", "t = 21.5", "ok = true"),
    Habit("javascript", "", "{t:21.5,h:+45,}", "t = 21.5", "h = 45"),
    Habit("utf-16", "", '\ufeff{"t":21.5,"u":"°C"}'.encode("utf-16-le"), "t = 21.5", 'u = "°C"'),
    Habit("utf-16 big", 'format = "plain"\nmetrics = { t = {} }', '\ufeff21.5 °C'.encode("utf-16-be"), "t = 21.5 °C"),
    Habit("utf-16 csv", 'format = "csv"', '\ufefft;u\r\n21,5;°C\r\n'.replace(";", ",").replace("21,5", "21.5").encode("utf-16-le"), "t = 21.5", 'u = "°C"'),
    Habit("esp heap", "", '{"t":21.5,"h":}', "t = 21.5"),
    # Names and places.
    Habit("shelly gen2 notify", 'device = "{.src}"\ntime = "params.ts"\nmetrics = { v = { path = "params.em:0.a_voltage", unit = "V" } }',
          '{"src":"shellypro3em-1","method":"NotifyStatus","params":{"ts":1767268800,"em:0":{"id":0,"a_voltage":230.1}}}', f"shellypro3em-1/v = 230.1 V {NOON}"),
    Habit("go-e list", 'metrics = { u1 = "[0]", p = "[3]" }', "[230,231,229,1400]", "u1 = 230", "p = 1400"),
    Habit("register numbers", 'metrics = { a = "40001", b = { path = "40002", type = "integer" } }', '{"40001":215,"40002":"0x00D7"}', "a = 215", "b = 215"),
    Habit("knx group address", 'topic = "knx/{main}/{middle}/{sub}"\ndevice = "knx"\nmetrics = { "{main}/{middle}/{sub}" = "value" }', '{"value":21.5,"dpt":"9.001"}', "knx/1/2/3 = 21.5",
          topic="knx/1/2/3"),
    Habit("wiren board", 'topic = "/devices/{device}/controls/{control}"\nformat = "plain"\nmetrics = { "{control}" = {} }', "21.5", "wb-msw-v3_21/Air Temperature = 21.5",
          topic="/devices/wb-msw-v3_21/controls/Air Temperature"),
    Habit("beckhoff iot", 'each = "Values.*"\ntime = "$.Timestamp"\nmetrics = { "{@key}" = "@" }', '{"Timestamp":"2026-01-01T12:00:00.000","GroupName":"G","Values":{"MAIN.fTemp":21.5,"MAIN.bOn":true}}',
          f"MAIN.fTemp = 21.5 {NOON}", f"MAIN.bOn = true {NOON}"),
    Habit("fiware", 'each = "*"\nwhen = "value"\ndevice = "{$.id}"\nmetrics = { "{@key}" = "value" }',
          '{"id":"urn:ngsi-ld:Room:1","type":"Room","temperature":{"value":21.5,"type":"Number","metadata":{}}}', "urn:ngsi-ld:Room:1/temperature = 21.5"),
    Habit("lwm2m json", 'each = "e[]"\nmetrics = { "{^.bn}{.n}" = "v" }', '{"bn":"/3303/0/","e":[{"n":"5700","v":21.5}]}', "/3303/0/5700 = 21.5"),
    Habit("iot central", 'each = "telemetry[]"\ndevice = "{$.deviceId}"\ntime = "$.enqueuedTime"\nmetrics = { "{.name}" = "value" }',
          '{"deviceId":"pump","enqueuedTime":"2026-01-01T12:00:00.000Z","telemetry":[{"name":"t","value":21.5},{"name":"on","value":true}]}', f"pump/t = 21.5 {NOON}", f"pump/on = true {NOON}"),
    Habit("kura", 'time = "sentOn"\neach = ""\nmetrics = { t = "metrics.t" }', '{"sentOn":1767268800000,"metrics":{"t":21.5}}', f"t = 21.5 {NOON}"),
    Habit("owntracks", 'when = "_type == \'location\'"\ntime = "tst"\nmetrics = { lat = "lat", lon = "lon" }', '{"_type":"location","tst":1767268800,"lat":52.5,"lon":13.4}',
          f"lat = 52.5 {NOON}", f"lon = 13.4 {NOON}"),
    Habit("meshtastic", 'when = "type == \'telemetry\'"\ndevice = "{.from}"\ntime = "timestamp"\nmetrics = { battery = "payload.battery_level" }',
          '{"from":2130636288,"payload":{"battery_level":101},"timestamp":0,"type":"telemetry"}', "2130636288/battery = 101", "2130636288/device_time = 0"),
    # Bytes in texts.
    Habit("ruuvi gateway", 'format = "binary"\ninside = "data"\nencoding = "hex"\ntime = "ts"\n[inputs.mqtt.routes.fields]\n'
          't = { at = 8, type = "i16", scale = 0.005, unit = "C", no_value = -32768 }\nh = { at = 10, type = "u16", scale = 0.0025, unit = "%" }\n'
          'p = { at = 12, type = "u16", offset = 50000, unit = "Pa" }\nbattery = { at = 20, type = "bits", bit = 5, bits = 11, length = 2, scale = 0.001, offset = 1.6, unit = "V" }',
          '{"gw_mac":"C8:25:2D:8E:9C:2C","rssi":-60,"ts":"1767268800","data":"%s"}' % RUUVI, f"t = 24.3 C {NOON}", f"h = 53.49 % {NOON}", f"p = 100044 Pa {NOON}", f"battery = 2.977 V {NOON}"),
    Habit("sigfox", 'format = "binary"\ninside = "data"\nencoding = "hex"\ntime = "time"\ndevice = "{.device}"\nmetrics = { t = "data.t" }\nfields = { t = { at = 0, type = "i16", scale = 0.1 } }',
          '{"device":"1A2B","time":"1767268800","data":"00d7"}', f"1A2B/t = 21.5 {NOON}"),
    # Times.
    Habit("wcf date", 'time = "d"', r'{"d":"\/Date(1767268800000+0100)\/","t":1}', f"t = 1 {NOON}"),
    Habit("filetime", 'time = "ts"\ntime_format = "filetime"', '{"ts":134117424000000000,"t":1}', f"t = 1 {NOON}"),
    Habit("us time", 'time = "ts"\ntime_format = "%m/%d/%Y %I:%M:%S %p"', '{"ts":"1/1/2026 12:00:00 PM","t":1}', f"t = 1 {NOON}"),
    Habit("gsm time", 'time = "ts"\ntime_format = "%Y%m%d%H%M%S"', '{"ts":"20260101120000","t":1}', f"t = 1 {NOON}"),
    Habit("http date", 'time = "ts"\ntime_format = "%a, %d %b %Y %H:%M:%S %Z"', '{"ts":"Thu, 01 Jan 2026 12:00:00 GMT","t":1}', f"t = 1 {NOON}"),
    Habit("date and time apart", 'time = "date"\ntime_of_day = "clock"', '{"date":"2026-01-01","clock":"12:00:00","t":1}', f"t = 1 {NOON}"),
    # Tables and texts.
    Habit("german logger", 'format = "csv"\nseparator = ";"\ndecimal = ","\ntime = "Datum"\ntime_of_day = "Uhrzeit"\ntime_format = "%d.%m.%Y %H:%M:%S"',
          "Datum;Uhrzeit;T1\r\n01.01.2026;12:00:00;21,5\r\n01.01.2026;12:00:00;\r\n", f"T1 = 21.5 {NOON}"),
    Habit("campbell toa5", 'format = "csv"\nskip_lines = 4\ncolumns = ["ts", "record", "AirTC"]\ntime = "ts"\nmetrics = { t = { path = "AirTC", type = "number" } }',
          '"TOA5","CR1000","CR1000","1"\n"TIMESTAMP","RECORD","AirTC"\n"TS","RN","Deg C"\n"","","Avg"\n"2026-01-01 12:00:00",1,21.5\n"2026-01-01 12:00:00",2,"NAN"\n', f"t = 21.5 {NOON}"),
    Habit("xml", "format = \"text\"\nper = \"payload\"\npattern = '(?s)<temp>(?<t>[^<]*)</temp>.*<hum>(?<h>[^<]*)</hum>'", "<r>\n <temp>21.5</temp>\n <hum>45</hum>\n</r>", "t = 21.5", "h = 45"),
    Habit("query string", "format = \"text\"\npattern = 'field1=(?<t>[-0-9.]+)&field2=(?<h>[-0-9.]+)'", "field1=21.5&field2=45&status=MQTTPUBLISH", "t = 21.5", "h = 45"),
    # A list whose elements another path names, too: none of them is lost by that.
    Habit("chirpstack gateways", 'each = "rxInfo[]"\ntime = "$.rxInfo[0].nsTime"\ndevice = "{$.deviceInfo.devEui}"\nmetrics = { t = "$.object.temperature", "rssi_{.gatewayId}" = "rssi" }',
          '{"deviceInfo":{"devEui":"x"},"object":{"temperature":21.5},"rxInfo":[{"nsTime":"2026-01-01T12:00:00Z","gatewayId":"a","rssi":-36},{"gatewayId":"b","rssi":-90}]}',
          f"x/rssi_a = -36 {NOON}", f"x/rssi_b = -90 {NOON}", f"x/t = 21.5 {NOON}"),
    Habit("senml by paths", 'each = "[]"\ndevice = "{$[0].bn}"\nmetrics = { "{.n}" = "v" }', '[{"bn":"dev1","n":"t","v":1},{"n":"h","v":2}]', "dev1/t = 1", "dev1/h = 2"),
    Habit("a header in the list", 'each = "[]"\ndevice = "{$[0].serial}"\nmetrics = { "{.n}" = "v" }', '[{"serial":"dev1","fw":"1.2"},{"n":"t","v":1}]', "dev1/t = 1"),
    Habit("one of the members", 'each = "*"\nmetrics = { "{@key}" = "value", fw = "$.system.version" }', '{"system":{"version":"1.2","value":7},"t":{"value":21.5}}', 'fw = "1.2"', "system = 7", "t = 21.5"),
    Habit("thingsboard with a first", 'each = "*[]"\ntime = "ts"\nmetrics = { "{@key}" = "value", since = "$.t[0].ts" }', '{"t":[{"ts":1767268800000,"value":1},{"ts":1767268800000,"value":2}]}',
          f"t = 1 {NOON}", f"t = 2 {NOON}", "since = 1767268800000"),
    Habit("asked by its place", 'each = "readings[]"\nwhen = "$.readings[0].type == \'climate\'"\nmetrics = { v = "v" }', '{"readings":[{"type":"climate","v":1},{"v":2}]}', "v = 1", "v = 2"),
    Habit("bare values above a limit", 'each = "temps[]"\nwhen = "@ > -100"', '{"temps":[21.5,-127,22]}', "temps[0] = 21.5", "temps[2] = 22"),
    # What is there to hold values and holds none.
    Habit("no decoder yet", 'metrics = { t = "object.temperature", h = "object.humidity" }', '{"fPort":0,"data":"","object":{}}'),
    Habit("no decoder at all", 'metrics = { t = "uplink_message.decoded_payload.temperature" }', '{"uplink_message":{"f_port":1,"decoded_payload":null}}'),
    Habit("a sensor that is gone", 'metrics = { t = "DS18B20.Temperature" }', '{"Time":"2026-01-01T12:00:00","DS18B20":null,"TempUnit":"C"}'),
    Habit("a bad tag of a server", 'each = "tags[]"\nquality = "q"\nmetrics = { "{.id}" = "v" }', '{"tags":[{"id":"a","v":1,"q":"Good"},{"id":"b","q":"BadNotConnected"}]}', "a = 1"),
    Habit("a tag without a word why", 'each = "tags[]"\nquality = "q"\nmetrics = { "{.id}" = "v" }', '{"tags":[{"id":"a","v":1,"q":"Good"},{"id":"b","q":"Good"}]}', "a = 1", told="tags[1]: none of the wanted values is in it"),
    Habit("a word in place of an object", 'metrics = { t = "sensor.t" }', '{"sensor":"offline"}', told="none of the wanted values"),
    Habit("a text where a truth is wanted", 'metrics = { on = { path = "on", type = "bool" } }', '{"on":"open"}', told="is neither true nor false: open"),
    # Names with an apostrophe.
    Habit("apostrophe", 'when = "it\'s == 1 and kid\'s != null"\nmetrics = { t = "kid\'s.room" }', '{"it\'s":1,"kid\'s":{"room":21.5}}', "t = 21.5"),
    # Times.
    Habit("go time", 'time = "ts"', '{"ts":"2026-01-01 12:00:00.000000000 +0000 UTC","t":1}', f"t = 1 {NOON}"),
    Habit("java zoned time", 'time = "ts"', '{"ts":"2026-01-01T13:00:00+01:00[Europe/Berlin]","t":1}', f"t = 1 {NOON}"),
    Habit("ruby time", 'time = "ts"', '{"ts":"2026-01-01 12:00:00 UTC","t":1}', f"t = 1 {NOON}"),
    Habit("basic time", 'time = "ts"', '{"ts":"20260101T120000Z","t":1}', f"t = 1 {NOON}"),
    Habit("mongo time", 'time = "ts.$date"', '{"ts":{"$date":1767268800000},"t":1}', f"t = 1 {NOON}"),
    # Tables.
    Habit("trailing separators", 'format = "csv"\nseparator = ";"\ndecimal = ","\ntime = "ts"', "ts;t1;t2\r\n2026-01-01 12:00:00;21,5;22,5;\r\n", f"t1 = 21.5 {NOON}", f"t2 = 22.5 {NOON}"),
    Habit("one cell too many", 'format = "csv"\ncolumns = ["a", "b"]', "1,2,3\n4,5,,\n", "a = 4", "b = 5", told="line 1: 3 cells for 2 columns"),
    # What these families send, as a technician writes them down.
    Habit("shelly by component", 'each = "params.*"\nwhen = "apower != null"\ndevice = "{$.src}"\ntime = "$.params.ts"\nmetrics = { "{@key}_power" = { path = "apower", unit = "W" } }',
          '{"src":"plug","method":"NotifyStatus","params":{"ts":1767268800,"switch:0":{"id":0,"apower":12.5},"switch:1":{"id":1,"apower":0},"sys":{"uptime":5}}}',
          f"plug/switch:0_power = 12.5 W {NOON}", f"plug/switch:1_power = 0 W {NOON}"),
    Habit("shelly whole", 'each = "params{}"\ndevice = "{$.src}"\ntime = "ts"', '{"src":"plug","params":{"ts":1767268800,"switch:0":{"apower":12.5}}}', f"plug/switch:0.apower = 12.5 {NOON}"),
    Habit("victron path", 'topic = "N/{id}/{service}/{instance}/{path...}"\ndevice = "{id}-{service}-{instance}"\nmetrics = { "{path}" = "value" }', '{"max":70,"min":0,"value":52.1}',
          "c0619ab-battery-0/Dc/0/Voltage = 52.1", topic="N/c0619ab/battery/0/Dc/0/Voltage"),
    Habit("neuron", 'each = "values.*"\ndevice = "{$.node}"\ntime = "$.timestamp"\nmetrics = { "{@key}" = "@" }', '{"timestamp":1767268800000,"node":"plc","values":{"t":21.5,"s":"run"},"errors":{"h":3003}}',
          f"plc/t = 21.5 {NOON}", f'plc/s = "run" {NOON}'),
    Habit("aws documents", 'topic = "$aws/things/{device}/shadow/update/documents"\neach = "current.state.reported{}"\ntime = "$.timestamp"',
          '{"previous":{"state":{"reported":{"t":1}}},"current":{"state":{"desired":{"t":2},"reported":{"t":3,"rgb":{"r":1}}}},"timestamp":1767268800}', f"d/t = 3 {NOON}".replace("d/", ""), f"rgb.r = 1 {NOON}",
          topic="$aws/things/d/shadow/update/documents"),
    Habit("teltonika", 'each = "state.reported{}"\ntime = "ts"\nmetrics = { u = { path = "66", scale = 0.001, unit = "V" }, at = "latlng" }', '{"state":{"reported":{"66":12345,"ts":1767268800000,"latlng":"54.1,25.2"}}}',
          f"u = 12.345 V {NOON}", f'at = "54.1,25.2" {NOON}'),
    Habit("milesight history", 'each = "object.history[]"\ntime = "timestamp"\ndevice = "{$.deviceInfo.devEui}"', '{"deviceInfo":{"devEui":"x"},"object":{"history":[{"timestamp":1767268800,"t":21.5},{"timestamp":1767268800,"h":45}],"battery":90}}',
          f"x/t = 21.5 {NOON}", f"x/h = 45 {NOON}"),
    Habit("influx lines", "format = \"text\"\npattern = '^(?<m>[^, ]+),host=(?<h>[^, ]+) usage=(?<usage>[-0-9.]+) (?<ts>[0-9]+)$'\ntime = \"ts\"\ndevice = \"{.h}\"\nmetrics = { \"{.m}_usage\" = { path = \"usage\", type = \"number\" } }",
          "cpu,host=a usage=1.5 1767268800000000000\ncpu,host=b usage=2.5 1767268800000000000\n", f"a/cpu_usage = 1.5 {NOON}", f"b/cpu_usage = 2.5 {NOON}"),
    Habit("kepware quality", 'quality = "q"\neach = "[]"', '[{"q":"Good, Non-specific","t":1},{"q":"BadNotConnected","t":2},{"q":"Uncertain_LastKnownValue","t":3},{"q":"0x80000000","t":4}]',
          "t = 1", "t = 2 [bad]", "t = 3 [uncertain]", "t = 4 [bad]"),
]

# Names and values in pairs: forms, logfmt, what a sketch prints, the lines of a modem.
PAIRS = [
    Habit("thingspeak form", 'format = "pairs"\nseparator = "&"\nmetrics = { t = { path = "field1", unit = "C" }, h = "field2" }', "field1=21.5&field2=45&status=MQTTPUBLISH", "t = 21.5 C", "h = 45"),
    Habit("form with escapes", 'format = "pairs"\nseparator = "&"\ntime = "ts"', "ts=2026-01-01T12%3A00%3A00Z&t=-3.5&name=Hall+7%2C+K%C3%BCche&empty=", f"t = -3.5 {NOON}", f'name = "Hall 7, Küche" {NOON}'),
    Habit("commas", 'format = "pairs"', "temp=21.5,hum=40", "temp = 21.5", "hum = 40"),
    Habit("colons", 'format = "pairs"\nseparator = ";"', "T:21.5;H:40;", "T = 21.5", "H = 40"),
    Habit("a sketch", 'format = "pairs"\nseparator = " "\nmetrics = { t = { path = "Temp", type = "number" }, h = { path = "Hum", type = "number" } }', "Temp: 21.5 C Hum: 40 %\r\n", "t = 21.5 C", "h = 40 %"),
    Habit("a node in front", 'format = "pairs"\ndevice = "{.1}"\nmetrics = { t = "T", pos = "pos" }', "node7,T=21.5,pos=54.1,25.2,RSSI=-90", "node7/t = 21.5", 'node7/pos = "54.1,25.2"'),
    Habit("logfmt", 'format = "pairs"\nseparator = " "\ntime = "ts"', 'ts=2026-01-01T12:00:00Z level=info msg="door \\"A\\" open" t=21.5 ok=true', f'level = "info" {NOON}', f'msg = "door \\"A\\" open" {NOON}', f"t = 21.5 {NOON}", f"ok = true {NOON}"),
    Habit("modem lines", 'format = "pairs"\nseparator = "\\n"\nmetrics = { imei = { path = "IMEI", type = "text" }, rssi = { path = "RSSI", type = "number" }, csq = { path = "+CSQ", pattern = "^(?<value>[0-9]+)," } }',
          "IMEI: 356938035643809\r\nRSSI: -71 dBm\r\n+CSQ: 18,99\r\n\r\nOK\r\n", 'imei = "356938035643809"', "rssi = -71 dBm", "csq = 18"),
    Habit("java map", 'format = "pairs"', "{t=21.5, h=40, state=run}", "t = 21.5", "h = 40", 'state = "run"'),
    Habit("start and end markers", 'format = "pairs"\nseparator = ";"\ndecimal = ","', "<T=21,5;H=40>", "T = 21.5", "H = 40"),
    Habit("sensors by address", 'format = "pairs"\nmetrics = { roof = "28:FF:64:1E" }', "28:FF:64:1E=21.5,28:FF:64:2A=-127", "roof = 21.5"),
    Habit("one bad pair", 'format = "pairs"\nmetrics = { t = { path = "t", type = "number" }, h = { path = "h", type = "number" } }', "t=err,h=40", "h = 40", told='"t" is not a number: err'),
    Habit("no pair", 'format = "pairs"\nseparator = "\\n"', "rebooting", told="there is no pair in it: rebooting"),
]

# Of each family what comes by its topics: (topic, payload), and how many readings that makes.
SEEN = {
    "esphome": (4, ("kitchen/sensor/temperature/state", "21.5"), ("kitchen/sensor/humidity/state", "45"), ("attic/sensor/temperature/state", "20"), ("attic/sensor/humidity/state", "50")),
    "statestream": (3, ("homeassistant/sensor/kitchen/state", "21.5"), ("homeassistant/sensor/kitchen/last_changed", '"2026-01-01T12:00:00.5+00:00"'),
                    ("homeassistant/sensor/kitchen/unit_of_measurement", '"°C"')),
    "typed values": (2, ("luft/x", '{"sensordatavalues":[{"value_type":"SDS_P1","value":"12.30"},{"value_type":"temperature","value":"21.50"}]}')),
    "java time": (1, ("ignition/tags/line1", '{"value":42.5,"quality":"Good","timestamp":"Thu Jan 01 12:00:00 UTC 2026"}')),
    "wled": (4, ("wled/desk/v", '<?xml version="1.0" ?><vs><ac>128</ac><cl>255</cl><cl>160</cl><ds>WLED</ds></vs>')),
    "a form": (4, ("esp/a/up", "t=21.5&h=40"), ("esp/b/up", "t=22&h=41")),
    "a modem": (3, ("modem/m1/lines", "RSSI: -71 dBm"), ("modem/m1/lines", "TEMP: 21.5 C"), ("modem/m1/lines", "STATE: run")),
    "evcc": (3, ("evcc/loadpoints/1/chargePower", "0"), ("evcc/loadpoints/1/phases", "3"), ("evcc/loadpoints/2/chargePower", "3500")),
    "tag server": (2, ("plc/line1/values", '{"timestamp":1767268800500,"values":[{"id":"Speed","v":42,"q":true,"t":1767268800000},{"id":"On","v":true,"q":true,"t":1767268800000}]}')),
    "phases": (4, ("tele/plug/SENSOR", '{"Time":"2026-01-01T12:00:00","ENERGY":{"Today":[0.1,0.2],"Power":[42,3]}}')),
    "lines and presses": (3, ("plant/l1/p1/up", '{"t":1}'), ("plant/l1/p2/up", '{"t":2}'), ("plant/l2/p1/up", '{"t":3}')),
    "a receiver": (3, ("rtl_433/host/events", '{"time":"2026-01-01 12:00:00","id":1,"t":21.5}'), ("rtl_433/host/events", '{"time":"2026-01-01 12:00:00","id":2,"t":3.5}'),
                   ("rtl_433/host/events", '{"time":"2026-01-01 12:00:01","id":1,"t":21.6}')),
    "shelly": (4, ("plug-a8/events/rpc", '{"src":"plug-a8","params":{"ts":1767268800.5,"switch:0":{"apower":12.5,"output":true}}}'),
               ("plug-a8/events/rpc", '{"src":"plug-a8","params":{"ts":1767268801.5,"switch:0":{"apower":13,"output":true}}}')),
}


def config_of(habits):
    """All of them as routes of one input, and a scale on a serial line."""
    routes = "".join("\n[[inputs.mqtt.routes]]\n" + ("" if h.keys.startswith("topic") else f'topic = "{h.pattern}"\n') + h.keys + "\n" for h in habits)
    return f"""
[gateway]
name = "gw"
[log]
path = "/var/lib/none"
[[inputs.mqtt]]
name = "devices"
servers = ["mqtt://127.0.0.1:1"]
{routes}
[[inputs.serial]]
name = "scale"
device = "/dev/serial/by-id/none"
[inputs.serial.route]
format = "plain"
metrics = {{ weight = {{}} }}
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:2"]
"""


def in_words(line):
    r = json.loads(line)
    quality = f" [{r['quality']}]" if "quality" in r else ""
    unit = f" {r['unit']}" if "unit" in r else ""
    time = f" @{r['time']}" if r["time_trust"] == "device" else ""
    return f"{'' if r['device'] in ('d', 'scale') else r['device'] + '/'}{r['metric']} = {json.dumps(r['value'], ensure_ascii=False)}{unit}{quality}{time.replace('.000000Z', 'Z')}"


class Habits(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-test-")
        self.config = Path(self.folder.name) / "millrace.toml"

    def tearDown(self):
        self.folder.cleanup()

    def run_test(self, payload, *arguments):
        done = subprocess.run([str(BUILD / "millrace"), "test", "-c", str(self.config), *arguments], input=payload, capture_output=True, timeout=30)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def try_all(self, habits):
        self.config.write_text(config_of(habits))
        for habit in habits:
            with self.subTest(habit.name, payload=habit.payload):
                code, said, complaint = self.run_test(habit.payload, "--input", "devices", "--topic", habit.topic, "--json")
                self.assertEqual(sorted(map(in_words, said.splitlines())), sorted(habit.readings), complaint)
                self.assertEqual(code, 1 if habit.told else 0, complaint)
                if not habit.told and not habit.ignored:
                    continue
                _, words, _ = self.run_test(habit.payload, "--input", "devices", "--topic", habit.topic)
                self.assertIn(habit.told or "ignored", words)

    def test_the_lines_of_the_field_list(self):
        self.try_all(FIELD)
        for payload, readings in SERIAL:
            with self.subTest(payload=payload):
                code, said, complaint = self.run_test(payload, "--input", "scale", "--json")
                self.assertEqual((code, list(map(in_words, said.splitlines()))), (0, readings), complaint)

    def test_more_habits(self):
        self.try_all(MORE)

    def test_pairs(self):
        self.try_all(PAIRS)

    def test_a_suggested_route_reads_what_it_was_made_of_and_makes_no_two_readings_one(self):
        for family, (count, *seen) in SEEN.items():
            with self.subTest(family):
                lines = "".join(f"{topic} {payload}\n" for topic, payload in seen)
                route = subprocess.run([str(BUILD / "millrace"), "route", "suggest", "--lines"], input=lines, capture_output=True, text=True, timeout=30).stdout
                self.config.write_text(config_of([]).replace("\n[[inputs.serial]]", route + "\n[[inputs.serial]]", 1))
                came = []
                for topic, payload in seen:
                    code, said, complaint = self.run_test(payload.encode(), "--input", "devices", "--topic", topic, "--json")
                    self.assertEqual(code, 0, route + complaint)
                    came += [json.loads(line) for line in said.splitlines()]
                told = {(r["device"], str(r.get("tags")), r["metric"], r["time"] if r["time_trust"] == "device" else "") for r in came}
                self.assertEqual((len(came), len(told)), (count, count), route)

    def test_each_has_a_name_of_its_own(self):
        names = [habit.name for habit in FIELD + MORE + PAIRS]
        self.assertEqual(len(set(names)), len(names))


if __name__ == "__main__":
    unittest.main(verbosity=2)
