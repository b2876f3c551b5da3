CREATE USER 'mover'@'127.0.0.1' IDENTIFIED BY 'mover';
GRANT SELECT ON *.* TO 'mover'@'127.0.0.1'
