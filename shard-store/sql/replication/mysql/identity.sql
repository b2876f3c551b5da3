SELECT @@GLOBAL.server_id, @@GLOBAL.server_uuid, @@GLOBAL.read_only, @@GLOBAL.super_read_only
