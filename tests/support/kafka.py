"""A real Apache Kafka for tests: one process (KRaft) on loopback in a temporary folder, from jars that Maven brings."""
import asyncio
import logging
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from testsite import ROOT, Process, free_port, wait_for

_silent = logging.getLogger("kafka-tests")  # librdkafka's own words would go to stderr
_silent.addHandler(logging.NullHandler())
_silent.propagate = False
JARS = ROOT / "build" / "kafka" / "lib"
JAVA = ["java", "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


def missing():
    """Why there is no Kafka here; empty when there is one."""
    try:
        import confluent_kafka  # noqa: F401
    except ImportError:
        return "python3-confluent-kafka is not installed"
    for command in ("java", "mvn"):
        if not shutil.which(command):
            return f"{command} is not installed"
    pom, complete = ROOT / "tests/integration/kafka/pom.xml", JARS / "complete"
    if not complete.exists() or complete.read_text() != pom.read_text():
        done = subprocess.run(["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
                               f"-DoutputDirectory={JARS}"], capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            return "Maven could not bring Apache Kafka: " + (done.stdout + done.stderr).strip().splitlines()[0][:200]
        complete.write_text(pom.read_text())
    return ""


class Kafka:
    """`settings`: lines for server.properties. `through`: a SlowLink by which clients come. `secure`: (folder of certificates, {user: password}) for a SASL_SSL listener beside
    the plain one."""

    def __init__(self, folder, settings="", secure=None, through=None):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.port, controller, self.secure_port = free_port(), free_port(), free_port()
        listeners, protocols = f"PLAINTEXT://127.0.0.1:{self.port}", "PLAINTEXT:PLAINTEXT"
        more = ""
        if secure:
            tls, users = secure
            listeners += f",SECURE://127.0.0.1:{self.secure_port}"
            protocols += ",SECURE:SASL_SSL"
            keys = (tls / "server.key").read_text() + (tls / "server.pem").read_text()
            (self.folder / "server.pem").write_text(keys)
            logins = " ".join(f'user_{name}="{password}"' for name, password in users.items())
            more = (f"ssl.keystore.type=PEM\nssl.keystore.location={self.folder}/server.pem\nssl.truststore.type=PEM\n"
                    f"ssl.truststore.location={tls}/ca.pem\nsasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n"
                    f"listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {logins};\n"
                    "listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
                    "listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
                    # Takes JSON web tokens without a signature, and looks at their times.
                    "listener.name.secure.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;\n")
        (self.folder / "server.properties").write_text(f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners.replace(str(self.port), str(through.port if through else self.port))}
controller.listener.names=CONTROLLER
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
log.dirs={self.folder}/logs
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
{more}{settings}
""")
        scram = [part for name, password in (secure[1] if secure else {}).items()
                 for bits in (256, 512) for part in ("--add-scram", f"SCRAM-SHA-{bits}=[name={name},password={password}]")]
        subprocess.run([*JAVA, "-cp", f"{JARS}/*", "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c",
                        str(self.folder / "server.properties"), *scram], check=True, capture_output=True)
        self.process = None
        if through:
            through.to_port = self.port
        self.start()

    @property
    def server(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.process = Process([*JAVA, "-cp", f"{JARS}/*", "kafka.Kafka", str(self.folder / "server.properties")], self.folder / "kafka.log")
        from confluent_kafka.admin import AdminClient
        self.admin = AdminClient({"bootstrap.servers": self.server, "log_level": 0, "logger": _silent})

        def answers():
            assert self.process.process.poll() is None, self.process.text()[-2000:]
            try:
                return self.admin.list_topics(timeout=1).brokers
            except Exception:
                return None
        wait_for(answers, "Kafka answers", 60)

    def stop(self, how=signal.SIGTERM):
        self.process.stop(how, 30)

    def topic(self, name, partitions=1, **config):
        from confluent_kafka.admin import NewTopic
        for future in self.admin.create_topics([NewTopic(name, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})]).values():
            future.result(30)

    def allow(self, user, *words):
        """Rights in the words of kafka-acls, e.g. "--topic", "t", "--operation", "Write"."""
        subprocess.run([*JAVA, "-cp", f"{JARS}/*", "kafka.admin.AclCommand", "--bootstrap-server", self.server, "--add", "--allow-principal", f"User:{user}", *words],
                       check=True, capture_output=True, timeout=60)

    def read(self, topic, committed=True, seconds=60):
        """Every message of a topic, partition after partition."""
        from confluent_kafka import Consumer, KafkaError, TopicPartition
        consumer = Consumer({"bootstrap.servers": self.server, "group.id": "test", "enable.auto.commit": False, "enable.partition.eof": True,
                             "auto.offset.reset": "earliest", "isolation.level": "read_committed" if committed else "read_uncommitted",
                             "log_level": 0, "logger": _silent})
        try:
            partitions = consumer.list_topics(topic, 10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
            messages, ended, deadline = [], set(), time.monotonic() + seconds
            while len(ended) < len(partitions):
                assert time.monotonic() < deadline, "the topic could not be read to its end"
                for message in consumer.consume(1000, 0.5):
                    if not message.error():
                        messages.append(message)
                        ended.discard(message.partition())
                    elif message.error().code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                    else:
                        raise AssertionError(message.error())
            return messages
        finally:
            consumer.close()


class SlowLink:
    """A TCP proxy with a round trip and a rate, like a bad radio link. `to_port`: where it leads, 0 for nowhere. `sent`: bytes that
    went to the far side."""

    def __init__(self, round_trip, bytes_per_second):
        self.to_port, self.delay, self.rate, self.sent = 0, round_trip / 2, bytes_per_second, 0
        self.free_at = {"up": 0.0, "down": 0.0}
        self.port = free_port()
        self.loop = asyncio.new_event_loop()
        started = threading.Event()

        def run():
            asyncio.set_event_loop(self.loop)
            self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, "127.0.0.1", self.port))
            started.set()
            self.loop.run_forever()
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        started.wait(10)

    async def serve(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            return writer.close()
        await asyncio.gather(self.carry(reader, far_writer, "up"), self.carry(far_reader, writer, "down"))

    async def carry(self, reader, writer, way):
        """Bytes leave at the link's rate, all connections together, and arrive half a round trip later."""
        queue = asyncio.Queue(64)  # about what a modem holds: 64 pieces of 4 KiB

        async def deliver():
            while True:
                at, chunk = await queue.get()
                await asyncio.sleep(max(0, at - self.loop.time()))
                if not chunk:
                    return writer.close()
                writer.write(chunk)
                await writer.drain()
        delivering = asyncio.ensure_future(deliver())
        try:
            while True:
                chunk = await reader.read(4096)
                self.free_at[way] = max(self.free_at[way], self.loop.time()) + len(chunk) / self.rate
                await asyncio.sleep(max(0, self.free_at[way] - self.loop.time()))
                if way == "up":
                    self.sent += len(chunk)
                await queue.put((self.loop.time() + self.delay, chunk))
                if not chunk:
                    break
            await delivering
        except (ConnectionError, OSError):
            writer.close()

    def stop(self):
        async def end():
            self.server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self.loop.stop()
        asyncio.run_coroutine_threadsafe(end(), self.loop)
        self.thread.join(5)
