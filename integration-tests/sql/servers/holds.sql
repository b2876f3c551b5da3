-- Whether an earlier run left anything.
SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name IN ('tao', 'tao_meta')
