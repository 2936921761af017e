"""Configurations that are broken or odd, made from good ones: what people, editors, scripts and dying disks do to a file. The same
number always gives the same file."""
import random
import re

WRONG = ["1", "-1", "0", "1.5", "true", '"text"', '""', "[]", "[1, 2]", '["a", 1]', '[["a"]]', "{}", '{ a = 1 }', "1979-05-27T07:32:00Z", "07:32:00",
         "inf", "-nan", "'literal'", '"""\nlong\n"""', "0x7F", "[{}]", '{ name = "x", name = "y" }', "", "nil", "yes", "1,5", "'", '"', "[", "{", "="]
HUGE = ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "99999999999999999999999", "1e308", "-1e309", "0xFFFFFFFFFFFFFFFF", "1e-400",
        '"999999999999h"', '"9223372036854775807ns"', '"99999999999999999999 s"', '"1e30 MiB"', '"18446744073709551616"', '"999999999 GiB/s"', '"-5s"', '"0s"',
        '"1.7976931348623157e308"', '"0 KiB"', "4294967296", "65536", "-0.0"]
ODD = ['"${MILLRACE_NOT_SET}"', '"${"', '"{"', '"{}"', '"}{"', '"{device"', '"{device}{device}"', '"{a}{b}{a}"', '"#/#"', '"+/+/#/x"', '"/"', '"a//b"', '" "',
       '"\\u0000"', '"\\u202E"', '"\\uFFFF"', '"\\U0010FFFF"', '"\\uD800"', '"\\x00"', '"\\n"', '"../../../etc/passwd"', '"/dev/zero"', '"/dev/null"', '"/"', '"."',
       '"mqtt://"', '"mqtt://:1883"', '"mqtt://h:99999"', '"mqtt://[::1"', '"mqtts://u:p@h:1/x?y#z"', '"https://"', '"http://a b"', '"(("', '"(?<x>"', '"[z-a]"', '"%"', '"%Q"',
       '"\\\\"', '"' + "a" * 70_000 + '"', '"' + "{x}" * 5_000 + '"', '"' + "/" * 70_000 + '"', '"\u00e9"', '"\u4e2d\u6587"', '"\U0001f600"', '"-"', '"--help"', '"inf"', '"nan"',
       '"1h1h"', '"5 s s"', '"s"', '"1 parsec"', '"1KiB1"', '"records/s"', '"5 records/"']
BYTES = [b"\x00", b"\xff", b"\xfe\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe2\x28\xa1", b"\xef\xbb\xbf", b"\x1b[2J", b"\r", b"\x7f", b"\x0b", b"\xc2\xa0",
         b"\xe2\x80\x9c", b"\xe2\x80\x8b", b"\x08" * 40]
TABLES = ["[inputs]", "[[inputs]]", "inputs = 3", "inputs = []", "uplinks = {}", "[inputs.mqtt]", "[[inputs.mqtt.routes]]", "[inputs.mqtt.routes]", "[[gateway]]", "[gateway.gateway]", "[log]",
          "[[log]]", "[uplinks.mqtt]", "[[uplinks.nobody]]", "[[inputs.sirial]]", "[windows]", "[[windows]]", "[observe.x]", "[[uplinks.mqtt]]\nname = 1", "[]", "[[]]", "[a.b.c.d]", "[.]", "[[inputs.mqtt]",
          "[inputs.mqtt]]", "[ gateway ]", "[\"gateway\"]", "[gateway]#", "gateway = 1", "gateway.name.x = 1", "[[inputs.mqtt]]\n[inputs.mqtt.drain]", "[[uplinks.https]]\n[uplinks.https.template]\n\"\" = \"\"",
          "[[inputs.modbus]]\n[[inputs.modbus.devices]]\n[[inputs.modbus.devices.points]]", "[[inputs.serial]]\n[[inputs.serial.ask]]"]


def values(lines):
    """Where a line is `key = value`, and the place of its value."""
    return [(i, m) for i, line in enumerate(lines) if (m := re.match(r'(\s*[A-Za-z_"\'{][^=#\n]*=\s*)(.+)$', line))]


def with_value(text, rng, choices):
    lines = text.split("\n")
    places = values(lines)
    if places:
        i, m = rng.choice(places)
        lines[i] = m.group(1) + rng.choice(choices)
    return "\n".join(lines)


def wrong_type(text, rng):
    return with_value(text, rng, WRONG)


def huge(text, rng):
    return with_value(text, rng, HUGE)


def odd_text(text, rng):
    return with_value(text, rng, ODD)


def misspelt(text, rng):
    lines = text.split("\n")
    places = values(lines)
    if not places:
        return text + "\nx = 1\n"
    i, m = rng.choice(places)
    key = m.group(1).split("=")[0].strip()
    at = rng.randrange(len(key))
    other = rng.choice([key[:at] + key[at + 1:], key[:at] + rng.choice("aexz-_. ") + key[at:], key.upper(), key + "s", '"' + key + ' "', key + ".x", "", "a" * 5000, key[::-1]])
    lines[i] = f"{other} = {m.group(2)}"
    return "\n".join(lines)


def moved(text, rng):
    lines = text.split("\n")
    places = values(lines)
    if places:
        i, _ = rng.choice(places)
        line = lines.pop(i)
        lines.insert(rng.randrange(len(lines) + 1), line)
    return "\n".join(lines)


