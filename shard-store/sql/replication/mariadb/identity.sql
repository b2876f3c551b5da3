SELECT @@GLOBAL.server_id, '', @@GLOBAL.read_only, @@GLOBAL.read_only
