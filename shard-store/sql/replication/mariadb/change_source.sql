-- An address can't be a parameter here; the texts come quoted.
CHANGE MASTER TO MASTER_HOST = {host}, MASTER_PORT = {port}, MASTER_USER = {user}, MASTER_PASSWORD = {password},
  MASTER_USE_GTID = slave_pos, MASTER_HEARTBEAT_PERIOD = 0.5, MASTER_CONNECT_RETRY = 1