def twice(text, rng):
    lines = text.split("\n")
    i = rng.choice([i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")] or [0])
    lines[rng.choice([i, i + 1, len(lines)]):0] = [lines[i]]
    return "\n".join(lines)


def block_twice(text, rng):
    blocks = re.split(r"(?m)^(?=\[)", text)
    block = rng.choice(blocks)
    return "".join(blocks[:1] + blocks[1:] + [block] * rng.choice([1, 1, 2, 40]))


def shuffled(text, rng):
    blocks = re.split(r"(?m)^(?=\[)", text)
    rng.shuffle(blocks)
    return "".join(blocks)


def lines_lost(text, rng):
    lines = text.split("\n")
    begin = rng.randrange(len(lines))
    del lines[begin:begin + rng.choice([1, 1, 2, 5, 30])]
    return "\n".join(lines)


def wrong_table(text, rng):
    lines = text.split("\n")
    headers = [i for i, line in enumerate(lines) if line.startswith("[")]
    if headers and rng.random() < 0.5:
        i = rng.choice(headers)
        name = lines[i].strip("[] ")
        lines[i] = rng.choice([f"[{name}]", f"[[{name}]]", f"[[{name}.{name}]]", f"[{name}.x]", f"[{name[:-1]}]", f"[[{name.split('.')[-1]}]]", f"{name} = 1", f"[[{name}", lines[i] + " x"])
        return "\n".join(lines)
    lines.insert(rng.choice([0, len(lines), rng.randrange(len(lines))]), rng.choice(TABLES))
    return "\n".join(lines)


def deep(text, rng):
    n = rng.choice([2, 10, 100, 255, 256, 257, 1000, 20_000, 200_000])
    key = rng.choice(["name", "x", "servers", "metrics", "template"])
    what = rng.choice([lambda: f"{key} = " + "[" * n + "]" * n, lambda: f"{key} = " + "{ a = " * n + "1" + " }" * n, lambda: ".".join(["a"] * n) + " = 1",
                       lambda: "[" + ".".join(["a"] * n) + "]", lambda: f"{key} = " + "[" * n, lambda: "[[" + ".".join(["a"] * n) + "]]", lambda: f"{key} = " + "[{a=" * n + "1" + "}]" * n])()
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines)), what)
    return "\n".join(lines)


def large(text, rng):
    what = rng.choice([lambda: "x = \"" + "y" * 1_000_000 + '"', lambda: "#" + "c" * 1_000_000, lambda: "k" * 300_000 + " = 1", lambda: "\n" * 200_000 + "x",
                       lambda: "servers = [" + '"mqtt://127.0.0.1:1", ' * 20_000 + "]", lambda: "\n".join(f"k{i} = {i}" for i in range(20_000)),
                       lambda: "".join(f'[[uplinks.mqtt]]\nname = "u{i}"\nservers = ["mqtt://127.0.0.1:1"]\n' for i in range(1_000)),
                       lambda: "".join(f'[[windows]]\nname = "w{i}"\nsize = "{i + 1}s"\n' for i in range(1_000))])()
    return text + "\n" + what + "\n"


def cut(text, rng):
    data = text.encode()
    return data[:rng.randrange(len(data) + 1)]


def torn(text, rng):
    """As a disk gives it back after a power cut: a sector of zeros, or of another file."""
    data = bytearray(text.encode())
    begin = rng.randrange(len(data)) // 512 * 512
    data[begin:begin + 512] = rng.choice([bytes(512), rng.randbytes(512), bytes(data[:512])])
    return bytes(data)


def bad_bytes(text, rng):
    data = text.encode()
    for _ in range(rng.choice([1, 1, 3])):
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.choice(BYTES) + data[at:]
    return data


def flipped(text, rng):
    data = bytearray(text.encode())
    for _ in range(rng.choice([1, 1, 2, 20])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def line_ends(text, rng):
    way = rng.choice(["\r\n", "\r", "\n\r", "\u2028", "\t\n", " "])
    return text.replace("\n", way).encode(rng.choice(["utf-8", "utf-8", "utf-16", "utf-8-sig"]))


MUTATIONS = [wrong_type, huge, odd_text, misspelt, moved, twice, block_twice, shuffled, lines_lost, wrong_table, deep, large, cut, torn, bad_bytes, flipped, line_ends]


def told_keys(text):
    """A configuration whose keys that are only told, in comments, are said too."""
    return "\n".join(line.lstrip("# ") if re.match(r"\s*#\s*(\[+[a-z_.]+\]+|[a-z_]+ = \S)", line) else line for line in text.split("\n"))


def odd_toml(number, sources):
    """`sources`: texts of good configurations. Every mutation has its turn; one in four files suffers two."""
    rng = random.Random(number)
    mutate = MUTATIONS[number % len(MUTATIONS)]
    text = sources[number // len(MUTATIONS) % len(sources)]
    if rng.random() < 0.25:
        before = rng.choice([wrong_type, huge, odd_text, misspelt, moved, twice, wrong_table])
        text = before(text, rng)
    made = mutate(text, rng)
    return made if isinstance(made, bytes) else made.encode(errors="surrogatepass")
