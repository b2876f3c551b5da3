-- An address can't be a parameter here; the texts come quoted. The default would give up after ten tries.
CHANGE REPLICATION SOURCE TO SOURCE_HOST = {host}, SOURCE_PORT = {port}, SOURCE_USER = {user}, SOURCE_PASSWORD = {password},
  SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_HEARTBEAT_PERIOD = 0.5, SOURCE_CONNECT_RETRY = 1,
  SOURCE_RETRY_COUNT = 0
