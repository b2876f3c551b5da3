-- Databases that are neither the server's own nor the harness's. (Some installations make an empty one called test.)
SELECT schema_name FROM information_schema.schemata
WHERE schema_name NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys', 'tao', 'tao_meta', '#mysql50#lost+found')
  AND (schema_name <> 'test' OR EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = 'test'))
ORDER BY schema_name LIMIT 5
