#!/usr/bin/python3
"""The examples of packaging/examples: each loads, and each of those for a family of devices reads what such devices send. The
payloads were written for this test from what the families' documents describe."""
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import BUILD, ROOT

EXAMPLES = ROOT / "packaging" / "examples"
NOON = "2026-01-01T12:00:00"

# example: [(topic, payload, [(device, metric, value, unit), ...])]; nothing: it is ignored. Of what cannot be read: None.
SENT = {
    "pairs": [
        ("form/boiler", "field1=21.5&field2=40&status=MQTT%20ok", [("boiler", "temperature", 21.5, "C"), ("boiler", "humidity", 40, "%")]),
        ("lora/gw1", "node7;T:21.5 C;H:40 %\r\nnode8;T:-3", [("node7", "temperature", 21.5, "C"), ("node7", "humidity", 40, "%"), ("node8", "temperature", -3, "")]),
        ("log/pump", f'ts={NOON}Z level=info msg="on air" flow=3.5', [("pump", "level", "info", ""), ("pump", "msg", "on air", ""), ("pump", "flow", 3.5, "")]),
        ("modem/m1/status", "IMEI: 356938035643809\r\nRSSI: -71 dBm\r\nVBAT: 3300\r\n\r\nOK\r\n",
         [("m1", "imei", "356938035643809", ""), ("m1", "signal", -71, "dBm"), ("m1", "supply", 3.3, "V")]),
    ],
    "zigbee2mqtt": [
        ("zigbee2mqtt/hall/window", '{"battery":97,"contact":true,"last_seen":"2026-01-01T13:00:00+01:00","linkquality":120}',
         [("hall/window", "battery", 97, ""), ("hall/window", "contact", True, ""), ("hall/window", "linkquality", 120, "")]),
        ("zigbee2mqtt/hall", '{"temperature":21.5,"humidity":null,"last_seen":1767268800000}', [("hall", "temperature", 21.5, "")]),
        ("zigbee2mqtt/hall/availability", '{"state":"online"}', []),
        ("zigbee2mqtt/bridge/state", '{"state":"online"}', []),
        ("zigbee2mqtt/lamp/set", '{"state":"ON"}', []),
        ("zigbee2mqtt/kitchen/lamp/set", '{"state":"ON"}', []),
        ("zigbee2mqtt/kitchen/lamp/get", '{"state":""}', []),
        ("zigbee2mqtt/kitchen/lamp/availability", '{"state":"online"}', []),
        ("zigbee2mqtt/lamp/set/brightness", "100", []),
        ("zigbee2mqtt/kitchen/lamp/get/state", "", []),
        ("zigbee2mqtt/house/hall/window", '{"contact":true}', [("house/hall/window", "contact", True, "")]),
        ("zigbee2mqtt/house/hall/window/availability", '{"state":"online"}', []),
        ("zigbee2mqtt/house/hall/window/availability", "online", []),
        ("zigbee2mqtt/house/hall/lamp/set", '{"state":"ON"}', []),
        ("zigbee2mqtt/house/hall/lamp/set/brightness", "100", []),
        ("zigbee2mqtt/house/hall/lamp/get", '{"state":""}', []),
    ],
    "tasmota": [
        ("tele/plug-1/SENSOR", '{"Time":"%s","ENERGY":{"Total":3.185,"Power":42},"TempUnit":"C"}' % NOON,
         [("plug-1", "ENERGY.Total", 3.185, ""), ("plug-1", "ENERGY.Power", 42, ""), ("plug-1", "TempUnit", "C", "")]),
        ("tele/plug-1/STATE", '{"Time":"%s","UptimeSec":612,"POWER":"ON","Wifi":{"AP":1,"Signal":-61}}' % NOON,
         [("plug-1", "power", True, ""), ("plug-1", "uptime", 612, "s"), ("plug-1", "wifi_signal", -61, "dBm")]),
        ("tele/plug-1/LWT", "Offline", [("plug-1", "connection", "Offline", "")]),
        ("stat/plug-1/RESULT", '{"POWER":"OFF"}', [("plug-1", "power", False, "")]),
        ("stat/plug-2/RESULT", '{"POWER2":"ON"}', [("plug-2", "power2", True, "")]),
        ("tele/plug-2/STATE", '{"Time":"%s","UptimeSec":5,"POWER1":"ON","POWER2":"OFF","Wifi":{"Signal":-60}}' % NOON,
         [("plug-2", "power1", True, ""), ("plug-2", "power2", False, ""), ("plug-2", "uptime", 5, "s"), ("plug-2", "wifi_signal", -60, "dBm")]),
        ("stat/plug-1/RESULT", '{"TelePeriod":300}', []),
        ("tasmota/discovery/C0FFEE/config", '{"ip":"192.0.2.7"}', []),
    ],
    "shelly": [
        ("shellyplus1pm-a8032ab1/status/switch:0", '{"id":0,"output":true,"apower":12.3,"aenergy":{"total":4.5},"temperature":{"tC":45.1}}',
         [("shellyplus1pm-a8032ab1", m, v, "") for m, v in (("output", True), ("apower", 12.3), ("aenergy.total", 4.5), ("temperature.tC", 45.1))]),
        ("shellyplus1pm-a8032ab1/status/sys", '{"mac":"A8032AB1","uptime":7}', []),
        ("shellyplus1pm-a8032ab1/online", "true", [("shellyplus1pm-a8032ab1", "online", True, "")]),
        ("shellies/shellyht-1/sensor/temperature", "21.38", [("shellyht-1", "temperature", 21.38, "")]),
        ("shellies/shelly1pm-2/relay/0", "on", [("shelly1pm-2", "output", True, "")]),
        ("shellies/shelly1pm-2/relay/0/power", "0.00", [("shelly1pm-2", "power", 0, "")]),
        ("shellies/announce", '{"id":"shellyht-1"}', []),
        ("shellies/shelly1pm-2/relay/0", "overpower", [("shelly1pm-2", "state", "overpower", "")]),
        ("shellies/shelly1pm-2/relay/0/command", "on", []),
        ("shellies/shelly1pm-2/announce", '{"id":"shelly1pm-2"}', []),
        ("shellies/shelly1pm-2/temperature", "48.31", [("shelly1pm-2", "temperature", 48.31, "")]),
        ("shellies/shelly1pm-2/input/0", "1", [("shelly1pm-2", "input", 1, "")]),
        ("shellies/shellyem-3/emeter/1/power", "230.5", [("shellyem-3", "power", 230.5, "")]),
        ("shellies/shellyht-1/sensor/act_reasons", '["sensor"]', []),
        ("shellies/shellymotion-4/status", '{"motion":true,"timestamp":1699999999,"active":true,"vibration":false,"lux":228,"bat":99}',
         [("shellymotion-4", m, v, "") for m, v in (("motion", True), ("timestamp", 1699999999), ("active", True), ("vibration", False), ("lux", 228), ("bat", 99))]),
        ("shellies/shelly1-5/ext_temperatures", '{"0":{"hwID":"28ff0000","tC":21.5},"1":{"hwID":"28ff0001","tC":4}}',
         [("shelly1-5", "ext_temperature", 21.5, "C"), ("shelly1-5", "ext_temperature", 4, "C")]),
        ("shellies/shelly1-5/ext_temperatures", "{}", "no value"),
        ("shellies/shelly1-5/ext_humidities", '{"0":{"hwID":"38ff0000","hum":51}}', [("shelly1-5", "ext_humidity", 51, "%")]),
    ],
    "esphome": [
        ("attic/sensor/temperature/state", "21.5", [("attic", "temperature", 21.5, "")]),
        ("attic/sensor/temperature/state", "nan", "no value"),
        ("attic/binary_sensor/door/state", "ON", [("attic", "door", True, "")]),
        ("attic/text_sensor/version/state", "2025.11", [("attic", "version", "2025.11", "")]),
        ("attic/status", "offline", [("attic", "status", "offline", "")]),
    ],
    "homie": [
        ("homie/attic/weather/temperature", "21.5", [("attic", "temperature", 21.5, "")]),
        ("homie/attic/weather/raining", "true", [("attic", "raining", True, "")]),
        ("homie/attic/$state", "lost", [("attic", "state", "lost", "")]),
        ("homie/attic/weather/$properties", "temperature,raining", []),
        ("homie/attic/weather/$name", "Sensor (1st floor)", []),
        ("homie/attic/$fw/version", "1.2.3-beta", []),
        ("homie/attic/lamp/color", "255,120,0", [("attic", "color", "255,120,0", "")]),
        ("homie/attic/clock/since", "2025-06-01T10:00:00Z", [("attic", "since", "2025-06-01T10:00:00Z", "")]),
        ("homie/attic/display/text", "Open (2nd door)!", [("attic", "text", "Open (2nd door)!", "")]),
    ],
    "chirpstack": [
        ("application/7/device/0102030405060708/event/up",
         '{"time":"2026-01-01T12:00:00.5+00:00","deviceInfo":{"deviceName":"hall-3","devEui":"0102030405060708"},"fPort":1,"fCnt":4,'
         '"data":"AA==","object":{"temperature":21.5,"open":false}}', [("hall-3", "temperature", 21.5, ""), ("hall-3", "open", False, "")]),
        ("application/7/device/0102030405060708/event/up",
         '{"time":"2026-01-01T12:00:00+00:00","deviceInfo":{"deviceName":"hall-3"},"fPort":2,"data":"CGZa2Q=="}',
         [("hall-3", "temperature", 21.5, "C"), ("hall-3", "humidity", 45, "%"), ("hall-3", "door_open", True, ""), ("hall-3", "battery", 89, "%")]),
        ("application/7/device/0102030405060708/event/up",
         '{"time":"2026-01-01T12:00:00+00:00","deviceInfo":{"deviceName":"hall-3"},"fPort":85,"object":{"temperatureSensor":{"1":21.5},"relays":[true,false]},"rxInfo":[{"rssi":-57}]}',
         [("hall-3", "temperatureSensor.1", 21.5, ""), ("hall-3", "relays[0]", True, ""), ("hall-3", "relays[1]", False, "")]),
        ("application/7/device/0102030405060708/event/up",
         '{"time":"2026-01-01T12:00:00+00:00","deviceInfo":{"deviceName":"hall-3"},"fPort":3,"fCnt":5,"rxInfo":[{"rssi":-57,"snr":9.5}]}',
         [("hall-3", "frame", 5, ""), ("hall-3", "rssi", -57, "dBm")]),
        ("application/7/device/0102030405060708/event/up",
         '{"time":"2026-01-01T12:00:00+00:00","deviceInfo":{"deviceName":"hall-3"},"fPort":2,"fCnt":6,"data":"","rxInfo":[{"rssi":-58}]}',
         [("hall-3", "frame", 6, ""), ("hall-3", "rssi", -58, "dBm")]),
        ("application/7/device/0102030405060708/event/up",
         '{"time":"2026-01-01T12:00:00+00:00","deviceInfo":{"deviceName":"hall-3"},"fPort":2,"rxInfo":[{"rssi":-58}]}',
         [("hall-3", "frame", 0, ""), ("hall-3", "rssi", -58, "dBm")]),
        ("application/7/device/0102030405060708/event/up",
         '{"time":"2026-01-01T12:00:00+00:00","deviceInfo":{"deviceName":"hall-3"},"fPort":3,"fCnt":7,"data":"AA==","object":{},"rxInfo":[{"rssi":-59}]}',
         [("hall-3", "frame", 7, ""), ("hall-3", "rssi", -59, "dBm")]),
        ("application/7/device/0102030405060708/event/up",
         '{"time":"2026-01-01T12:00:00+00:00","deviceInfo":{"deviceName":"hall-3"},"fPort":2,"data":"CGZa2Q==","object":{}}',
         [("hall-3", "temperature", 21.5, "C"), ("hall-3", "humidity", 45, "%"), ("hall-3", "door_open", True, ""), ("hall-3", "battery", 89, "%")]),
        ("application/7/device/0102030405060708/event/join", '{"time":"2026-01-01T12:00:00+00:00"}', []),
    ],
    "ttn": [
        ("v3/town@ttn/devices/gauge-1/up",
         '{"end_device_ids":{"device_id":"gauge-1"},"received_at":"2026-01-01T12:00:00.123456789Z","uplink_message":{"f_port":2,"frm_payload":"ANcEsA=="}}',
         [("gauge-1", "temperature", 21.5, "C"), ("gauge-1", "level", 1200, "mm")]),
        ("v3/town@ttn/devices/gauge-1/up",
         '{"received_at":"2026-01-01T12:00:00Z","uplink_message":{"f_port":2,"frm_payload":"ANcEsA==","decoded_payload":{"level":1201}}}',
         [("gauge-1", "level", 1201, "")]),
        ("v3/town@ttn/devices/gauge-1/up",
         '{"received_at":"2026-01-01T12:00:00Z","uplink_message":{"f_port":9,"decoded_payload":{"soil":{"moisture":31.5}}}}',
         [("gauge-1", "soil.moisture", 31.5, "")]),
        ("v3/town@ttn/devices/gauge-1/up",
         '{"received_at":"2026-01-01T12:00:00Z","uplink_message":{"f_port":7,"f_cnt":12,"frm_payload":"AA==","rx_metadata":[{"rssi":-70}]}}',
         [("gauge-1", "frame", 12, ""), ("gauge-1", "rssi", -70, "dBm")]),
        ("v3/town@ttn/devices/gauge-1/up",
         '{"received_at":"2026-01-01T12:00:00Z","uplink_message":{"f_port":2,"f_cnt":13,"frm_payload":"","rx_metadata":[{"rssi":-71}]}}',
         [("gauge-1", "frame", 13, ""), ("gauge-1", "rssi", -71, "dBm")]),
        ("v3/town@ttn/devices/gauge-1/up",
         '{"received_at":"2026-01-01T12:00:00Z","uplink_message":{"f_port":9,"f_cnt":14,"frm_payload":"AA==","decoded_payload":{},"rx_metadata":[{"rssi":-72}]}}',
         [("gauge-1", "frame", 14, ""), ("gauge-1", "rssi", -72, "dBm")]),
        ("v3/town@ttn/devices/gauge-1/up",
         '{"received_at":"2026-01-01T12:00:00Z","uplink_message":{"f_port":2,"frm_payload":"ANcEsA==","decoded_payload":{}}}',
         [("gauge-1", "temperature", 21.5, "C"), ("gauge-1", "level", 1200, "mm")]),
        ("v3/town@ttn/devices/gauge-1/join", '{"join_accept":{}}', []),
    ],
    "rtl433": [
        ("rtl_433/pi/events", '{"time":"2026-01-01 12:00:00","model":"Tower","id":1234,"channel":"A","battery_ok":1,"temperature_C":21.5,"mic":"CRC"}',
         [("Tower-1234", "temperature", 21.5, "C"), ("Tower-1234", "battery_ok", 1, "")]),
        ("rtl_433/pi/events", '{"time":"2026-01-01 12:00:00","model":"WS","id":5,"battery_ok":0.6,"temperature_C":3}',
         [("WS-5", "temperature", 3, "C"), ("WS-5", "battery_ok", 0.6, "")]),
        ("rtl_433/pi/events", '{"time":"2026-01-01 12:00:00","model":"A","id":6,"temperature_F":70.7,"humidity":40,"wind_avg_mi_h":3.5,"rain_in":0.01}',
         [("A-6", "temperature_f", 70.7, "F"), ("A-6", "humidity", 40, "%"), ("A-6", "wind_mi_h", 3.5, "mi/h"), ("A-6", "rain_in", 0.01, "in")]),
        ("rtl_433/pi/events", '{"time":"2026-01-01 12:00:00","model":"Doorbell"}', []),
        ("rtl_433/pi/devices/Tower/A/1234/temperature_C", "21.5", []),
    ],
    "theengs": [
        ("home/attic/BTtoMQTT/A4C138000001", '{"id":"A4:C1:38:00:00:01","rssi":-60,"model_id":"THB2","tempc":21.5,"tempf":70.7,"hum":45,"batt":90,"volt":2.9}',
         [("A4:C1:38:00:00:01", m, v, u) for m, v, u in (("temperature", 21.5, "C"), ("humidity", 45, "%"), ("battery", 90, "%"), ("voltage", 2.9, "V"), ("signal", -60, "dBm"))]),
        ("home/attic/BTtoMQTT/A4C138000002", '{"id":"A4:C1:38:00:00:02","rssi":-80}', []),
    ],
    "kepserver": [
        ("iotgateway", '{"timestamp":1767268800500,"values":[{"id":"Line1.PLC.Speed","v":42,"q":true,"t":1767268800000},{"id":"Line1.PLC.On","v":true,"q":false,"t":1767268800001}]}',
         [("kepserver", "Line1.PLC.Speed", 42, ""), ("kepserver", "Line1.PLC.On", True, "")]),
    ],
    "opc-publisher": [
        ("press/messages/samples", '[{"NodeId":"nsu=urn:x;s=Temp","Value":{"Value":21.5,"SourceTimestamp":"2026-01-01T12:00:00Z"}}]',
         [("press", "nsu=urn:x;s=Temp", 21.5, "")]),
        ("press/messages/samples", '{"NodeId":"nsu=urn:x;s=Temp","Value":{"Value":21.5,"SourceTimestamp":"2026-01-01T12:00:00Z"}}',
         [("press", "nsu=urn:x;s=Temp", 21.5, "")]),
        ("opcpub/messages/line1", '{"MessageId":"5","MessageType":"ua-data","PublisherId":"pub-1","Messages":{"DataSetWriterId":"w","Payload":{'
         '"nsu=urn:x;s=Temp":{"Value":21.5,"SourceTimestamp":"2026-01-01T12:00:00Z","StatusCode":{"Code":2147811328}}}}}',
         [("pub-1", "nsu=urn:x;s=Temp", 21.5, "")]),
        ("opcpub/messages/line1", '{"MessageId":"1","MessageType":"ua-data","PublisherId":"pub-1","Messages":[{"DataSetWriterId":"w","Payload":{'
         '"nsu=urn:x;s=Temp":{"Value":21.5,"SourceTimestamp":"2026-01-01T12:00:00Z"},"nsu=urn:x;s=Open":{"Value":true,"SourceTimestamp":"2026-01-01T12:00:01Z","StatusCode":{"Code":1073741824}}}}]}',
         [("pub-1", "nsu=urn:x;s=Temp", 21.5, ""), ("pub-1", "nsu=urn:x;s=Open", True, "")]),
        ("opcpub/messages/line1", '[{"MessageId":"3","MessageType":"ua-data","PublisherId":"pub-1","Messages":[{"Payload":{"nsu=urn:x;s=Temp":{"Value":21.5,"SourceTimestamp":"2026-01-01T12:00:00Z"}}}]},'
         '{"MessageId":"4","MessageType":"ua-data","Messages":[{"Payload":{"nsu=urn:x;s=Temp":{"Value":21.6,"SourceTimestamp":"2026-01-01T12:00:01Z"}}}]}]',
         [("opcpub", "nsu=urn:x;s=Temp", 21.5, ""), ("opcpub", "nsu=urn:x;s=Temp", 21.6, "")]),
        # Several, each with its one message; the first may be a keep-alive.
        *(("opcpub/messages/line1", '[{"MessageId":"3","MessageType":"ua-data","PublisherId":"pub-1","Messages":%s},{"MessageId":"4","MessageType":"ua-data","Messages":'
           '{"DataSetWriterId":"w","Payload":{"nsu=urn:x;s=Temp":{"Value":21.6,"SourceTimestamp":"2026-01-01T12:00:01Z"}}}}]' % first,
           [*more, ("opcpub", "nsu=urn:x;s=Temp", 21.6, "")])
          for first, more in (('{"Payload":{"nsu=urn:x;s=Temp":{"Value":21.5,"SourceTimestamp":"2026-01-01T12:00:00Z"}}}', [("opcpub", "nsu=urn:x;s=Temp", 21.5, "")]),
                              ('{"DataSetWriterId":"w"}', []))),
        # Without a header around them.
        ("opcpub/messages/line1", '{"DataSetWriterId":1,"Payload":{"nsu=urn:x;s=Temp":{"Value":21.5,"SourceTimestamp":"2026-01-01T12:00:00Z"}}}', [("opcpub", "nsu=urn:x;s=Temp", 21.5, "")]),
        ("opcpub/messages/line1", '[{"DataSetWriterId":1,"Payload":{"nsu=urn:x;s=Temp":{"Value":21.5,"SourceTimestamp":"2026-01-01T12:00:00Z"}}},'
         '{"DataSetWriterId":1,"Payload":{"nsu=urn:x;s=Temp":{"Value":21.6,"SourceTimestamp":"2026-01-01T12:00:01Z"}}}]',
         [("opcpub", "nsu=urn:x;s=Temp", 21.5, ""), ("opcpub", "nsu=urn:x;s=Temp", 21.6, "")]),
        # Samples and fields that have a status and no value, beside one that has.
        *(("press/messages/samples", '[{"NodeId":"i=1","Value":{"Value":21.5,"SourceTimestamp":"2026-01-01T12:00:00Z"}},{"NodeId":"i=2","Value":%s}]' % nothing, [("press", "i=1", 21.5, "")])
          for nothing in ("null", "{}", '{"StatusCode":{"Code":2150891520,"Symbol":"BadNoCommunication"},"SourceTimestamp":"2026-01-01T12:00:00Z"}')),
        ("press/messages/samples", '{"NodeId":"i=2","Value":{"StatusCode":{"Code":2150891520,"Symbol":"BadNoCommunication"}}}', "no value"),
        ("opcpub/messages/line1", '{"MessageId":"7","MessageType":"ua-data","PublisherId":"pub-1","Messages":[{"Payload":{"i=1":{"Value":1},"i=2":{"StatusCode":{"Code":2150891520}},"i=3":null}}]}',
         [("pub-1", "i=1", 1, "")]),
        ("opcpub/messages/line1", '{"MessageId":"2","MessageType":"ua-metadata","PublisherId":"pub-1"}', []),
        # RawData: fields are bare values. And fields that have a time and no value, as servers say null.
        *(("opcpub/messages/line1", payload % '{"DataSetWriterId":"w","Timestamp":"2026-01-01T12:00:00Z","Payload":{"Temp":21.5,"Open":true,"Text":null}}',
           [(device, "Temp", 21.5, ""), (device, "Open", True, "")])
          for payload, device in (('{"MessageId":"1","MessageType":"ua-data","PublisherId":"pub-1","Messages":[%s]}', "pub-1"),
                                  ('{"MessageId":"1","MessageType":"ua-data","PublisherId":"pub-1","Messages":%s}', "pub-1"), ("%s", "opcpub"))),
        ("opcpub/messages/line1", '{"MessageId":"1","MessageType":"ua-data","PublisherId":"pub-1","Messages":[{"Payload":{"i=1":{"Value":1,"SourceTimestamp":"2026-01-01T12:00:00Z"},'
         '"i=2":{"SourceTimestamp":"2026-01-01T12:00:00Z"}}}]}', [("pub-1", "i=1", 1, "")]),
        # Keep-alives: nothing has changed.
        *(("opcpub/messages/line1", '{"MessageId":"6","MessageType":"ua-data","PublisherId":"pub-1","Messages":%s}' % nothing, [])
          for nothing in ('{"DataSetWriterId":"w","Payload":{}}', '{"DataSetWriterId":"w","SequenceNumber":7}', '{"DataSetWriterId":"w","Payload":null}')),
        *(("opcpub/messages/line1", '{"MessageId":"6","MessageType":"ua-data","PublisherId":"pub-1","Messages":%s}' % nothing, "no value")
          for nothing in ('[{"DataSetWriterId":"w","Payload":{}}]', '[{"DataSetWriterId":"w"}]', "[]", "{}", '{"Payload":{}}')),
    ],
    "aws": [
        ("$aws/things/pump-1/shadow/update", '{"state":{"reported":{"pressure":3.2,"running":true}},"clientToken":"a"}',
         [("pump-1", "pressure", 3.2, ""), ("pump-1", "running", True, "")]),
        ("$aws/things/pump-1/shadow/update", '{"state":{"reported":{"motor":{"rpm":1480,"on":true}}}}',
         [("pump-1", "motor.rpm", 1480, ""), ("pump-1", "motor.on", True, "")]),
        ("$aws/things/pump-1/shadow/update", '{"state":{"desired":{"running":false}}}', []),
        ("sitewise/pump-1", '{"propertyAlias":"/hall/pump-1/pressure","propertyValues":[{"value":{"doubleValue":3.2},"timestamp":{"timeInSeconds":1767268800,"offsetInNanos":0},"quality":"GOOD"},'
         '{"value":{"integerValue":7},"timestamp":{"timeInSeconds":1767268801},"quality":"UNCERTAIN"}]}',
         [("pump-1", "/hall/pump-1/pressure", 3.2, ""), ("pump-1", "/hall/pump-1/pressure/count", 7, "")]),
    ],
    "azure": [
        ("devices/pump-1/messages/events/$.ct=application%2Fjson&$.ce=utf-8", '{"timestamp":"2026-01-01T12:00:00Z","pressure":3.2}', [("pump-1", "pressure", 3.2, "")]),
    ],
}


