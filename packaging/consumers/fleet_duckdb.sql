-- Which gateways are late, and which lost something: of records as JSON lines (uplinks with format = "json": objects of S3, a topic that
-- was written to files, `millrace log cat --json`), with DuckDB: duckdb -c ".read fleet_duckdb.sql". The gateways have gateway.health_interval.
-- For ClickHouse the view millrace_fleet says the same (../monitoring/clickhouse_views.sql); its members: ../docs/monitoring.md.
CREATE OR REPLACE VIEW records AS
SELECT * FROM read_json('records/*.json*', columns = {gateway: 'VARCHAR', epoch: 'VARCHAR', sequence: 'UBIGINT', lane: 'VARCHAR', kind: 'VARCHAR', time: 'TIMESTAMP',
  device: 'VARCHAR', metric: 'VARCHAR', value: 'VARCHAR', loss: 'JSON'}, format = 'newline_delimited', ignore_errors = true)
QUALIFY row_number() OVER (PARTITION BY gateway, epoch, sequence) = 1;  -- what came twice is there once

CREATE OR REPLACE VIEW fleet AS
WITH last AS (
  SELECT gateway, max(time) AS heard, arg_max(value, time)::JSON AS said FROM records WHERE kind = 'event' AND metric = 'health' GROUP BY gateway)
SELECT gateway, heard, date_diff('second', heard, (now() AT TIME ZONE 'UTC')::TIMESTAMP) AS age_seconds,
  age_seconds > 2 * (said->>'interval_seconds')::BIGINT + 60 AS late,
  said->>'version' AS version, said->>'config' AS config, (said->>'backlog')::UBIGINT AS backlog, (said->>'lost')::UBIGINT AS lost,
  (said->>'must_act')::INT AS must_act, said->>'worst' AS worst, (said->>'flash_life_used_percent')::INT AS flash_life_used_percent
FROM last;

SELECT gateway, heard, age_seconds, version, worst FROM fleet WHERE late ORDER BY age_seconds DESC;
SELECT gateway, lost, backlog, worst FROM fleet WHERE lost > 0 ORDER BY lost DESC;
