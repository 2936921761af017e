#!/usr/bin/env python3
"""Readings from Kafka into Spark Structured Streaming, with event time: count, mean and sum a minute and device.

For an uplink with format = "record" (the default); with --json for format = "json".

usage: spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.0.0,org.apache.spark:spark-protobuf_2.13:4.0.0 \\
           spark_reader.py [--json] [--once] SERVERS TOPIC [/usr/share/millrace/record.desc]
--once: what is there now, as CSV; otherwise it goes on, and shows each minute ten seconds after its end.
"""
import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import avg, col, count, from_json, sum, window

words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
words.add_argument("--json", action="store_true")
words.add_argument("--once", action="store_true")
words.add_argument("servers")
words.add_argument("topic")
words.add_argument("descriptor", nargs="?", default="/usr/share/millrace/record.desc")
asked = words.parse_args()

spark = SparkSession.builder.appName("millrace").getOrCreate()
source = (spark.read if asked.once else spark.readStream).format("kafka")
messages = (source.option("kafka.bootstrap.servers", asked.servers).option("subscribe", asked.topic)
            .option("kafka.isolation.level", "read_committed").option("startingOffsets", "earliest").load())
if asked.json:
    schema = "gateway STRING, epoch STRING, sequence LONG, kind STRING, device STRING, metric STRING, value DOUBLE, unit STRING, time TIMESTAMP"
    records = messages.select(from_json(col("value").cast("string"), schema).alias("r")).select(
        col("r.device"), col("r.metric"), col("r.value"), col("r.time"), col("r.gateway"), col("r.epoch"), col("r.sequence"))
else:
    from pyspark.sql.protobuf.functions import from_protobuf
    records = messages.select(from_protobuf(col("value"), "millrace.Record", asked.descriptor).alias("r")).select(
        col("r.device"), col("r.metric"), col("r.number").alias("value"), (col("r.time_us") / 1e6).cast("timestamp").alias("time"),
        col("r.gateway"), col("r.epoch"), col("r.sequence"))
if not asked.once:
    records = records.withWatermark("time", "10 seconds")
# A record that came again has the identity it had (with exactly_once = true none does).
records = records.dropDuplicates(["gateway", "epoch", "sequence", "time"])
minutes = records.groupBy(window("time", "1 minute").alias("minute"), "device", "metric").agg(
    count("*").alias("readings"), avg("value").alias("mean"), sum("value").alias("total"))
minutes = minutes.select(col("minute.start").cast("long").alias("start"), "device", "metric", "readings", "mean", "total")
if asked.once:
    for row in minutes.orderBy("start", "device", "metric").collect():
        print(*row, sep=",")
else:
    minutes.writeStream.outputMode("append").format("console").option("truncate", "false").start().awaitTermination()
