-- Whose tables these are.
SELECT toml FROM tao_meta.topology ORDER BY version DESC LIMIT 1
