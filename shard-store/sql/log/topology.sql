SELECT version, toml FROM `{database}_meta`.topology ORDER BY version DESC LIMIT 1
