USE `{database}`
