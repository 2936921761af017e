-- Readings from Kafka (uplink: format = "json"), with event time, and a mean a minute and device. Apache Flink SQL.
CREATE TABLE readings (
  gateway STRING,
  epoch STRING,
  sequence BIGINT,
  lane STRING,
  kind STRING,
  device STRING,
  metric STRING,
  `value` DOUBLE,
  unit STRING,
  quality STRING,
  time_trust STRING,
  tags MAP<STRING, STRING>,
  `time` STRING,
  event_time AS TO_TIMESTAMP(REPLACE(REPLACE(`time`, 'T', ' '), 'Z', ''), 'yyyy-MM-dd HH:mm:ss.SSSSSS'),
  WATERMARK FOR event_time AS event_time - INTERVAL '10' SECOND
) WITH (
  'connector' = 'kafka',
  'topic' = 'millrace.raw',
  'properties.bootstrap.servers' = 'localhost:9092',
  'properties.group.id' = 'millrace-readings',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json',
  'json.ignore-parse-errors' = 'true'
);

SELECT window_start, device, metric, COUNT(*) AS readings, AVG(`value`) AS mean, SUM(`value`) AS total
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(event_time), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, device, metric;
