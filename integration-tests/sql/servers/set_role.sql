-- What the tier's account may do only deliberately; who has no such role must have the privileges without it.
SET ROLE tao_admin