def run(*arguments, payload=b""):
    return subprocess.run([str(BUILD / "millrace"), *map(str, arguments)], input=payload, capture_output=True, timeout=30)


class Examples(unittest.TestCase):
    def test_each_loads(self):
        for example in sorted(EXAMPLES.glob("*.toml")):
            done = run("check", "-c", example)
            self.assertNotRegex(done.stderr.decode(), r"\.toml:\d+", example)
            self.assertEqual(done.returncode, 0, f"{example}: {done.stdout + done.stderr}")

    def test_each_that_stands_in_a_document_loads(self):
        documents = [ROOT / "README.md", *sorted((ROOT / "packaging" / "docs").glob("*.md"))]
        found = [(document.name, text) for document in documents for text in re.findall(r"(?ms)^```toml\n(.*?)^```", document.read_text())]
        self.assertGreater(len(found), 20)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in found:
                (Path(folder) / "millrace.toml").write_text(text)
                done = run("check", "-c", f"{folder}/millrace.toml")
                self.assertEqual(done.returncode, 0, f"{name}: {done.stderr.decode()}{text}")

    def test_each_has_payloads_here(self):
        self.assertEqual({path.stem.removeprefix("mqtt-") for path in EXAMPLES.glob("mqtt-*.toml")}, set(SENT))

    def test_what_devices_send_becomes_readings(self):
        for name, sent in SENT.items():
            for topic, payload, expected in sent:
                with self.subTest(name=name, topic=topic, payload=payload):
                    done = run("test", "-c", EXAMPLES / f"mqtt-{name}.toml", "--topic", topic, "--json", payload=payload.encode())
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    records = [json.loads(line) for line in done.stdout.decode().splitlines()]
                    got = [(r["device"], r["metric"], r["value"], r.get("unit", "")) for r in records]
                    self.assertEqual(sorted(got), [] if expected == "no value" else sorted(expected))
                    words = run("test", "-c", EXAMPLES / f"mqtt-{name}.toml", "--topic", topic, payload=payload.encode()).stdout.decode()
                    self.assertEqual("ignored" in words, expected == [], words)
                    timed = any(sign in payload for sign in ("12:00:0", "13:00:00", "17672688"))
                    if timed and records:
                        self.assertTrue(all(r["time"].startswith("2026-01-01T1") for r in records), records)


if __name__ == "__main__":
    unittest.main(verbosity=2)
