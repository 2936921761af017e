-- The table that `uplinks.https` with dialect = "clickhouse" writes to. ReplacingMergeTree drops what came twice: the identity is
-- part of its key, so that FINAL, or argMax, gives every record once.
CREATE TABLE readings (
  gateway String, epoch UInt64, sequence UInt64, lane String, kind String, time_us Int64,
  time DateTime MATERIALIZED toDateTime(intDiv(time_us, 1000000)),  -- 20.x and newer: DateTime64(6) and fromUnixTimestamp64Micro(time_us)
  device String, metric String, value Float64, integer Int64, text String, unit String, quality String,
  tag_keys Array(String), tag_values Array(String),
  window String, end_us Int64, count UInt64, min Float64, max Float64, revision UInt32,
  stat_names Array(String), stat_values Array(Float64)  -- of windows with `aggregates`
) ENGINE = ReplacingMergeTree() PARTITION BY toYYYYMM(time) ORDER BY (device, metric, time_us, gateway, epoch, sequence);
