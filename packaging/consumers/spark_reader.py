#!/usr/bin/env python3
"""Readings from Kafka (uplink: format = "record") into Spark Structured Streaming, and a mean a minute and device.

usage: spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.1,org.apache.spark:spark-protobuf_2.12:3.5.1 \\
           spark_reader.py SERVERS TOPIC [/usr/share/millrace/record.desc] [--once]
--once: what is there now, as a table; otherwise it goes on.
"""
import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import avg, col, count, window
from pyspark.sql.protobuf.functions import from_protobuf

arguments = [a for a in sys.argv[1:] if a != "--once"]
once = "--once" in sys.argv
servers, topic = arguments[:2]
descriptor = arguments[2] if len(arguments) > 2 else "/usr/share/millrace/record.desc"

spark = SparkSession.builder.appName("millrace").getOrCreate()
reader = spark.read if once else spark.readStream
messages = (reader.format("kafka").option("kafka.bootstrap.servers", servers).option("subscribe", topic)
            .option("kafka.isolation.level", "read_committed").option("startingOffsets", "earliest").load())
records = messages.select(from_protobuf(col("value"), "millrace.Record", descriptor).alias("r")).select(
    col("r.device"), col("r.metric"), col("r.number").alias("value"), (col("r.time_us") / 1e6).cast("timestamp").alias("time"), col("r.sequence"))
if not once:
    records = records.withWatermark("time", "10 seconds")
means = records.groupBy(window("time", "1 minute"), "device", "metric").agg(count("*").alias("readings"), avg("value").alias("mean"))
if once:
    means.orderBy("window", "device").show(1000, truncate=False)
else:
    means.writeStream.outputMode("append").format("console").option("truncate", "false").start().awaitTermination()
