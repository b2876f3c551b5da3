SELECT @@server_id
