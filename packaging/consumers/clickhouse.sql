-- Readings from Kafka (uplink: format = "json") into ClickHouse. ReplacingMergeTree drops what came twice: the identity is its key.
CREATE TABLE millrace_kafka (
  gateway String, epoch String, sequence UInt64, lane String, kind String, time String,
  device String, metric String, value Float64, unit String, quality String, time_trust String
) ENGINE = Kafka SETTINGS kafka_broker_list = 'localhost:9092', kafka_topic_list = 'millrace.raw', kafka_group_name = 'millrace-clickhouse',
  kafka_format = 'JSONEachRow';

CREATE TABLE millrace_readings (
  gateway String, epoch String, sequence UInt64, time DateTime, device String, metric String, value Float64, unit String, quality String
) ENGINE = ReplacingMergeTree() PARTITION BY toYYYYMM(time) ORDER BY (device, metric, time, gateway, epoch, sequence);

CREATE MATERIALIZED VIEW millrace_consumer TO millrace_readings AS
SELECT gateway, epoch, sequence, parseDateTimeBestEffort(time) AS time, device, metric, value, unit, quality FROM millrace_kafka WHERE kind = 'reading';
