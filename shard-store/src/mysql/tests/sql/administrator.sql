SET ROLE tao_admin
