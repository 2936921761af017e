-- What people ask of the table of ../consumers/clickhouse_https.sql, as views: for the dashboard grafana-clickhouse.json, and for Superset,
-- where each is a dataset. FINAL, so that what came twice counts once; ask for a device and a metric, or a month, and it is cheap.
-- From ClickHouse 18.16 on. Statements end with a semicolon; a client that takes one at a time: split at it.
CREATE VIEW millrace_records AS
SELECT gateway, epoch, sequence, lane, kind, time, time_us, device, metric, value, integer, text, unit, quality, tag_keys, tag_values,
  window, end_us, count, min, max, revision
FROM readings FINAL;

CREATE VIEW millrace_values AS
SELECT gateway, time, time_us, device, metric, value, text, unit, quality FROM millrace_records WHERE kind = 'reading';

-- The last value of each device's metric.
CREATE VIEW millrace_latest AS
SELECT gateway, device, metric, argMax(value, time_us) AS value, argMax(text, time_us) AS text, argMax(unit, time_us) AS unit, max(time) AS time,
  toInt64(toUnixTimestamp(now())) - intDiv(max(time_us), 1000000) AS age_seconds
FROM millrace_values GROUP BY gateway, device, metric;

-- When each device spoke last.
CREATE VIEW millrace_devices AS
SELECT gateway, device, max(time) AS last_seen, toInt64(toUnixTimestamp(now())) - intDiv(max(time_us), 1000000) AS age_seconds, uniq(metric) AS metrics
FROM millrace_values GROUP BY gateway, device;

-- The last value of each window: a late reading gives the same one again with a higher revision.
CREATE VIEW millrace_windows AS
SELECT gateway, window, device, metric, time, argMax(value, revision) AS mean, argMax(min, revision) AS least, argMax(max, revision) AS most,
  argMax(count, revision) AS readings, max(revision) AS last_revision
FROM millrace_records WHERE kind = 'window' GROUP BY gateway, window, device, metric, time;

-- How each gateway said it is (gateway.health_interval): which are late, which lost something. `lost` and `dead` count since its log was made.
CREATE VIEW millrace_fleet AS
SELECT gateway, heard, age_seconds, interval_seconds, age_seconds > 2 * interval_seconds + 60 AS late,
  visitParamExtractString(said, 'version') AS version, visitParamExtractString(said, 'config') AS config,
  visitParamExtractInt(said, 'uptime_seconds') AS uptime_seconds, visitParamExtractBool(said, 'clock_trusted') AS clock_trusted,
  visitParamExtractInt(said, 'faults') AS faults, visitParamExtractInt(said, 'must_act') AS must_act, visitParamExtractString(said, 'worst') AS worst,
  visitParamExtractInt(said, 'inputs_down') AS inputs_down, visitParamExtractInt(said, 'uplinks_down') AS uplinks_down,
  visitParamExtractInt(said, 'silent_devices') AS silent_devices, visitParamExtractInt(said, 'backlog') AS backlog,
  visitParamExtractInt(said, 'lost') AS lost, visitParamExtractInt(said, 'dead') AS dead,
  visitParamExtractInt(said, 'log_bytes') AS log_bytes, visitParamExtractInt(said, 'log_max_bytes') AS log_max_bytes,
  visitParamExtractInt(said, 'flash_bytes') AS flash_bytes, visitParamExtractInt(said, 'flash_life_used_percent') AS flash_life_used_percent
FROM (
  SELECT gateway, max(time) AS heard, toInt64(toUnixTimestamp(now())) - intDiv(max(time_us), 1000000) AS age_seconds,
    argMax(text, time_us) AS said, visitParamExtractInt(said, 'interval_seconds') AS interval_seconds
  FROM millrace_records WHERE kind = 'event' AND metric = 'health' GROUP BY gateway);
