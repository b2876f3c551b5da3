CREATE USER 'observer'@'127.0.0.1' IDENTIFIED BY 'looks';
GRANT SELECT ON tao.* TO 'observer'@'127.0.0.1';
GRANT SELECT ON tao_meta.* TO 'observer'@'127.0.0.1';
