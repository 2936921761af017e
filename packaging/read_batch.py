#!/usr/bin/python3
"""Reads Millrace batches without any of Millrace's code: the independent check, and a pattern for readers of your own.

usage: read_batch.py [--desc record.desc] [--envelope | --object] FILE...      (- is standard input)

One message, as Kafka and MQTT 5 have it; --envelope: as MQTT 3.1.1, Kinesis, Pub/Sub and Event Hubs have it. --object: many, each
behind its length, as objects of S3 and bodies of HTTP have them; each record comes with its identity (gateway, epoch, sequence),
and what comes twice is printed once. Ends with 1 where a message has no record: it may be of the other form.
Prints one JSON object a record. Needs python3-protobuf, and python3-zstandard for compressed batches. As a module:
records(message_bytes, schema(path)) gives dictionaries; values are exact to the bit, times are microseconds since 1970.
"""
import json
import math
import struct
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

DESC_PLACES = ["record.desc", str(Path(__file__).parent / "record.desc"), "/usr/share/millrace/record.desc", "/usr/local/share/millrace/record.desc"]


def schema(path):
    """The message classes of a descriptor set (protoc --descriptor_set_out), by name: Batch, Record, Envelope."""
    files = descriptor_pb2.FileDescriptorSet.FromString(Path(path).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName("millrace." + name)) for name in ("Batch", "Record", "Envelope")}


def running(values, times):
    for _ in range(times):
        total, out = 0, []
        for value in values:
            total += value
            out.append(total)
        values = out
    return values


def padded(values, count):
    return list(values) + [0] * (count - len(values))  # a missing tail is 0


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def signed64(value):
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def column_values(column, rows):
    kind = column.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[column.type].name
    if kind in ("TEXT", "BLOB"):
        return [blob.decode(errors="replace") if kind == "TEXT" else blob for blob in column.blobs]
    if kind == "DOUBLE":
        values = list(column.doubles)
    elif kind == "FLOAT":
        values = list(column.floats)
    else:
        numbers = [signed64(n * (column.factor or 1)) for n in running(padded(column.ints, rows), column.order)]
        if kind == "INT":
            return numbers
        if kind == "BOOL":
            return [n != 0 for n in numbers]
        values = [n / 10 ** column.exponent for n in numbers]  # divide, never multiply
        if kind == "FLOAT_DECIMAL":
            values = [float32(v) for v in values]
    at = 0
    for gap, ulps in zip(column.fix_gap, column.fix_ulp):
        at += gap
        bits = struct.unpack("<q", struct.pack("<d", values[at]))[0] + ulps
        values[at] = struct.unpack("<d", struct.pack("<q", bits))[0]
    at = 0
    for gap, value in zip(column.except_gap, getattr(column, "except")):
        at += gap
        values[at] = value
    return values


def block_rows(block, base_us):
    unit, device, start, residuals = block.unit_us or 1, 0, base_us, iter(padded(block.time, block.rows))
    devices, starts = padded(block.device, block.rows), padded(block.start, block.rows)
    rows, run = [], 0
    while len(rows) < block.rows:
        device += devices[run]
        start += starts[run] * unit
        time = start
        for i in range(block.run[run] if len(block.run) > 1 else block.run[0]):
            if i:
                time += (next(residuals) + block.step) * unit
            rows.append((device, time))
        run += 1
    return rows


UNSYNCED = 2  # TimeTrust of record.proto: with the gateway's event clock_set of that boot boot_id and monotonic_us tell when it was


def value_of(record):
    for field in ("number", "integer", "flag", "text", "blob"):
        if record.HasField(field):
            return getattr(record, field)
    return None


def name_of(enum_owner, field, number):
    return enum_owner.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[number].name.lower()


def records(message, classes):
    """The records of one decompressed Batch message, in number order."""
    batch = classes["Batch"].FromString(message)
    out, places = [], []
    for block in batch.blocks:
        columns = [(batch.metrics[c.metric], column_values(c, block.rows)) for c in block.columns]
        for row, (device, time) in enumerate(block_rows(block, batch.base_us)):
            for metric, values in columns:
                places.append((device, 0 if device in batch.as_blocks else time))
                out.append({"kind": "reading", "device": batch.devices[device].name, "tags": {t.key: t.value for t in batch.devices[device].tags},
                            "metric": metric.name, "unit": metric.unit, "time_us": time, "value": values[row],
                            "quality": name_of(block, "quality", block.quality), "time_trust": name_of(block, "time_trust", block.time_trust)})
                if block.time_trust == UNSYNCED and batch.boot_id:
                    out[-1].update(boot_id=batch.boot_id, monotonic_us=time - batch.offset_us)
    if batch.by_device:  # numbered device after device, each by time; Python's sort keeps the order of equals
        out = [record for _, record in sorted(zip(places, out), key=lambda pair: pair[0])]
    for other in batch.others:
        record = {"kind": name_of(other, "kind", other.kind), "device": other.device, "tags": {t.key: t.value for t in other.tags}, "metric": other.metric,
                  "unit": other.unit, "time_us": other.time_us, "value": value_of(other), "quality": name_of(other, "quality", other.quality),
                  "time_trust": name_of(other, "time_trust", other.time_trust)}
        if other.boot_id:
            record.update(boot_id=other.boot_id, monotonic_us=other.monotonic_us)
        for body in ("window", "loss", "dead"):
            if other.HasField(body):
                detail = getattr(other, body)
                record[body] = {f.name: list(getattr(detail, f.name)) if f.label == f.LABEL_REPEATED else getattr(detail, f.name) for f in detail.DESCRIPTOR.fields}
                if body == "window":
                    record[body]["stats"] = {s.name: s.value for s in other.window.stats}
                if body == "loss":
                    record[body]["devices"] = {d.device: d.count for d in other.loss.devices}
                if body == "dead":
                    record[body]["properties"] = [(p.key, p.value) for p in other.dead.properties]
        out.append(record)
    return out


def delimited(data):
    """Messages one behind the other, each with its length in front (a varint)."""
    at = 0
    while at < len(data):
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if at + size > len(data):
            raise ValueError(f"an envelope of {size} bytes is cut off")
        yield data[at:at + size]
        at += size


def identified(data, classes):
    """The records of an object, each with its identity and its lane."""
    for message in delimited(data):
        envelope = classes["Envelope"].FromString(message)
        lane = ("alarm", "window", "raw", "held", "dead")[envelope.lane]
        batch = decompress(envelope.batch) if envelope.zstd else envelope.batch
        for number, record in enumerate(records(batch, classes), envelope.first):
            yield {"gateway": envelope.gateway, "epoch": envelope.epoch, "sequence": number, "lane": lane, **record}


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # no Batch begins so


def decompress(data):
    import zstandard
    return zstandard.ZstdDecompressor().decompress(data)


def for_json(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: for_json(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [for_json(v) for v in value]
    return value


def main(arguments):
    desc, envelope, whole, files = None, False, False, []
    arguments = iter(arguments)
    for argument in arguments:
        if argument == "--desc":
            desc = next(arguments, None)
        elif argument == "--envelope":
            envelope = True
        elif argument == "--object":
            whole = True
        elif argument in ("-h", "--help"):
            print(__doc__)
            return 0
        else:
            files.append(argument)
    desc = desc or next((place for place in DESC_PLACES if Path(place).exists()), None)
    if not files or not desc:
        print(__doc__ if desc else "no record.desc found: name it with --desc (protoc -I proto --descriptor_set_out=record.desc record.proto makes it)", file=sys.stderr)
        return 64
    classes = schema(desc)
    seen, code = set(), 0
    for name in files:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        if whole:
            for record in identified(data, classes):
                identity = record["gateway"], record["epoch"], record["sequence"]
                if identity not in seen:
                    seen.add(identity)
                    print(json.dumps(for_json(record)))
            continue
        try:
            batch = classes["Envelope"].FromString(data).batch if envelope else data
            found = records(decompress(batch) if batch.startswith(ZSTD_MAGIC) else batch, classes)
        except DecodeError:
            found = []
        for record in found:
            print(json.dumps(for_json(record)))
        if not found:
            print(f"{name}: no record is in it; try it {'without' if envelope else 'with'} --envelope", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
